package router

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// API is the path under which the session API lives. Every other path belongs
// to the application.
const API = "/v1/"

// call says what a path is for, and thereby which member may answer it.
type call int8

const (
	callApp   call = iota // the application: pinned by the user found
	callKeyed             // the session API, naming a session or a user: pinned by that name
	// The session API without a name (POST /v1/sessions): any member makes the
	// key and passes it on.
	callKeyless
)

// place is a path taken apart.
type place struct {
	call call
	key  string // for callKeyed: the session's key, or "{user}" for a user's sessions
	rest string // what follows the named segment: "", "touch", "rotate", "sessions", …
}

// isAPI says whether any way to read an escaped path finds the session API: a
// member unescapes and cleans what parsePath takes literally.
func isAPI(escaped string) bool {
	unescaped, err := url.PathUnescape(escaped)
	return err != nil || strings.HasPrefix(path.Clean("/"+unescaped)+"/", API)
}

// parsePath takes an escaped path apart. The key is one segment, unescaped
// after the split, so that an id holding an escaped slash stays one id. An
// error is a broken escape.
func parsePath(path string) (place, error) {
	rest, ok := strings.CutPrefix(path, API)
	if !ok {
		return place{call: callApp}, nil
	}
	collection, rest, _ := strings.Cut(rest, "/")
	segment, rest, _ := strings.Cut(rest, "/")
	if segment == "" || (collection != "sessions" && collection != "users") {
		return place{call: callKeyless}, nil
	}
	key, err := url.PathUnescape(segment)
	if err != nil {
		return place{}, fmt.Errorf("read path segment %q: %w; accepted are characters and %%XX escapes", segment, err)
	}
	if collection == "users" {
		key = "{" + key + "}" // the tag that all sessions of the user share
	}
	return place{call: callKeyed, key: key, rest: rest}, nil
}

// escapedPath is the path as it was sent, made valid. url.URL.EscapedPath gives
// up on a path that holds characters which should have been escaped (the raw
// braces of "/v1/sessions/{a}:b%2Fc") and encodes it anew from its decoded
// form, in which %2F has already become a slash. Here only the wrong bytes are
// escaped, so the segments stay what the client meant.
func escapedPath(u *url.URL) string {
	path := u.EscapedPath()
	if u.RawPath == "" || path == u.RawPath {
		return path
	}
	fixed := string(appendPath(nil, []byte(u.RawPath)))
	if plain, err := url.PathUnescape(fixed); err != nil || plain != u.Path {
		return path // RawPath is not an encoding of Path at all: Path rules, as net/url documents
	}
	return fixed
}

// appendPath appends a path with what should have been escaped in it escaped,
// and nothing else changed.
func appendPath(out, path []byte) []byte {
	for _, c := range path {
		if validInPath(c) {
			out = append(out, c)
		} else {
			out = fmt.Appendf(out, "%%%02X", c)
		}
	}
	return out
}

// validInPath follows RFC 3986, section 3.3: pchar, the slash between segments,
// and the percent sign of an escape. Brackets are let through unescaped by
// net/url too.
func validInPath(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@/%[]", c) >= 0
}

// repeatable reports whether the request is idempotent, so that it may be sent
// again when the connection broke and it is not known whether it was carried
// out.
//
// Beyond the methods that RFC 9110 (section 9.2.2) calls idempotent, the
// session API's merge patch and touch are so as well. Rotate is not: a second
// one finds the old id gone. Nor is a write under a condition: if the first one
// was carried out it changed the version, and the second would be told 412
// although the write was made.
func repeatable(r *http1.Request, p place) bool {
	switch string(r.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	for _, condition := range [...]string{"if-match", "if-none-match", "if-unmodified-since"} {
		if _, ok := http1.Get(r.Fields, condition); ok {
			return false
		}
	}
	switch string(r.Method) {
	case http.MethodPut, http.MethodDelete:
		return true
	case http.MethodPatch:
		return p.call == callKeyed && p.rest == ""
	case http.MethodPost:
		return p.call == callKeyed && p.rest == "touch"
	}
	return false
}

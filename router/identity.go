package router

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/http1"
	"github.com/seed-95a32959/holdfast/ring"
)

// Carries reports whether the request brings the signed cookie of user: whether
// its client holds that id, rather than a proxy that named the user in a
// header.
func (f *Finder) Carries(r *http.Request, user string) bool {
	id, ok := f.Pinned(r)
	return ok && id == user
}

// Pinned returns the id that the request's signed cookie names, as Find takes
// it.
func (f *Finder) Pinned(r *http.Request) (id string, ok bool) {
	if len(r.Header["Cookie"]) == 0 {
		return "", false
	}
	f.once.Do(f.init)
	var room [4]http1.Field
	id, _, ok = f.pinned(appendCookies(room[:0], r))
	return id, ok
}

// Replace lets the request carry a cookie of the Finder's, and none beside it,
// as a request has it that was passed on.
func (f *Finder) Replace(r *http.Request, c *http.Cookie) {
	f.once.Do(f.init)
	line := []byte(c.Name + "=" + c.Value)
	for _, pairs := range r.Header["Cookie"] {
		line = appendPairs(line, []byte(pairs), f.prefix)
	}
	r.Header["Cookie"] = []string{string(line)}
}

func appendCookies(fields []http1.Field, r *http.Request) []http1.Field {
	for _, pairs := range r.Header["Cookie"] {
		fields = append(fields, http1.Field{Value: []byte(pairs), Kind: http1.Cookie})
	}
	return fields
}

// OfAnother reports whether a request of the session API would change what is
// not its visitor's: it carries the signed cookie of an id that has no part in
// key, or what passes for one. A browser adds its cookie to whatever a page
// asks for, so the cookie tells who the visitor is, and is no right to sessions
// of others; programs carry none. key is a session's, or a user in braces.
func (f *Finder) OfAnother(r *http.Request, key string) bool {
	for _, pairs := range r.Header["Cookie"] {
		if f.ofAnother([]byte(pairs), key) {
			return true
		}
	}
	return false
}

// Visitor reports whether a request carries a cookie of the Finder's, or what
// passes for one: whether it comes from a visitor's browser, and not from a
// program.
func (f *Finder) Visitor(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Cookie"], func(pairs string) bool {
		return f.names([]byte(pairs), func([]byte) bool { return true })
	})
}

// ofAnother is OfAnother for the value of one Cookie field.
func (f *Finder) ofAnother(pairs []byte, key string) bool {
	return f.names(pairs, func(id []byte) bool { return string(id) != ring.Tag(key) })
}

// names reports whether the value of one Cookie field names an id, in a cookie
// of the Finder's or what passes for one, for which is is true.
func (f *Finder) names(pairs []byte, is func(id []byte) bool) bool {
	f.once.Do(f.init)
	// A router that is reached over TLS says so in its cookie's name, and the
	// members behind it need not know.
	plain := bytes.TrimPrefix(f.prefix, []byte(prefixHost))
	for pair, rest := []byte(nil), pairs; len(rest) > 0; {
		pair, rest, _ = bytes.Cut(rest, []byte{';'})
		id, ok := bytes.CutPrefix(bytes.TrimPrefix(bytes.Trim(pair, " \t"), []byte(prefixHost)), plain)
		if !ok {
			continue
		}
		if dot := bytes.LastIndexByte(id, '.'); dot >= 0 {
			id = id[:dot]
		}
		if is(id) {
			return true
		}
	}
	return false
}

// CookieFor makes the cookie that pins its client to id from the next request
// on. The id must be one that nobody can guess.
func (f *Finder) CookieFor(id string) *http.Cookie {
	f.once.Do(f.init)
	return f.newCookie(id)
}

// setsCookie reports whether an answer sets the cookie already: at a login the
// member gives its client a new id, which one made here must not replace.
func setsCookie(fields []http1.Field, name string) bool {
	return slices.ContainsFunc(fields, func(f http1.Field) bool {
		return f.Is("set-cookie") && bytes.HasPrefix(f.Value, []byte(name+"="))
	})
}

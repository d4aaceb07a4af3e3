package router

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// Carries reports whether the request brings the signed cookie of user: whether
// its client holds that id, rather than a proxy that named the user in a header.
func (f *Finder) Carries(r *http.Request, user string) bool {
	id, ok := f.Pinned(r)
	return ok && id == user
}

// Pinned returns the id that the request's signed cookie names, as Find takes it.
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

// Claimed returns the ids of the cookies that the request carries under the
// name of the signed one, whether a secret has signed them or not.
func (f *Finder) Claimed(r *http.Request) (ids []string) {
	f.once.Do(f.init)
	for _, c := range r.CookiesNamed(f.name) {
		id := c.Value
		if dot := strings.LastIndexByte(id, '.'); dot >= 0 {
			id = id[:dot]
		}
		ids = append(ids, id)
	}
	return ids
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

package router

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// Carries reports whether the request brings the signed cookie of user: whether
// its client holds that id, rather than a proxy that named the user in a header.
func (f *Finder) Carries(r *http.Request, user string) bool {
	f.once.Do(f.init)
	for _, c := range r.CookiesNamed(f.name) {
		if id, _, ok := f.verify([]byte(c.Value)); ok {
			return id == user // the first that verifies is the one that Find takes
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

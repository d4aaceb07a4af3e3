package router

import (
	"net/http"
	"slices"
	"strings"
)

// Carries reports whether the request brings the signed cookie of user: whether
// its client holds that id, rather than a proxy that named the user in a header.
func (f *Finder) Carries(r *http.Request, user string) bool {
	f.once.Do(f.init)
	for _, c := range r.CookiesNamed(f.name) {
		if id, _, ok := f.verify(c.Value); ok {
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
func setsCookie(resp *http.Response, name string) bool {
	return slices.ContainsFunc(resp.Header["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, name+"=") })
}

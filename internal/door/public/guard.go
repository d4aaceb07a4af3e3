package public

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/router"
)

// mayAsk says whether a request may reach the session API, and refuses it
// otherwise.
func (e *Endpoint) mayAsk(w http.ResponseWriter, r *http.Request) bool {
	// No page may load what a session holds as its script or picture.
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	if refusal := e.guard.Check(hostcheck.Of(r)); refusal != nil {
		problem.Write(w, http.StatusForbidden, refusal.Slug, refusal.Title, refusal.Detail)
		return false
	}
	if e.ofAnother(r) {
		e.visitors.Add(1)
		refusal := router.OfAnother
		problem.Write(w, http.StatusForbidden, refusal.Slug, refusal.Title, refusal.Detail)
		return false
	}
	return true
}

// ofAnother says whether a visitor's cookie would change another's session.
func (e *Endpoint) ofAnother(r *http.Request) bool {
	if Safe(r.Method) || r.Header["Cookie"] == nil {
		return false
	}
	// As package api splits it: an escaped slash belongs to the key.
	collection, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), router.API), "/")
	segment, _, _ := strings.Cut(rest, "/")
	key, err := url.PathUnescape(segment)
	if err != nil || key == "" {
		return false // nobody's: a new session, or no path of the API
	}
	if collection == "users" {
		key = fmt.Sprintf("{%s}", key)
	}
	return e.cfg.Finder.OfAnother(r, key)
}

// Safe says whether a request with this method asks for nothing to be changed
// (RFC 9110, section 9.2.1).
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

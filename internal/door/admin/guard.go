package admin

import (
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/problem"
)

// policy lets a page of the endpoint load nothing but its own files and ask
// nobody but the member that it came from. No script or style within a page
// runs, so text that came from a user cannot become one.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guarded keeps web pages from reaching the endpoint through a browser on this
// host, as package hostcheck tells. A GET is refused from other sites too: it
// changes nothing, but gathers from all members, or profiles.
func (e *Endpoint) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		asked := hostcheck.Of(r)
		asked.Strict = !opensDashboard(r)
		if refusal := e.guard.Check(asked); refusal != nil {
			problem.Write(w, http.StatusForbidden, refusal.Slug, refusal.Title, refusal.Detail)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// opensDashboard says whether a browser's user follows a link to the dashboard,
// which may be on any page: the policy keeps it out of frames.
func opensDashboard(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

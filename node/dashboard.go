package node

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-95a32959/holdfast/web"
)

const indexText = `holdfast: the operator's door of %s %q; a browser gets the dashboard here

GET  /admin/cluster         every member with its own figures, gathered here
GET  /admin/ring            members, and the owner and successors of each partition
GET  /admin/ring?key=alice  slot, partition, owner and successors of one key, and who holds which version
GET  /admin/members         every member known, with its links
GET  /admin/stats           sessions, lag, keys below target copies, counters
GET  /admin/events          what happens here, as server-sent events; ?scope=cluster: at every node
POST /admin/drain           hand everything over and stop
GET  /metrics               the same figures for Prometheus
GET  /healthz  /readyz      alive; ready to take requests
GET  /debug/pprof/          profiles
`

// handlePages adds the dashboard and its files, the metrics, and, under
// "holdfast dev", what its buttons do.
func (n *Node) handlePages(mux *http.ServeMux) {
	pages := web.Handler()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			pages.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, indexText, n.cfg.Role, n.id.Name)
	})
	mux.Handle("GET /assets/", pages)
	mux.Handle("GET /metrics", n.metrics.handler())
	if n.cfg.Control != nil {
		mux.Handle("/admin/dev/", n.cfg.Control)
	}
}

// adminPolicy lets a page at the operator's door load nothing but its own files
// and ask nobody but the member that it came from. No script or style within a
// page runs, so text that came from a user cannot become one.
const adminPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guardAdmin keeps web pages from reaching the operator's door through a
// browser on this host, as package hostcheck tells. A GET is refused from other
// sites too: it changes nothing, but gathers from all members, or profiles.
func (n *Node) guardAdmin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", adminPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if !passes(n.adminGuard, w, r, !opensDashboard(r)) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// opensDashboard says whether a browser's user follows a link to the dashboard,
// which may be on any page: the door's own policy keeps it out of frames.
func opensDashboard(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

package admin

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/web"
)

const indexText = `holdfast: the admin endpoint of %s %q; a browser gets the dashboard here

GET  /admin/cluster         every member with its own figures, gathered here
GET  /admin/ring            members, and the owner and successors of each partition
GET  /admin/ring?key=alice  slot, partition, owner and successors of one key, and who holds which version
GET  /admin/members         every member known, with its links
GET  /admin/stats           sessions, lag, keys below target copies, counters
GET  /admin/events          what happens here, as server-sent events; ?scope=cluster: at every node
POST /admin/drain           hand everything over and stop
POST /admin/forget?name=a   expect a member no more that is missing, and what was lost with it is known
GET  /admin/dump?partition=0&after=a  some sessions of a partition, those after a key; holdfast dump asks for all
POST /admin/load            write such sessions; holdfast load sends them
GET  /metrics               the same figures for Prometheus
GET  /healthz  /readyz      alive; ready to take requests
GET  /debug/pprof/          profiles
`

// handlePages adds the dashboard and its files, and, under "holdfast dev", what
// its buttons do.
func (e *Endpoint) handlePages(mux *http.ServeMux) {
	pages := web.Handler()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			pages.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, indexText, e.cfg.Role, e.cfg.Self.Name)
	})
	mux.Handle("GET /assets/", pages)
	if e.cfg.Control != nil {
		mux.Handle("/admin/dev/", e.cfg.Control)
	}
}

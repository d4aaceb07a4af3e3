// Package admin is a member's endpoint for operators: the dashboard, the admin
// API in JSON, the metrics, and the profiles. GET changes nothing.
//
// One question, GET /admin/cluster: the guard looks whose name the client calls
// the endpoint by and which site's page has sent the request (guard.go).
// Clients often reach one member only, so that member gathers (cluster.go). It
// takes the members from its view (ring.go), and asks each node for its figures
// with a frame on the link between them. There the node's reader of frames
// calls [Endpoint.ServeStats], which reads the store, the replicator and the
// ownership at this moment (stats.go). What has not answered in time is shown
// with an error. The shapes of all answers are in package adminapi.
//
// The endpoint owns no goroutine that outlives a request, and no listener.
package admin

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/problem"
)

var order = binary.BigEndian

// maxClients bounds the connections to the endpoint; one address may have half
// of them.
const maxClients = 1024

// Endpoint answers operators. It may be used from many goroutines.
type Endpoint struct {
	cfg     Config
	guard   *hostcheck.Guard
	metrics *metrics
	server  *http.Server
	serve   func(net.Listener) error
	served  atomic.Bool // it has been ready once
}

// New returns the endpoint of a member.
func New(cfg Config) *Endpoint {
	e := &Endpoint{cfg: cfg, guard: cfg.Limits.Guard("admin-host", cfg.Hosts...)}
	e.metrics = newMetrics(e)
	e.server = door.Server(e.Handler(), cfg.Log)
	e.serve = cfg.Limits.Serve(e.server, cfg.Limits.Gate(maxClients, maxClients/2))
	return e
}

// Serve answers at a listener until the endpoint ends, with
// http.ErrServerClosed.
func (e *Endpoint) Serve(l net.Listener) error { return e.serve(l) }

// Shutdown lets the requests under way end, until ctx does.
func (e *Endpoint) Shutdown(ctx context.Context) {
	if err := e.server.Shutdown(ctx); err != nil {
		e.cfg.Log.Debug("requests were cut off", "error", err)
	}
}

// Cut ends the requests under way.
func (e *Endpoint) Cut() { e.server.Close() }

// Handler returns what answers at the endpoint's listener.
func (e *Endpoint) Handler() http.Handler {
	mux := http.NewServeMux()
	e.handlePages(mux)
	mux.HandleFunc("GET /admin/ring", e.ring)
	mux.HandleFunc("GET /admin/cluster", e.cluster)
	mux.HandleFunc("GET /admin/members", e.members)
	mux.HandleFunc("GET /admin/stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, e.Stats()) })
	mux.HandleFunc("GET /admin/events", e.events)
	mux.HandleFunc("POST /admin/drain", e.drain)
	mux.HandleFunc("POST /admin/forget", e.forget)
	mux.HandleFunc("GET /admin/dump", e.dump)
	mux.HandleFunc("POST /admin/load", e.load)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", e.ready)
	mux.Handle("GET /metrics", e.metrics.handler())
	handleProfiles(mux)
	return e.guarded(mux)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		problem.Write(w, http.StatusInternalServerError, "internal", "The answer could not be written", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // fails only when the client has left
}

// millis is a time in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

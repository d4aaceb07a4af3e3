// Package door has what the HTTP endpoints of a member share: how their servers
// bound what a client may take, in connections, in bytes and in time, and how
// they refuse who may not ask.
package door

import (
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/steady"
)

const (
	// headerTimeout bounds how long a client may take to send its headers.
	headerTimeout = 10 * time.Second
	// standStill is how long a client may send nothing of a body, or take
	// nothing of an answer. It is that of routers, see
	// router.Config.BodyTimeout.
	standStill = time.Minute
	// idleTimeout closes unused client connections; it is longer than routers
	// keep theirs, so that it is they who let go.
	idleTimeout = 2 * time.Minute
	// headBytes bounds what the heads of requests take together, at all
	// endpoints of a member, as far as they are not small.
	headBytes = 64 << 20
)

// Limits are what the HTTP endpoints of one member let in, and count what they
// refuse under names of the member's.
type Limits struct {
	log      *slog.Logger
	refusals rate.Sometimes  // between log lines about refused connections
	heads    *buffers.Budget // of requests
	guards   []*hostcheck.Guard
}

// NewLimits returns the limits of a member.
func NewLimits(log *slog.Logger, counters *metric.Set) *Limits {
	l := &Limits{log: log, refusals: rate.Sometimes{Interval: time.Minute}, heads: buffers.New(headBytes)}
	counters.Func(l.count)
	return l
}

// Gate returns what lets so many connections in, over all and from one address.
func (l *Limits) Gate(most, each int) *admit.Gate { return admit.New(most, each, l.refused) }

// refused tells of connections that were closed because there were too many,
// once a minute; the counters have them all.
func (l *Limits) refused(from netip.Addr, full bool) {
	l.refusals.Do(func() {
		l.log.Warn("http: connections are refused, as too many are open", "from", from, "over_all", full)
	})
}

// Guard returns what says who may ask an endpoint, see [hostcheck.New]. It must
// not be called once anything is served.
func (l *Limits) Guard(flag string, names ...string) *hostcheck.Guard {
	g := hostcheck.New(flag, names...)
	l.guards = append(l.guards, g)
	return g
}

// Serve returns a function that serves the connections which the gate lets in.
func (l *Limits) Serve(s *http.Server, gate *admit.Gate) func(net.Listener) error {
	serve := steady.Server(s, standStill, l.heads)
	return func(listener net.Listener) error { return serve(gate.Listener(listener)) }
}

// count puts what was refused.
func (l *Limits) count(put metric.Put) {
	put("http_heads_cut_off", "Connections cut off because the heads of requests took all the room that there is, theirs the most.", l.heads.Refused()+l.heads.Evicted())
	var hosts, sites int64
	for _, g := range l.guards {
		h, s := g.Refused()
		hosts, sites = hosts+h, sites+s
	}
	put("refused_hosts", "HTTP requests refused at the session API and the operator's endpoint because their Host is not one of the names of -http-host or -admin-host.", hosts)
	put("refused_sites", "HTTP requests refused there because the page of another site has sent them.", sites)
}

// Server returns a server of h that lets go of clients that stand still.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: steady.Bodies(h, standStill), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		ErrorLog: serverLog(log),
	}
}

// serverLog takes the standard server's lines, which are about clients that
// break off and bad handshakes.
func serverLog(to *slog.Logger) *log.Logger { return log.New(lines{to}, "", 0) }

type lines struct{ log *slog.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Debug(strings.TrimSpace(string(p)), "from", "http")
	return len(p), nil
}

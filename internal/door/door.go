// Package door has what the HTTP endpoints of a member share: how their servers
// bound what a client may take, in connections, in bytes and in time.
package door

import (
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/steady"
)

const (
	// headerTimeout bounds how long a client may take to send its headers.
	headerTimeout = 10 * time.Second
	// standStill is how long a client may send nothing of a body, or take nothing
	// of an answer. It is that of routers, see router.Config.BodyTimeout.
	standStill = time.Minute
	// idleTimeout closes unused client connections; it is longer than routers
	// keep theirs, so that it is they who let go.
	idleTimeout = 2 * time.Minute
)

// Server returns a server of h that lets go of clients that stand still.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: steady.Bodies(h, standStill), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		ErrorLog: serverLog(log),
	}
}

// Serve returns a function that serves the connections which the gate lets in.
// The heads of their requests take of a budget.
func Serve(s *http.Server, gate *admit.Gate, heads *buffers.Budget) func(net.Listener) error {
	serve := steady.Server(s, standStill, heads)
	return func(l net.Listener) error { return serve(gate.Listener(l)) }
}

// serverLog takes the standard server's lines, which are about clients that
// break off and bad handshakes.
func serverLog(to *slog.Logger) *log.Logger { return log.New(lines{to}, "", 0) }

type lines struct{ log *slog.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Debug(strings.TrimSpace(string(p)), "from", "http")
	return len(p), nil
}

package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
)

// serve is one server: a node, and the application on two addresses. At the
// first the node asks it, for the visitors that the node owns; at the second
// any browser does, as without Holdfast.
//
// It ends at once when life, the launcher's pipe, does; when ctx does, it
// first hands over what it holds, as a planned restart should.
func serve(ctx context.Context, at layout, number int, life io.Reader) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("server", serverName(number))
	pinned, err := net.Listen("tcp", at.address(number, appPort))
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", at.address(number, plainPort))
	if err != nil {
		return err
	}
	n, err := node.Start(context.WithoutCancel(ctx), node.Config{
		Name: serverName(number), Join: at.all(gossipPort), App: "http://" + pinned.Addr().String(),
		HTTP: at.address(number, httpPort), Admin: at.address(number, adminPort),
		Peer: at.address(number, peerPort), Gossip: at.address(number, gossipPort), Log: log,
	})
	if err != nil {
		return err
	}
	listeners := map[net.Listener]http.Handler{pinned: newPinnedApp(n), plain: newPlainApp(n)}
	for listener, app := range listeners {
		go func() { // until the process ends, a moment after this function
			server := &http.Server{Handler: app, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
			log.Error("the application's address closed", "error", server.Serve(listener))
		}()
	}
	orphaned := make(chan struct{})
	go func() { // until the launcher ends
		defer close(orphaned)
		_, _ = io.Copy(io.Discard, life) // either way it is the end
	}()
	select {
	case <-orphaned:
		return nil
	case <-n.Done(): // drained by POST /admin/drain
		return nil
	case <-ctx.Done():
		return n.Shutdown(context.WithoutCancel(ctx))
	}
}

// newPinnedApp is the application behind its node. The node has found out who
// the visitor is and that they belong here; it says so in a header that it
// lets nobody else set.
func newPinnedApp(n *node.Node) http.Handler {
	return newApp(app{
		server: n.ID().Name, pinned: true, mail: mailbox{n.Sessions()}, memory: held{n.Sessions()},
		visitor: func(_ http.ResponseWriter, r *http.Request) string { return r.Header.Get("Holdfast-Key") },
		successor: func(key string) string {
			return n.View().Table.FirstSuccessor(ring.Partition(key))
		},
	})
}

// newPlainApp is the same application with what it remembers in a map of its
// own and a session cookie of its own. The mail box is the node's all the same:
// a mail arrives, whichever server has sent it.
func newPlainApp(n *node.Node) http.Handler {
	return newApp(app{
		server: n.ID().Name, mail: mailbox{n.Sessions()}, memory: &own{visitors: map[string]visitor{}},
		visitor:   sessionCookie,
		successor: func(string) string { return "" },
	})
}

package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/socket"
	"github.com/seed-95a32959/holdfast/internal/visits"
)

const (
	// adminClients bounds the connections to the operator's endpoint; one
	// address may have half of them.
	adminClients = 1024
	// bodyBytes bounds what the bodies of requests to the session API take
	// together while they are read and carried out; four of the largest have
	// room in any case.
	bodyBytes = 64 << 20
	// headBytes bounds what the heads of requests take together, as far as they
	// are not small.
	headBytes = 64 << 20
)

// serveHTTP opens the public and the operator's endpoint.
func (n *Node) serveHTTP(public []net.Listener, admin net.Listener) {
	n.admin = door.Server(n.operator.Handler(), n.log)
	n.serveOn(door.Serve(n.admin, admit.New(adminClients, adminClients/2, n.clientRefused), n.heads), admin)
	n.setApplication()
	serve := n.endpoint.Open(n.pin)
	for _, l := range public {
		n.serveOn(serve, l)
	}
}

func (n *Node) serveOn(serve func(net.Listener) error, l net.Listener) {
	n.group.Go(func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && n.ctx.Err() == nil {
			n.log.Error("http endpoint closed", "address", l.Addr(), "error", err)
		}
	})
}

// listenUnix opens the Unix socket that the named field has asked for, or none
// where path is empty.
func (n *Node) listenUnix(ctx context.Context, field, path string) ([]net.Listener, error) {
	if path == "" {
		return nil, nil
	}
	l, err := socket.Listen(ctx, path)
	switch {
	case errors.Is(err, socket.ErrAbstract), errors.Is(err, socket.ErrFile):
		return nil, &FieldError{Field: field, Value: path, Reason: err.Error(), Err: err}
	case err != nil:
		return nil, cannotListen("unix", field, path, err)
	}
	n.listeners = append(n.listeners, l)
	return []net.Listener{l}, nil
}

// clientRefused tells of connections to the HTTP endpoints that were closed
// because there were too many, once a minute; the counters have them all.
func (n *Node) clientRefused(from netip.Addr, full bool) {
	n.refusals.Do(func() {
		n.log.Warn("http: connections are refused, as too many are open", "from", from, "over_all", full)
	})
}

// setApplication makes what the configuration names the application of a node.
// A router runs none.
func (n *Node) setApplication() {
	switch {
	case n.cfg.Role != RoleNode:
	case n.cfg.Handler != nil:
		n.runProgram(n.cfg.Handler)
	case n.cfg.Demo:
		n.pin.Run(&visits.Counter{Sessions: n.Sessions(), Refuse: public.Unavailable})
	}
}

// runProgram makes a Go program's handler the application, and tells the
// program what its users will miss without a secret.
func (n *Node) runProgram(app http.Handler) {
	if n.cfg.Secret == nil {
		n.log.Warn("no secret: cookies are signed with a random one, so no other member knows the users of this one; give all the same")
	}
	n.pin.Run(app)
}

// ownSecretTag is what this member tells of the secret of its cookies: nothing
// where no user gets one from it. A node without an application is asked by
// routers only. Its random secret differs from theirs, and that does not
// matter.
func (n *Node) ownSecretTag() string {
	if n.cfg.Role == RoleNode && n.cfg.Secret == nil && n.cfg.App == "" && !n.cfg.Demo && n.cfg.Handler == nil {
		return ""
	}
	return n.secrets.Tag()
}

// compareSecrets warns of members whose cookies this one does not believe. The
// membership loop calls it for each view.
func (n *Node) compareSecrets(view *View) {
	if n.ownSecretTag() == "" {
		return
	}
	for _, name := range n.secrets.Differing(view) {
		n.log.Warn("-secret-file differs from that of " + name + ": users who change between them get new ids")
	}
}

// suspect looks at a member that a request could not reach. The link finds a
// crash by itself within a millisecond; this covers a member whose link is
// not up, and waits for nothing.
func (n *Node) suspect(id ID) {
	if l := n.mesh.Link(id); l != nil && !l.Connected() {
		n.members.SetGone(id, "connection refused at its public address")
	}
}

// awaitGone waits until this member's view is without another one, or its link
// to it is up after all.
func (n *Node) awaitGone(ctx context.Context, id ID) {
	_ = n.pulse.Until(ctx, recheck, func() bool { // in time, or not
		l := n.mesh.Link(id)
		return !n.View().Up(id) || l == nil || l.Connected()
	})
}

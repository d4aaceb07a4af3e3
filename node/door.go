package node

import (
	"context"
	"crypto/rand"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/internal/steady"
	"github.com/seed-95a32959/holdfast/node/api"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// headerTimeout bounds how long a client may take to send its headers.
	headerTimeout = 10 * time.Second
	// standStill is how long a client may send nothing of a body, or take nothing
	// of an answer. It is that of routers, see router.Config.BodyTimeout.
	standStill = time.Minute
	// adminClients bounds the connections to the operator's door; one address
	// may have half of them.
	adminClients = 1024
	// bodyBytes bounds what the bodies of requests to the session API take
	// together while they are read and carried out; four of the largest have
	// room in any case.
	bodyBytes = 64 << 20
	// headBytes bounds what the heads of requests take together, as far as they
	// are not small.
	headBytes = 64 << 20
	// idleTimeout closes unused client connections; it is longer than routers
	// keep theirs, so that it is they who let go.
	idleTimeout = 2 * time.Minute
)

// openRouter makes the part that passes requests on: all of them on a router,
// the application's on a node that is not their owner.
func (n *Node) openRouter() error {
	n.finder = &router.Finder{
		UserHeader: n.cfg.UserHeader, Trust: n.trusts, Proxy: n.cfg.TrustHeaders, Cookie: n.cfg.Cookie, Secrets: n.secrets.Cookies(), Secure: n.cfg.CookieSecure,
	}
	var turn atomic.Uint64
	var err error
	n.router, err = router.New(router.Config{
		Lookup: n.lookup, LookupApp: n.lookupApp,
		NoAPI: n.cfg.NoAPI, Guard: n.apiGuard,
		Any: func() router.Target {
			nodes := n.View().Nodes()
			if len(nodes) == 0 {
				return router.Target{}
			}
			return target(nodes[turn.Add(1)%uint64(len(nodes))])
		},
		Finder: n.finder,
		Failed: n.failed,
		Fence:  n.fenceFor,
		Hops:   public.NewHops(n.hopsConfig()),
		ToApp:  n.beside.headers(),
		FromApp: func() []router.Header {
			return []router.Header{{Name: header.Node, Value: n.id.Name}, {Name: header.Ring, Value: n.View().Table.Fingerprint()}}
		},
		Admit:    n.httpGate.Enter,
		Answered: n.operator.Answered,
		Dial:     n.dial,
		Logger:   n.log,
	})
	return err
}

// ownSecretTag is what this member tells of the secret of its cookies: nothing
// where no user gets one from it. A node without an application is asked by
// routers only. Its random secret differs from theirs, and that does not matter.
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

func target(m *Member) router.Target {
	if m == nil {
		return router.Target{}
	}
	return router.Target{Name: m.Name, Boot: m.Boot, HTTP: m.HTTP}
}

// lookup names the member that serves a key, and the one that will if it has
// ended. Whose claim is in force counts before the ring, which may be about to
// move the partition.
func (n *Node) lookup(key string) router.Route {
	view := n.View()
	p := ring.Partition(key)
	return router.Route{
		Fingerprint: view.Table.Fingerprint(),
		Owner:       target(n.ownerOf(view, p)),
		Heir:        target(view.Named(view.Table.Heir(p))),
	}
}

func (n *Node) ownerOf(view *View, p int) *Member {
	if d := n.owner.decide(p); d.Verdict != ownership.Wait {
		return view.Member(d.Owner)
	}
	return view.Named(view.Table.Owner(p))
}

// trusts says whether a peer is a proxy whose word about its client counts. That
// it has the address of a member says nothing: members prove their word.
func (n *Node) trusts(peer netip.Addr) bool {
	peer = peer.Unmap()
	return slices.ContainsFunc(n.cfg.Trust, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// dial connects to the public address of a member, or to the application.
func (n *Node) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if n.beside != nil && address == n.beside.address {
		return n.beside.dial(ctx)
	}
	return n.tracker.Dial(ctx, address)
}

// failed is told of a target that refused a request.
func (n *Node) failed(t router.Target) {
	if t.App {
		n.beside.refused()
		return
	}
	n.suspect(ID{Name: t.Name, Boot: t.Boot})
}

// suspect looks at a member that a request could not reach. The link finds a
// crash by itself within a millisecond; this covers a member whose link is
// not up, and waits for nothing.
func (n *Node) suspect(id ID) {
	if l := n.mesh.Link(id); l != nil && !l.Connected() {
		n.members.SetGone(id, "connection refused at its public address")
	}
}

// serveHTTP opens the public and the operator's door.
// A router passes on all that comes to the public one, so it reads it itself.
func (n *Node) serveHTTP(public []net.Listener, admin net.Listener) {
	n.admin = n.server(n.operator.Handler())
	n.serveOn(served(n.admin, admit.New(adminClients, adminClients/2, n.clientRefused), n.heads), admin)
	serve := n.router.Serve
	if n.cfg.Role == RoleNode {
		n.http = n.server(n.operator.Measured(n.publicHandler()))
		serve = served(n.http, n.httpGate, n.heads)
	}
	for _, l := range public {
		n.serveOn(serve, l)
	}
}

func (n *Node) serveOn(serve func(net.Listener) error, l net.Listener) {
	n.group.Go(func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && n.ctx.Err() == nil {
			n.log.Error("http door closed", "address", l.Addr(), "error", err)
		}
	})
}

// served serves connections that the gate lets in and that do not stand still.
func served(s *http.Server, gate *admit.Gate, heads *buffers.Budget) func(net.Listener) error {
	serve := steady.Server(s, standStill, heads)
	return func(l net.Listener) error { return serve(gate.Listener(l)) }
}

// clientRefused tells of connections to the HTTP doors that were closed because
// there were too many, once a minute; the counters have them all.
func (n *Node) clientRefused(from netip.Addr, full bool) {
	n.refusals.Do(func() {
		n.log.Warn("http: connections are refused, as too many are open", "from", from, "over_all", full)
	})
}

func (n *Node) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: steady.Bodies(h, standStill), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(serverLog{n.log}, "", 0),
	}
}

// serverLog takes the standard server's lines, which are about clients that
// break off and bad handshakes.
type serverLog struct{ log *slog.Logger }

func (w serverLog) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)), "from", "http")
	return len(p), nil
}

// publicHandler is a node's public door: the session API, and the application
// for everything else.
func (n *Node) publicHandler() http.Handler {
	sessions := api.New(api.Config{
		Sessions: doorSessions{n}, MaxSession: n.cfg.MaxSession, Bodies: n.bodies, NewID: n.newSessionID, SamePartition: samePartition, Log: n.log,
	})
	app := n.appHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ofAPI := r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/")
		if ofAPI && !n.mayAsk(w, r) {
			return
		}
		hop, err := n.router.Arrived(r)
		if err != nil {
			n.stats.refusedLate.Add(1)
			refuseUnavailable(w, err)
			return
		}
		if failed := r.Header.Get(header.Failover); failed != "" && hop != nil {
			n.takeOver(r.Context(), failed)
		}
		a, err := n.received(r, hop)
		if err != nil {
			n.stats.refusedLate.Add(1)
			refuseUnavailable(w, err)
			return
		}
		if hop != nil {
			r = arrived(r, arrival{a, hop})
		}
		if ofAPI {
			sessions.ServeHTTP(w, r)
			return
		}
		app.ServeHTTP(w, r)
	})
}

// takeOver checks an owner that refused a router, given as <name>/<boot>, and
// waits until this member's own view is without it. It believes its own dial,
// not the router: if the owner answers here, the request is forwarded to it.
func (n *Node) takeOver(ctx context.Context, failed string) {
	n.stats.failovers.Add(1)
	name, boot, _ := strings.Cut(failed, "/")
	id := ID{Name: name, Boot: boot}
	ctx, cancel := context.WithTimeout(ctx, ownership.ClaimTimeout)
	defer cancel()
	_ = n.pulse.Until(ctx, recheck, func() bool { // in time, or not
		l := n.mesh.Link(id)
		return !n.View().Up(id) || l == nil || l.Connected()
	})
}

// newSessionID makes an id of 130 random bits that this node owns, so that a
// new session needs no forwarding, and of which it could say that there is none.
func (n *Node) newSessionID() string {
	// With a share of 1 in 50, 1,000 tries fail once in 10⁸ times, and then
	// the session is merely forwarded.
	var id string
	for range 1000 {
		id = rand.Text()
		if d := n.owner.decide(ring.Partition(id)); d.Verdict == ownership.Serve && !d.Unverified {
			break
		}
	}
	return id
}

// samePartition makes a new random id in the partition of id: under the same
// tag, if it has one, or by trying endings, 1,024 on average.
func samePartition(id string) string {
	text := rand.Text()
	if tag := ring.Tag(id); len(tag) < len(id) {
		// A tag too long to have anything beside it is given up.
		if id := "{" + tag + "}:" + text; len(id) <= session.MaxKey {
			return id
		}
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	want := ring.Partition(id)
	b := append([]byte(text), "AAAA"...)
	end := b[len(text):]
	for i := 0; ; i++ { // 2²⁰ endings, of which each partition has about 1,000
		for j := range end {
			end[j] = alphabet[i>>(5*j)&31]
		}
		if s := string(b); ring.Partition(s) == want {
			return s
		}
	}
}

// refuseUnavailable answers a request that was not run here, and tells a router
// who may do it: another member, or, if the claims are changing at this moment so
// that others may refuse it as well, whoever owns the key in a moment.
func refuseUnavailable(w http.ResponseWriter, err error) {
	retry := header.RetryElsewhere
	if errors.Is(err, errOtherEpoch) {
		retry = header.RetrySoon
	}
	w.Header().Set("Retry-After", "1")
	w.Header().Set(header.Retry, retry)
	problem.Write(w, http.StatusServiceUnavailable, "unavailable", "The owner is not available", err.Error())
}

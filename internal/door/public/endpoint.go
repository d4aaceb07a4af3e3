package public

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// Config is what the endpoint needs of its member. All fields are required,
// unless they say otherwise. Functions must be safe for concurrent use, and
// those without a context must not block.
type Config struct {
	Self member.ID
	Role member.Role
	// NoAPI has a router answer 404 under /v1/. Optional.
	NoAPI bool
	// MaxSession bounds a session, in bytes.
	MaxSession int

	Owners Owners
	// InForce says whether a request that was sent by the claim of an epoch may
	// be run here.
	InForce func(p int, epoch uint64) bool
	// TooLate says why an attempt must not be run any more, nil if it may.
	TooLate func(a attempt.Attempt) error
	// Do runs an operation where its key is owned.
	Do func(ctx context.Context, op *session.Op, ack session.Ack, a attempt.Attempt) (session.Reply, error)
	// AwaitGone returns when the view is without a member, when that member
	// answers after all, or when ctx ends.
	AwaitGone func(ctx context.Context, id member.ID)
	// Suspect is told of a member that has refused a connection.
	Suspect func(id member.ID)
	// Misled is told of a member that was asked and did not serve the user.
	Misled func(id member.ID)

	// Finder tells the user of a request, and Secrets prove who has passed it
	// on.
	Finder  *router.Finder
	Secrets *Secrets
	// Dial connects to the public address of a member.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// AppRoute names the members whose application serves a user.
	AppRoute func(user string) router.Route
	// Sidecar is the application process next to this node. Optional.
	Sidecar Sidecar

	// Hosts are the names, as host or host:port, by which clients reach the
	// session API beside localhost and IP addresses. Empty ones name nothing.
	Hosts []string
	// MaxClients bounds the connections to the endpoint, and MaxPerAddress
	// those from one address.
	MaxClients, MaxPerAddress int
	// Limits are those of all HTTP endpoints of the member.
	Limits *door.Limits

	// Now tells the time of day, and Ahead how far a member's clock is ahead of
	// it, 0 where that is not known.
	Now   func() time.Time
	Ahead func(id member.ID) time.Duration
	// Answered is told of each answer of a router when it begins, and Measured
	// sees to that at a node.
	Answered func(status int, took time.Duration)
	Measured func(http.Handler) http.Handler
	Log      *slog.Logger
	Counters *metric.Set
	// Late counts requests that were refused because they came too late.
	Late *metric.Counter
}

// Sidecar is the application process next to a node, as far as requests are
// passed on to it.
type Sidecar interface {
	// Address stands for it in a router.Target.
	Address() string
	Dial(ctx context.Context) (net.Conn, error)
	// Refused is told of a request that found nobody listening.
	Refused()
	// Headers are added to each request for it.
	Headers() []router.Header
}

// bodyBytes bounds what the bodies of requests to the session API take together
// while they are read and carried out; four of the largest have room in any
// case.
const bodyBytes = 64 << 20

// Endpoint is the public endpoint of one member.
type Endpoint struct {
	cfg     Config
	guard   *hostcheck.Guard
	gate    *admit.Gate
	bodies  *buffers.Budget
	tracker *tracker
	router  *router.Router
	server  *http.Server // of a node that is open
	turn    atomic.Uint64

	failovers *metric.Counter
	visitors  metric.Counter // refused here; refused_visitors adds the router's
}

// New returns the endpoint of a member. Nothing is open yet. An error names the
// field that cannot work.
func New(cfg Config) (*Endpoint, error) {
	e := &Endpoint{
		cfg: cfg, guard: cfg.Limits.Guard("http-host", cfg.Hosts...), gate: cfg.Limits.Gate(cfg.MaxClients, cfg.MaxPerAddress),
		bodies: buffers.New(max(bodyBytes, 4*int64(cfg.MaxSession))), tracker: newTracker(cfg.Dial, cfg.Owners.View),
	}
	hops := NewHops(HopsConfig{Self: cfg.Self, Secrets: cfg.Secrets, View: cfg.Owners.View, Now: cfg.Now, Ahead: cfg.Ahead})
	var toApp []router.Header
	if cfg.Sidecar != nil {
		toApp = cfg.Sidecar.Headers()
	}
	var err error
	e.router, err = router.New(router.Config{
		Lookup: cfg.Owners.Route, LookupApp: cfg.AppRoute, Any: e.anyNode,
		NoAPI: cfg.NoAPI, Guard: e.guard,
		Finder: cfg.Finder, Failed: e.failed, Misled: e.misled, Fence: e.mark, Hops: hops,
		ToApp: toApp, FromApp: e.fromApp,
		Admit: e.gate.Enter, Answered: cfg.Answered, Dial: e.dial, Logger: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	e.failovers = cfg.Counters.Counter("failovers", "Requests that came here because their owner was refused.")
	cfg.Counters.Func(e.count)
	return e, nil
}

// Router passes requests on to other members.
func (e *Endpoint) Router() *router.Router { return e.router }

// Finder tells the user of a request.
func (e *Endpoint) Finder() *router.Finder { return e.cfg.Finder }

// Clients counts the connections to the endpoint.
func (e *Endpoint) Clients() int { return e.gate.Open() }

// BodyBytes counts the bytes of bodies that the session API reads at this
// moment.
func (e *Endpoint) BodyBytes() int64 { return e.bodies.Used() }

// SetView breaks the connections to members that are gone, and warns of those
// whose cookies this one does not believe. It is for one goroutine.
func (e *Endpoint) SetView(view *member.View) {
	e.tracker.setView(view)
	self := view.Member(e.cfg.Self)
	if self == nil || self.Secret == "" {
		return // no user gets a cookie from this member
	}
	for _, name := range e.cfg.Secrets.differing(view) {
		e.cfg.Log.Warn("-secret-file differs from that of " + name + ": users who change between them get new ids")
	}
}

// anyNode names the ready nodes in turn.
func (e *Endpoint) anyNode() router.Target {
	nodes := e.cfg.Owners.View().Nodes()
	if len(nodes) == 0 {
		return router.Target{}
	}
	return Target(nodes[e.turn.Add(1)%uint64(len(nodes))])
}

// fromApp says who has answered.
func (e *Endpoint) fromApp() []router.Header {
	return []router.Header{{Name: header.Node, Value: e.cfg.Self.Name}, {Name: header.Ring, Value: e.cfg.Owners.View().Table.Fingerprint()}}
}

// dial connects to the public address of a member, or to the sidecar.
func (e *Endpoint) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if e.cfg.Sidecar != nil && address == e.cfg.Sidecar.Address() {
		return e.cfg.Sidecar.Dial(ctx)
	}
	return e.tracker.dial(ctx, address)
}

// failed is told of a target that refused a request.
func (e *Endpoint) failed(t router.Target) {
	if t.App {
		e.cfg.Sidecar.Refused()
		return
	}
	e.cfg.Suspect(member.ID{Name: t.Name, Boot: t.Boot})
}

func (e *Endpoint) misled(t router.Target) { e.cfg.Misled(member.ID{Name: t.Name, Boot: t.Boot}) }

// Open returns what serves a listener. On a node app answers what is not the
// session API. A router passes on all that comes, so it reads it itself.
func (e *Endpoint) Open(app http.Handler) (serve func(net.Listener) error) {
	if e.cfg.Role != member.RoleNode {
		return e.router.Serve
	}
	e.server = door.Server(e.cfg.Measured(e.Handler(app)), e.cfg.Log)
	return e.cfg.Limits.Serve(e.server, e.gate)
}

// Shutdown lets the requests under way end, until ctx does. The router comes
// before the server: it also ends the WebSockets, which http.Server does not
// know of once it has handed them over.
func (e *Endpoint) Shutdown(ctx context.Context) {
	if err := e.router.Shutdown(ctx); err != nil {
		e.cfg.Log.Debug("requests were cut off", "error", err)
	}
	if e.server == nil {
		return
	}
	if err := e.server.Shutdown(ctx); err != nil {
		e.cfg.Log.Debug("requests were cut off", "error", err)
	}
}

// Cut ends the requests under way.
func (e *Endpoint) Cut() {
	if e.server != nil {
		e.server.Close()
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.router.Shutdown(ended) // its error is only that they were cut off
}

// Close ends the connections to other members that nothing uses any more.
func (e *Endpoint) Close() { e.router.Close() }

// Trusted says whether an address is in one of these networks: that of a proxy
// whose word about its client counts. That it has the address of a member says
// nothing: members prove their word.
func Trusted(networks []netip.Prefix) func(peer netip.Addr) bool {
	return func(peer netip.Addr) bool {
		peer = peer.Unmap()
		for _, p := range networks { // slices.ContainsFunc would allocate in each request
			if p.Contains(peer) {
				return true
			}
		}
		return false
	}
}

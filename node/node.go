package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/socket"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/node/redis"
	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// Node is one running member.
type Node struct {
	cfg     Config
	id      ID
	log     *slog.Logger
	clock   clock.Clock
	secrets *public.Secrets

	store      *session.Store
	replicator *replication.Replicator
	owner      *owner
	keeper     *keeper
	standstill *standstill
	tracker    *public.Tracker // connections to the public addresses of members
	gate       *gate
	members    *membership
	pulse      wait.Pulse // the view has changed, or a claim
	gossip     *gossip
	router     *router.Router
	finder     *router.Finder
	app        atomic.Pointer[http.Handler] // what answers when this node owns the user
	bindings   holdfast.Counters
	events     *events.Log
	counts     *metric.Set // all that is counted here, for those who show it
	stats      *counters
	metrics    *metrics
	lag        lagGauge
	inboundOps chan struct{}
	fence      fence
	mends      chan ID
	pubsub     *pubsub
	redis      *redis.Server // nil without -resp
	topology   atomic.Pointer[shownTopology]

	ctx     context.Context // ends with the node; its cause says why
	cancel  context.CancelCauseFunc
	group   sync.WaitGroup // every goroutine of the node
	closing chan struct{}  // closed when the doors begin to close
	done    chan struct{}

	linksMu sync.RWMutex // guards links
	links   map[ID]*link

	crowding             sync.Mutex // held by setCrowded
	absent               absent
	apiGuard, adminGuard *hostcheck.Guard // who may ask the session API, and the operator's door

	httpGate *admit.Gate     // the connections to the public door
	bodies   *buffers.Budget // the bodies that the session API reads
	heads    *buffers.Budget // the heads of requests, at a node's doors
	refusals rate.Sometimes  // between log lines about refused connections

	http, admin *http.Server
	beside      *beside // the application beside this node; nil without one

	stopping  atomic.Bool
	draining  chan struct{} // has a place for one drain at a time
	drained   atomic.Bool
	listeners []net.Listener
}

// ErrStopped is why operations fail on a node that has stopped.
var ErrStopped = errors.New("node has stopped")

// Start runs a member: when it returns, the member listens on all its
// addresses, has joined the cluster if a seed answered, and takes part. Its
// errors name the flag that was wrong. The end of ctx stops the member at once;
// [Node.Shutdown] hands over first.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.warnOfExposure()
	n, err := newNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := n.open(ctx); err != nil {
		n.stop(err, false)
		return nil, err
	}
	return n, nil
}

func newNode(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{
		cfg: cfg, id: member.NewID(cfg.Name, cfg.Now()), log: cfg.Log, clock: clock.New(cfg.Now),
		inboundOps: make(chan struct{}, inboundOps), mends: make(chan ID, 1), draining: make(chan struct{}, 1),
		closing: make(chan struct{}), done: make(chan struct{}), links: make(map[ID]*link), events: events.New(cfg.Now),
	}
	n.secrets = public.NewSecrets(cfg.Secret, cfg.OldSecrets, cfg.GossipKeys)
	n.tracker = public.NewTracker(cfg.Network.Dial, n.View)
	n.httpGate = admit.New(cfg.HTTPMaxClients, cfg.HTTPMaxPerAddress, n.clientRefused)
	n.bodies, n.refusals = buffers.New(max(bodyBytes, 4*int64(cfg.MaxSession))), rate.Sometimes{Interval: time.Minute}
	n.heads = buffers.New(headBytes)
	n.apiGuard = hostcheck.New("http-host", slices.Concat(cfg.HTTPHosts, []string{cfg.HTTP, cfg.Advertise, cfg.Name})...)
	n.adminGuard = hostcheck.New("admin-host", slices.Concat(cfg.AdminHosts, []string{cfg.Admin, cfg.Advertise, cfg.Name})...)
	n.counts = new(metric.Set)
	n.stats = newCounters(n.counts, cfg.Role)
	n.counts.Func(n.countMember)
	n.metrics = newMetrics(n)
	n.ctx, n.cancel = context.WithCancelCause(ctx)
	n.keeper, n.standstill, n.gate, n.pubsub = newKeeper(n), &standstill{node: n}, newGate(n), newPubsub(n)
	var err error
	if n.owner, err = newOwner(n); err != nil {
		return nil, err
	}
	if cfg.Role != RoleNode {
		return n, nil
	}
	n.store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: tagOf, Now: cfg.Now,
		TTL: cfg.TTL, MaxSession: cfg.MaxSession, MemoryLimit: storeLimit(cfg.MemoryLimit),
	})
	if err != nil {
		return nil, err
	}
	n.replicator = replication.New(replication.Config{
		Store: n.store, Partitions: ring.Partitions, Now: time.Now, Merged: n.merged,
	})
	n.counts.Func(n.countNode)
	if cfg.RESP != "" || cfg.RESPUnix != "" {
		n.redis = newRedis(n)
		n.counts.Func(n.countRedis)
		n.pubsub.local = n.redis
	}
	return n, nil
}

// tagOf says by which tag a user's sessions are found: the one in braces.
func tagOf(key string) (tag string, braced bool) {
	tag = ring.Tag(key)
	return tag, len(tag) < len(key)
}

// merged passes a change on that has come from a member which served the
// partition before: the successors need it as well.
func (n *Node) merged(key string) {
	p := ring.Partition(key)
	if n.owner.decide(p).Here() {
		n.replicator.Mark(n.View().CopyHolders(p), key)
	}
}

// open starts everything, in the order in which others can make use of it: a
// member that gossip tells of must answer on its peer port, and one that owns
// partitions must answer at its doors.
func (n *Node) open(ctx context.Context) error {
	var err error
	cfg := &n.cfg
	if cfg.Advertise == "" {
		if cfg.Advertise, err = defaultAdvertise(*cfg); err != nil {
			return err
		}
	}
	own := Meta{Role: cfg.Role, State: StateJoining, Pid: os.Getpid(), Zone: cfg.Zone, Params: cfg.ringParams().String(), Secret: n.ownSecretTag()}
	httpListener, err := n.listen(ctx, "http", cfg.HTTP, &own.HTTP)
	if err != nil {
		return err
	}
	adminListener, err := n.listen(ctx, "admin", cfg.Admin, &own.Admin)
	if err != nil {
		return err
	}
	var peerListener net.Listener
	if cfg.Role == RoleNode {
		if peerListener, err = n.listen(ctx, "peer", cfg.Peer, &own.Peer); err != nil {
			return err
		}
	}
	public, err := n.listenUnix(ctx, "http-unix", cfg.HTTPUnix)
	if err != nil {
		return err
	}
	public = append(public, httpListener)
	var respListeners []net.Listener
	if n.redis != nil {
		if respListeners, err = n.listenUnix(ctx, "resp-unix", cfg.RESPUnix); err != nil {
			return err
		}
	}
	if n.redis != nil && cfg.RESP != "" {
		l, err := n.listen(ctx, "resp", cfg.RESP, &own.RESP)
		if err != nil {
			return err
		}
		respListeners = append(respListeners, l)
	}
	if n.members, err = newMembership(n, n.id, own, cfg.ringParams()); err != nil {
		return err
	}
	if cfg.App != "" {
		n.beside = newBeside(n, own.HTTP)
	}
	if err := n.openRouter(); err != nil {
		return err
	}
	if n.gossip, err = startGossip(*cfg, n.id, own, n.log); err != nil {
		return err
	}
	n.members.gossip = n.gossip
	if peerListener != nil {
		n.group.Go(func() { n.gate.accept(n.ctx, peerListener) })
	}
	if err := n.joinCluster(ctx); err != nil {
		return err
	}
	n.members.update()
	n.serveHTTP(public, adminListener)
	for _, l := range respListeners {
		n.serveRedis(l)
	}
	n.run()
	if err := n.enter(ctx); err != nil {
		return err
	}
	n.log.Info("started", "name", n.id.Name, "boot", n.id.Boot, "role", cfg.Role, "http", own.HTTP, "admin", own.Admin, "resp", own.RESP, "peer", own.Peer, "gossip", cfg.Gossip)
	n.events.Add("started", "member", n.id.Name, "boot", n.id.Boot)
	return nil
}

// run starts the loops.
func (n *Node) run() {
	loops := []func(context.Context){
		n.members.run,
		func(ctx context.Context) { n.gossip.rejoin(ctx, n.cfg.Join) },
		n.mendViews,
		n.watchName,
		n.events.Run,
	}
	if n.cfg.Role == RoleNode {
		loops = append(loops, n.owner.run, n.keeper.run, n.standstill.watch, n.expire, n.watchLag, n.pubsub.run)
		if n.beside != nil {
			loops = append(loops, n.beside.watch)
		}
	}
	if n.cfg.Role == RoleRouter && len(n.cfg.Join) == 0 {
		loops = append(loops, n.warnOfNoNode)
	}
	for _, loop := range loops {
		n.group.Go(func() { loop(n.ctx) })
	}
	n.group.Go(func() {
		<-n.ctx.Done()
		go n.stop(context.Cause(n.ctx), false) // ends the node also when the caller's context did; waits for this group
	})
}

func (n *Node) listen(ctx context.Context, field, address string, advertise *string) (net.Listener, error) {
	l, err := listen(ctx, n.cfg.Network, field, address)
	if err != nil {
		return nil, err
	}
	n.listeners = append(n.listeners, l)
	*advertise = advertised(l.Addr(), n.cfg.Advertise)
	return l, nil
}

// listenUnix opens the Unix socket that the named flag has asked for, or none
// where path is empty.
func (n *Node) listenUnix(ctx context.Context, flag, path string) ([]net.Listener, error) {
	if path == "" {
		return nil, nil
	}
	l, err := socket.Listen(ctx, path)
	switch {
	case errors.Is(err, socket.ErrAbstract), errors.Is(err, socket.ErrFile):
		return nil, fmt.Errorf("-%s %s: %w", flag, path, err)
	case err != nil:
		return nil, cannotListen("unix", flag, path, err)
	}
	n.listeners = append(n.listeners, l)
	return []net.Listener{l}, nil
}

// joinCluster contacts the seeds and refuses to go on where this member does
// not fit in: other parameters, or a name that a running member has. That no
// seed answers is no reason: the first member of a cluster finds none.
func (n *Node) joinCluster(ctx context.Context) error {
	for _, seed := range n.cfg.Join {
		if n.gossip.isSelf(seed) {
			continue
		}
		if _, err := n.gossip.join([]string{seed}); err != nil {
			if member.IsMismatch(err) {
				return fmt.Errorf("-join: %w", err)
			}
			n.log.Debug("seed does not answer yet", "error", err)
		}
	}
	return n.checkName(ctx)
}

// View returns the membership and the ring as this member sees them now.
func (n *Node) View() *View { return n.members.view.Load() }

// ID returns the member's name and boot.
func (n *Node) ID() ID { return n.id }

// Sessions returns the door to all sessions of the cluster. A router has it
// too, and forwards every operation.
func (n *Node) Sessions() *Sessions { return &Sessions{n} }

// Done is closed when the member has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the member has stopped, or is about to: nil while it runs, and
// ErrStopped after [Node.Shutdown].
func (n *Node) Err() error { return context.Cause(n.ctx) }

// since is the time since the node's start by the monotonic clock.
func (n *Node) since() time.Duration { return n.clock.Since() }

func (n *Node) reply() reply {
	return reply{Reply: session.Reply{Node: n.id.Name, Ring: n.View().Table.Fingerprint()}}
}

// viewChanged lets links and ownership follow a view. The membership loop
// calls it for each one.
func (n *Node) viewChanged(last, view *View) {
	n.owner.setView(view) // before the links: what they hear counts for members that it has
	n.syncLinks(view)
	n.noteChanges(last, view)
	n.compareSecrets(view)
	if last.Table.Fingerprint() != view.Table.Fingerprint() {
		n.log.Info("ring", "fingerprint", view.Table.Fingerprint(), "nodes", view.Table.Members())
		n.events.Add("ring", "fingerprint", view.Table.Fingerprint(), "nodes", view.Table.Members())
	}
	n.keeper.viewChanged(view)
	n.tracker.ViewChanged(view)
	n.gate.viewChanged()
	n.setCrowded()
	n.absent.viewChanged(last, view, n.id, n.since())
	n.owner.wake.Kick()
	n.keeper.wake.Kick()
	for _, l := range n.allLinks() {
		l.beat.Kick()
	}
}

// noteChanges puts who came and who went into the event log.
func (n *Node) noteChanges(last, view *View) {
	for _, m := range view.Members {
		old := last.Member(m.ID)
		switch {
		case m.ID == n.id:
		case m.Up && old == nil:
			n.events.Add("joined", "member", m.Name, "boot", m.Boot, "role", m.Role)
		case m.Up && !old.Up: // a cut has healed, or a frozen process goes on
			n.events.Add("healed", "member", m.Name, "boot", m.Boot, "role", m.Role)
		case !m.Up && old != nil && old.Up && (m.Left || m.State == StateLeaving):
			n.events.Add("left", "member", m.Name, "boot", m.Boot, "role", m.Role)
		case !m.Up && old != nil && old.Up:
			n.members.noteDeath(m.Name)
			n.events.Add("ended", "member", m.Name, "boot", m.Boot, "role", m.Role)
		case m.Up && old.State != m.State:
			n.events.Add(m.State.String(), "member", m.Name, "boot", m.Boot)
		}
	}
}

// syncLinks has one link to each node that may be running, other than this
// one, and closes those to boots that are known to have ended. One that is gone
// or held for dead keeps its link, which tries to reach it, until gossip has
// forgotten it.
func (n *Node) syncLinks(view *View) {
	var ended []*link
	n.linksMu.Lock()
	for _, m := range view.Members {
		if m.ID == n.id || m.Role != RoleNode {
			continue
		}
		l, have := n.links[m.ID]
		newest := view.Named(m.Name)
		if m.Up && !have && n.ctx.Err() == nil {
			l = newLink(n, m)
			var ctx context.Context
			ctx, l.stop = context.WithCancel(n.ctx)
			n.links[m.ID] = l
			n.group.Go(func() { l.run(ctx) })
		}
		if have && !m.Up && (newest != nil && newest.ID != m.ID || m.Left) {
			ended = append(ended, l)
			delete(n.links, m.ID)
		}
	}
	for id, l := range n.links {
		if view.Member(id) == nil {
			ended = append(ended, l)
			delete(n.links, id)
		}
	}
	n.linksMu.Unlock()
	for _, l := range ended {
		l.stop()
	}
	if len(ended) > 0 {
		n.pubsub.recount()
	}
	if n.cfg.Role == RoleNode {
		n.syncSenders(view)
	}
}

// syncSenders ships changes to every node that takes part, and to no other.
func (n *Node) syncSenders(view *View) {
	for _, m := range view.Members {
		if l := n.linkTo(m.ID); m.Up && l != nil {
			n.replicator.Attach(n.ctx, m.ID.String(), l)
			continue
		}
		n.replicator.Detach(m.ID.String())
		n.keeper.forget(m.ID.String())
	}
}

func (n *Node) linkTo(id ID) *link {
	n.linksMu.RLock()
	defer n.linksMu.RUnlock()
	return n.links[id]
}

func (n *Node) linkNamed(id string) *link {
	parsed, err := member.ParseID(id)
	if err != nil {
		return nil
	}
	return n.linkTo(parsed)
}

func (n *Node) allLinks() []*link {
	n.linksMu.RLock()
	defer n.linksMu.RUnlock()
	all := make([]*link, 0, len(n.links))
	for _, l := range n.links {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *link) int { return a.id.Compare(b.id) })
	return all
}

// mendView asks for a full exchange of members with one whose ring differs, or
// that does not know this member yet.
func (n *Node) mendView(id ID) {
	select {
	case n.mends <- id:
	default: // one is due already, and the rings will be compared again
	}
}

func (n *Node) mendViews(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-n.mends:
			if m := n.View().Member(id); m != nil {
				n.stats.mendedViews.Add(1)
				if _, err := n.gossip.join([]string{m.Gossip}); err != nil {
					n.log.Debug("exchange members", "member", id.Name, "error", err)
				}
			}
		}
	}
}

// expire reaps sessions whose time is up.
func (n *Node) expire(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := -fullAgain
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.expireSessions()
			told = n.tellFull(told)
			n.fence.lower(n.clock.Now())
		}
	}
}

// defaultAdvertise finds the host that others can reach this member at where it
// listens on a wildcard: the one at which it listens for the other members, if
// that is told, for of several networks this is the one that they are on.
func defaultAdvertise(cfg Config) (string, error) {
	between := []string{cfg.Gossip}
	if cfg.Role == RoleNode {
		between = []string{cfg.Peer, cfg.Gossip}
	}
	for _, address := range between {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			continue
		}
		// Only addresses, as gossip takes no name; and none that means something
		// on this host alone.
		ip, err := netip.ParseAddr(host)
		if err == nil && ip.Zone() == "" && !ip.IsUnspecified() && !ip.Unmap().IsLoopback() {
			return ip.Unmap().String(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("-advertise: none given and the interfaces cannot be read: %w", err)
	}
	return firstReachable(addrs), nil
}

// firstReachable returns the first private IPv4 address; without one the first
// other IPv4 address, and then the first IPv6 address.
func firstReachable(addrs []net.Addr) string {
	var private, v4, v6 []string
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := prefix.Addr(); {
		case ip.IsLoopback(), ip.IsLinkLocalUnicast():
		case ip.IsPrivate() && ip.Is4():
			private = append(private, ip.String())
		case ip.Is4():
			v4 = append(v4, ip.String())
		default:
			v6 = append(v6, ip.String())
		}
	}
	return slices.Concat(private, v4, v6, []string{"127.0.0.1"})[0]
}

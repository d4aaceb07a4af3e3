package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/door/app"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/door/rediscluster"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/inbound"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/membership"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/pubsub"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/wait"
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
	owner      *owner.Owner
	repairer   *repair.Repairer
	dispatcher *dispatch.Dispatcher
	drainer    *drain.Drainer  // nil on a router
	tracker    *public.Tracker // connections to the public addresses of members
	mesh       *mesh.Mesh
	members    *membership.Members
	pulse      wait.Pulse       // the view has changed, or a claim
	endpoint   *public.Endpoint // what the public asks
	finder     *router.Finder
	pin        *app.Pin     // gives a request to its user's owner, and there to the application
	sidecar    *app.Sidecar // nil without one
	events     *events.Log
	counts     *metric.Set     // all that is counted here, for those who show it
	operator   *admin.Endpoint // what operators ask
	pubsub     *pubsub.PubSub
	cluster    *rediscluster.Cluster // as the Redis endpoint sees it
	redis      *redis.Server         // nil without -resp

	ctx     context.Context // ends with the node; its cause says why
	cancel  context.CancelCauseFunc
	group   sync.WaitGroup // every goroutine of the node
	closing chan struct{}  // closed when the endpoints begin to close
	done    chan struct{}

	apiGuard *hostcheck.Guard // who may ask the session API

	httpGate *admit.Gate     // the connections to the public endpoint
	bodies   *buffers.Budget // the bodies that the session API reads
	heads    *buffers.Budget // the heads of requests, at a node's endpoints
	refusals rate.Sometimes  // between log lines about refused connections

	admin *http.Server

	stopping  atomic.Bool
	listeners []net.Listener
}

// ErrStopped is why operations fail on a node that has stopped.
var ErrStopped = errors.New("node has stopped")

// Start runs a member: when it returns, the member listens on all its
// addresses, has joined the cluster if a seed answered, and takes part. Its
// errors name the field that was wrong, see [FieldError]. The end of ctx stops
// the member at once; [Node.Shutdown] hands over first.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.warnOfExposure()
	if cfg.Advertise == "" {
		between := []string{cfg.Gossip}
		if cfg.Role == RoleNode {
			between = []string{cfg.Peer, cfg.Gossip}
		}
		if cfg.Advertise, err = network.Advertise(between...); err != nil {
			return nil, &FieldError{Field: "Advertise", Reason: "none given and the interfaces cannot be read: " + err.Error(), Err: err}
		}
	}
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
		closing: make(chan struct{}), done: make(chan struct{}), events: events.New(cfg.Now),
	}
	n.secrets = public.NewSecrets(cfg.Secret, cfg.OldSecrets, cfg.GossipKeys)
	n.tracker = public.NewTracker(cfg.Network.Dial, n.View)
	n.httpGate = admit.New(cfg.HTTPMaxClients, cfg.HTTPMaxPerAddress, n.clientRefused)
	n.bodies, n.refusals = buffers.New(max(bodyBytes, 4*int64(cfg.MaxSession))), rate.Sometimes{Interval: time.Minute}
	n.heads = buffers.New(headBytes)
	n.apiGuard = hostcheck.New("http-host", slices.Concat(cfg.HTTPHosts, []string{cfg.HTTP, cfg.Advertise, cfg.Name})...)
	n.counts = new(metric.Set)
	n.counts.Func(n.countMember)
	n.ctx, n.cancel = context.WithCancelCause(ctx)
	n.pubsub = pubsub.New(n.View, n.nodeCounters())
	var err error
	if cfg.Role == RoleNode {
		if err = n.openStore(); err != nil {
			return nil, err
		}
	}
	n.repairer = repair.New(n.repairConfig())
	if n.owner, err = owner.New(n.ownerConfig()); err != nil {
		return nil, err
	}
	if n.members, err = membership.New(n.membersConfig(), Meta{Role: cfg.Role, State: StateJoining, Params: cfg.ringParams().String()}); err != nil {
		return nil, err
	}
	answers := new(inbound.Handler)
	links := n.meshConfig()
	links.Handler = answers
	n.mesh = mesh.New(n.ctx, links)
	n.repairer.Bind(n.owner, n.mesh)
	n.dispatcher = dispatch.New(n.dispatchConfig())
	if cfg.Role == RoleNode {
		n.drainer = drain.New(n.drainConfig())
		n.cluster = rediscluster.New(n.clusterConfig())
		n.openRedis()
	}
	n.operator = admin.New(n.adminConfig())
	*answers = inbound.Handler{ // before anything is asked: there is no listener yet
		Mesh: n.mesh, Store: n.store, Owner: n.owner, Dispatcher: n.dispatcher,
		Replicator: n.replicator, PubSub: n.pubsub, Cluster: n.cluster, Operator: n.operator,
	}
	return n, nil
}

// openRedis makes the Redis endpoint, where there is one.
func (n *Node) openRedis() {
	cfg := &n.cfg
	if cfg.RESP != "" || cfg.RESPUnix != "" {
		n.redis = newRedis(n)
		n.pubsub.SetLocal(n.redis)
	}
}

// Of the memory limit the store gets what the member does not need for itself:
// a 16th is for the records that are on their way, in the queues of links and of
// senders, and where that is little, an eighth, of which 8 MiB are enough: the
// tables of 1,024 partitions and the rest of a member without sessions.
const (
	workShare  = 16
	bareShare  = 8
	bareMember = 8 << 20
)

// storeLimit is how many bytes of sessions the store of a member may hold, with
// this limit for the member; 0 is none.
func storeLimit(limit int64) int64 {
	return limit - max(limit/workShare, min(bareMember, limit/bareShare))
}

// openStore makes what only a node has: its sessions, and the copies of them.
func (n *Node) openStore() (err error) {
	n.store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: tagOf, Now: n.cfg.Now,
		TTL: n.cfg.TTL, MaxSession: n.cfg.MaxSession, MemoryLimit: storeLimit(n.cfg.MemoryLimit),
	})
	if err != nil {
		return err
	}
	n.replicator = replication.New(replication.Config{
		Store: n.store, Partitions: ring.Partitions, Now: time.Now, Merged: n.merged,
	})
	return nil
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
	if n.owner.Gate().Phase(p) >= ownership.Fetching { // each record of each copy comes by here: no clock
		n.replicator.Mark(n.View().CopyHolders(p), key)
	}
}

// open starts everything, in the order in which others can make use of it: a
// member that gossip tells of must answer on its peer port, and one that owns
// partitions must answer at its endpoints.
func (n *Node) open(ctx context.Context) error {
	var err error
	cfg := &n.cfg
	own := Meta{Role: cfg.Role, State: StateJoining, Pid: os.Getpid(), Zone: cfg.Zone, Params: cfg.ringParams().String(), Secret: n.ownSecretTag()}
	httpListener, err := n.listen(ctx, "HTTP", cfg.HTTP, &own.HTTP)
	if err != nil {
		return err
	}
	adminListener, err := n.listen(ctx, "Admin", cfg.Admin, &own.Admin)
	if err != nil {
		return err
	}
	var peerListener net.Listener
	if cfg.Role == RoleNode {
		if peerListener, err = n.listen(ctx, "Peer", cfg.Peer, &own.Peer); err != nil {
			return err
		}
	}
	clients, err := n.listenUnix(ctx, "HTTPUnix", cfg.HTTPUnix)
	if err != nil {
		return err
	}
	clients = append(clients, httpListener)
	var respListeners []net.Listener
	if n.redis != nil {
		if respListeners, err = n.listenUnix(ctx, "RESPUnix", cfg.RESPUnix); err != nil {
			return err
		}
	}
	if n.redis != nil && cfg.RESP != "" {
		l, err := n.listen(ctx, "RESP", cfg.RESP, &own.RESP)
		if err != nil {
			return err
		}
		respListeners = append(respListeners, l)
	}
	n.members.SetOwn(own)
	if err := n.makePublic(own.HTTP); err != nil {
		return err
	}
	if err := n.members.Start(); err != nil {
		return err
	}
	if peerListener != nil {
		n.group.Go(func() { n.mesh.Accept(n.ctx, peerListener) })
	}
	if err := n.members.Join(ctx); err != nil {
		return err
	}
	n.members.Update()
	n.serveHTTP(clients, adminListener)
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
		n.members.Run,
		n.members.Rejoin,
		n.members.Mender,
		func(ctx context.Context) { n.members.WatchName(ctx, n.nameTaken) },
		n.events.Run,
	}
	if n.cfg.Role == RoleNode {
		loops = append(loops, n.owner.Run, n.repairer.Run, n.owner.Watch, n.expire, n.dispatcher.WatchLag, n.pubsub.Run)
		if n.sidecar != nil {
			loops = append(loops, n.sidecar.Watch)
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
	l, err := n.cfg.Network.Listen(ctx, address)
	if err != nil {
		return nil, cannotListen("tcp", field, address, err)
	}
	n.listeners = append(n.listeners, l)
	*advertise = network.Advertised(l.Addr(), n.cfg.Advertise)
	return l, nil
}

// View returns the membership and the ring as this member sees them now.
func (n *Node) View() *View { return n.members.View() }

// ID returns the member's name and boot.
func (n *Node) ID() ID { return n.id }

// Done is closed when the member has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the member has stopped, or is about to: nil while it runs, and
// ErrStopped after [Node.Shutdown].
func (n *Node) Err() error { return context.Cause(n.ctx) }

// since is the time since the node's start by the monotonic clock.
func (n *Node) since() time.Duration { return n.clock.Since() }

// viewChanged lets links and ownership follow a view. The membership loop
// calls it for each one.
func (n *Node) viewChanged(last, view *View) {
	n.owner.SetView(view) // before the links: what they hear counts for members that it has
	n.mesh.Sync(view)
	if n.cfg.Role == RoleNode {
		n.syncSenders(view)
	}
	n.pubsub.SetView()
	n.compareSecrets(view)
	if last.Table.Fingerprint() != view.Table.Fingerprint() {
		n.log.Info("ring", "fingerprint", view.Table.Fingerprint(), "nodes", view.Table.Members())
		n.events.Add("ring", "fingerprint", view.Table.Fingerprint(), "nodes", view.Table.Members())
	}
	n.repairer.SetView(view)
	n.tracker.ViewChanged(view)
	n.dispatcher.SetView(last, view)
	n.owner.Recheck()
	n.repairer.Recheck()
}

// syncSenders ships changes to every node that takes part, and to no other.
func (n *Node) syncSenders(view *View) {
	for _, m := range view.Members {
		if l := n.mesh.Link(m.ID); m.Up && l != nil {
			n.replicator.Attach(n.ctx, m.ID.String(), l)
			continue
		}
		n.replicator.Detach(m.ID.String())
		n.repairer.Forget(m.ID.String())
	}
}

// expire reaps sessions whose time is up.
func (n *Node) expire(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := -repair.FullAgain
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.expireSessions()
			told = n.repairer.TellFull(told)
			n.dispatcher.Tick()
		}
	}
}

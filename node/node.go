package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/absence"
	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/door/app"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/door/rediscluster"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/events"
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
	"github.com/seed-95a32959/holdfast/internal/timekeeper"
	"github.com/seed-95a32959/holdfast/internal/upstream"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Node is one running member.
type Node struct {
	cfg    Config
	id     ID
	wall   *clock.Wall
	keeper *timekeeper.Keeper // of wall
	clock  clock.Clock        // of which the time of day is wall's
	events *events.Log
	counts *metric.Set // all that is counted here, for those who show it
	pulse  wait.Pulse  // the view has changed, or a claim

	members    *membership.Members
	mesh       *mesh.Mesh
	owner      *owner.Owner
	repairer   *repair.Repairer
	census     *census.Census
	dispatcher *dispatch.Dispatcher
	absence    *absence.Absence
	pubsub     *pubsub.PubSub

	held
	kept     *kept              // nil without a disk
	upstream *upstream.Upstream // nil where nothing is taken over
	endpoints
	life
}

// held is what only a node has, its sessions and what moves them. On a router
// all of it is nil.
type held struct {
	store      *session.Store
	replicator *replication.Replicator
	drainer    *drain.Drainer
	cluster    *rediscluster.Cluster // as the Redis endpoint sees it
}

// endpoints are what clients and operators ask.
type endpoints struct {
	endpoint *public.Endpoint // the public one
	pin      *app.Pin         // gives a request to its user's owner, and there to the application
	redis    *redis.Server    // nil without -resp
	operator *admin.Endpoint
}

// life is what of a member runs, and how it ends.
type life struct {
	listeners
	ctx     context.Context // ends with the member; its cause says why
	cancel  context.CancelCauseFunc
	group   sync.WaitGroup // every goroutine of the member
	closing chan struct{}  // closed when the endpoints begin to close
	done    chan struct{}  // closed when all has ended
	ending  atomic.Bool
}

// ErrStopped is why operations fail on a node that has stopped.
var ErrStopped = errors.New("node has stopped")

// ErrNobodyThere is why a drain fails where no other node can take what is left.
var ErrNobodyThere = drain.ErrNobodyThere

// Start runs a member: when it returns, the member listens on all its
// addresses, and has joined a cluster or founded one. A node that has found
// none within 5 s goes on looking, and refuses until then; the admin endpoint's
// /readyz says so. The errors name the field that was wrong, see [FieldError].
// The end of ctx stops the member at once; [Node.Shutdown] hands over first.
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
	l, own, err := listen(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	n, err := newNode(ctx, cfg, member.NewID(cfg.Name, clock.NewWall(cfg.Now).Now()), own)
	if err != nil {
		l.close()
		return nil, err
	}
	n.listeners = l
	if err := n.open(ctx); err != nil {
		n.stop(err, nil)
		return nil, err
	}
	return n, nil
}

// newNode makes the parts of a member that says own of itself. They are made
// from the bottom up; what one needs of a later one it is given as a function.
func newNode(ctx context.Context, cfg Config, id ID, own Meta) (n *Node, err error) {
	wall := clock.NewWall(cfg.Now)
	n = &Node{cfg: cfg, id: id, wall: wall, clock: clock.New(wall.Now), events: events.New(wall.Now), counts: new(metric.Set)}
	n.closing, n.done = make(chan struct{}), make(chan struct{})
	n.ctx, n.cancel = context.WithCancelCause(ctx)
	made := n
	defer func() {
		if err != nil {
			made.closeDisk()
			made.closeUpstream()
		}
	}()
	n.counts.Func(func(put metric.Put) {
		put("events_missed", "Events that a slow reader of the event log did not get.", n.events.Missed())
	})
	secrets := public.NewSecrets(cfg.Secret, cfg.OldSecrets, cfg.GossipKeys)
	if cfg.givesCookies() {
		own.Secret = secrets.Tag()
	}
	n.pubsub = pubsub.New(n.View, n.nodeCounters())
	if cfg.Role == RoleNode {
		if err = n.openStore(); err != nil {
			return nil, err
		}
		if err = n.openDisk(); err != nil {
			return nil, err
		}
		own.Keeps, own.Mode = n.keeps(), string(cfg.PartitionMode)
	}
	if err = n.openUpstream(); err != nil {
		return nil, err
	}
	n.repairer = repair.New(n.repairConfig())
	if n.owner, err = owner.New(n.ownerConfig()); err != nil {
		return nil, err
	}
	if n.members, err = membership.New(n.membersConfig(), own); err != nil {
		return nil, err
	}
	n.census = census.New(n.censusConfig())
	n.absence = absence.New(n.absenceConfig())
	answers := new(inbound.Handler)
	links := n.meshConfig()
	links.Handler = answers
	n.mesh = mesh.New(n.ctx, links)
	n.repairer.Bind(n.owner, n.mesh)
	n.keeper = timekeeper.New(n.keeperConfig())
	n.dispatcher = dispatch.New(n.dispatchConfig())
	if cfg.Role == RoleNode {
		n.drainer = drain.New(n.drainConfig())
		n.cluster = rediscluster.New(n.clusterConfig())
		n.openRedis()
	}
	limits := door.NewLimits(cfg.Log, n.counts)
	n.operator = admin.New(n.adminConfig(limits))
	routes, err := n.routes(own.HTTP)
	if err != nil {
		return nil, err
	}
	if n.endpoint, err = public.New(n.publicConfig(limits, secrets, routes)); err != nil {
		return nil, err
	}
	n.pin = app.New(n.appConfig(routes))
	*answers = inbound.Handler{ // before anything is asked: nothing is accepted yet
		Mesh: n.mesh, Store: n.store, Owner: n.owner, Dispatcher: n.dispatcher,
		Replicator: n.replicator, PubSub: n.pubsub, Cluster: n.cluster, Operator: n.operator, Absence: n.absence,
	}
	return n, nil
}

// openRedis makes the Redis endpoint, where there is one.
func (n *Node) openRedis() {
	if n.cfg.RESP != "" || n.cfg.RESPUnix != "" {
		n.redis = redis.New(n.redisConfig())
		n.pubsub.SetLocal(n.redis)
	}
}

// openStore makes what holds sessions, and ships the copies of them.
func (n *Node) openStore() (err error) {
	n.store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: tagOf, Now: n.wall.Now,
		TTL: n.cfg.TTL, MaxSession: n.cfg.MaxSession, MemoryLimit: storeLimit(n.cfg.MemoryLimit),
	})
	if err != nil {
		return err
	}
	n.replicator = replication.New(replication.Config{
		Store: n.store, Partitions: ring.Partitions, Now: time.Now, Merged: n.merged, Refused: func(id, key string) { n.repairer.Refused(id, key) },
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

// View returns the membership and the ring as this member sees them now.
func (n *Node) View() *View { return n.members.View() }

// ID returns the member's name and boot.
func (n *Node) ID() ID { return n.id }

// Done is closed when the member has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the member has stopped, or is about to: nil while it runs, and
// ErrStopped after [Node.Shutdown].
func (n *Node) Err() error { return context.Cause(n.ctx) }

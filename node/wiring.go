package node

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/absence"
	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/door/app"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/door/rediscluster"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/inbound"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/membership"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/timekeeper"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

func (n *Node) keeperConfig() timekeeper.Config {
	return timekeeper.Config{
		Wall: n.wall, Others: n.mesh.HostClocks,
		Serves: func() bool { return n.members.State() != StateJoining },
		Tell:   func(why string) error { return n.members.SetUnfit("clock", why) },
		Log:    n.cfg.Log, Events: n.events, Counters: n.counts,
	}
}

func (n *Node) membersConfig() membership.Config {
	cfg := &n.cfg
	return membership.Config{
		Self: n.id, Params: cfg.ringParams(), Cluster: cfg.Cluster, Address: cfg.Gossip, Advertise: cfg.Advertise, Keys: cfg.GossipKeys, Seeds: cfg.Join,
		Expect: cfg.expected(), FoundAfter: cfg.foundAfter(), Awaited: n.awaited(), StartWait: cfg.startWait(),
		Transport:    func(address string) (memberlist.Transport, error) { return cfg.Network.Gossip(address) },
		CannotListen: func(err error) error { return cannotListen("tcp", "Gossip", cfg.Gossip, err) },
		Connected:    func(id ID) bool { l := n.mesh.Link(id); return l != nil && l.Connected() },
		Linked:       func() (bool, []string) { return n.mesh.Linked() },
		Isolated:     func() (bool, []string) { return n.mesh.Isolated() },
		Unreached:    func(id ID) (time.Duration, bool) { return n.mesh.Unreached(id) },
		Answers:      func(ctx context.Context, id ID, address string) bool { return n.mesh.Answers(ctx, id, address) },
		Changed:      n.viewChanged, Go: n.goes,
		Clock: n.clock, Log: n.cfg.Log, Events: n.events, Pulse: &n.pulse, Counters: n.counts,
	}
}

func (n *Node) censusConfig() census.Config {
	c := census.Config{
		Self: n.id, View: n.View,
		LastHeard: func(id ID) time.Duration { // with a lease or without: a router gets none
			if l := n.mesh.Link(id); l != nil {
				return l.LastReached()
			}
			return 0
		},
		Beat:  func(id ID) { n.mesh.Beat(id) },
		Clock: n.clock, Log: n.cfg.Log, Events: n.events,
	}
	if n.cfg.Role == RoleNode {
		c.Partitions = partitions{n.owner.Gate(), n.store}
	}
	return c
}

// partitions are what the census counts of a node.
type partitions struct {
	gate  *ownership.Gate
	store *session.Store
}

func (p partitions) Serving(i int) (here, complete bool) {
	phase := p.gate.Phase(i)
	return phase >= ownership.Fetching, phase == ownership.Warm
}

func (p partitions) Sessions(i int) (n int, ok bool) {
	sum, ok := p.store.TrySum(i)
	return sum.Live, ok
}

func (p partitions) Memory() (used, limit int64) { return p.store.Memory() }

// nodeCounters is where what nodes alone count is listed: nowhere on a router.
func (n *Node) nodeCounters() *metric.Set {
	if n.cfg.Role != RoleNode {
		return new(metric.Set)
	}
	return n.counts
}

func (n *Node) ownerConfig() owner.Config {
	return owner.Config{
		Self: n.id, Params: n.cfg.ringParams(), Mode: n.cfg.PartitionMode, Expect: n.cfg.expected(), Store: n.store, Copies: n.repairer, Isolated: func() bool { return n.members.IsIsolated() },
		Orphaned: func(p int, holders []ID) bool { return n.census.Orphaned(p, holders) }, Missing: n.missing,
		Clock: n.clock, Log: n.cfg.Log, Events: n.events, Pulse: &n.pulse, Go: func(f func()) { n.group.Go(f) }, Counters: n.nodeCounters(),
	}
}

func (n *Node) absenceConfig() absence.Config {
	return absence.Config{
		Now: n.wall.Now, HostAhead: n.wall.Host, InTouch: n.owner.InTouch,
		Others: func() (ids []ID) {
			for _, m := range n.View().Others(n.id) {
				ids = append(ids, m.ID)
			}
			return ids
		},
		Drop: n.dropOld, Before: n.account(), Log: n.cfg.Log, Events: n.events,
	}
}

// dropOld forgets the sessions that were last written before a time. It serves
// nothing meanwhile, and afterwards what it has claimed anew: a claim finds out
// what others have that is not here.
func (n *Node) dropOld(before time.Time) (dropped int) {
	n.owner.Resign()
	defer n.owner.Resume()
	for p := range ring.Partitions {
		dropped += n.store.DropOld(p, before)
	}
	n.repairer.Recheck()
	return dropped
}

func (n *Node) repairConfig() repair.Config {
	return repair.Config{
		Away: func() bool { return n.absence.Away() },
		Self: n.id, View: n.View, Store: n.store, Replicator: n.replicator,
		Clock: n.clock, Log: n.cfg.Log, Events: n.events, Pulse: &n.pulse, Counters: n.nodeCounters(),
	}
}

// missing lists the nodes that are missing, and may be frozen or cut off.
func (n *Node) missing() (nodes []ownership.Missing) {
	for _, m := range n.census.Missing() {
		if m.Role == RoleNode && !m.Ended {
			nodes = append(nodes, ownership.Missing{ID: ID{Name: m.Name, Boot: m.Boot}, Since: n.clock.Since() - n.clock.Now().Sub(m.Since)})
		}
	}
	return nodes
}

// absentWithin says whether one of them took part within the given time.
func (n *Node) absentWithin(d time.Duration) bool {
	return slices.ContainsFunc(n.missing(), func(m ownership.Missing) bool { return n.clock.Since()-m.Since < d })
}

func (n *Node) dispatchConfig() dispatch.Config {
	cfg := &n.cfg
	return dispatch.Config{
		Self: n.id, View: n.View, Store: n.store, Replicator: n.replicator, Owner: n.owner, Repairer: n.repairer, Mesh: n.mesh, Events: n.pubsub,
		Mode: cfg.PartitionMode, Ack: cfg.Ack, RefuseRevive: cfg.RESPRefuseRevive, Alone: len(cfg.Join) == 0, Absent: n.absentWithin, Disk: n.disk(), Upstream: n.takesOver(),
		Clock: n.clock, Pulse: &n.pulse, Counters: n.counts, NodeCounters: n.nodeCounters(),
	}
}

func (n *Node) drainConfig() drain.Config {
	return drain.Config{
		Self: n.id, Context: n.ctx, Stopped: ErrStopped, State: n.members.State,
		Leave: func() error { return n.members.SetState(StateLeaving) },
		View:  n.View, Store: n.store, Gate: n.owner.Gate(), Recheck: n.repairer.Recheck, Kept: n.repairer.Kept, Unconfirmed: n.repairer.Unconfirmed, MayLeave: n.owner.MayLeave,
		Timeout: n.cfg.DrainTimeout, Log: n.cfg.Log, Events: n.events, Go: func(f func()) { n.group.Go(f) },
	}
}

func (n *Node) clusterConfig() rediscluster.Config {
	return rediscluster.Config{
		Self: n.id, View: n.View, Store: n.store, Replicator: n.replicator, Owner: n.owner, Synced: n.repairer.IsSynced, Dispatcher: n.dispatcher, Mesh: n.mesh, PubSub: n.pubsub,
		MemoryLimit: n.cfg.MemoryLimit, Clock: n.clock, Pulse: &n.pulse, Context: n.ctx,
	}
}

func (n *Node) meshConfig() mesh.Config {
	cfg := &n.cfg
	return mesh.Config{
		Self: peer.Identity{
			Cluster: cfg.Cluster, Name: n.id.Name, Boot: n.id.Boot, Role: string(cfg.Role), Wire: member.Wire, OldestWire: member.WireOldest,
		},
		Params: n.members.Params,
		Dial:   n.dialPeer, Limits: inbound.Limits, Members: n.members, Sections: n.sections,
		Connected: func(id ID) {
			if n.replicator != nil { // a router has none
				n.replicator.Retry(id.String())
			}
		},
		Clock: n.clock, HostAhead: n.wall.Host, Log: n.cfg.Log, Pulse: &n.pulse, Go: func(f func()) { n.group.Go(f) }, Counters: n.counts, NodeCounters: n.nodeCounters(),
	}
}

// dialPeer connects to the peer port of another member.
func (n *Node) dialPeer(ctx context.Context, address string) (net.Conn, error) {
	own := n.cfg.Peer
	if n.cfg.Role == RoleRouter {
		own = n.cfg.Gossip
	}
	return network.DialFrom(ctx, n.cfg.Network, own, address)
}

// sections are what heartbeats consist of. The order matters: a lease must not
// be used before all else that comes with it is known.
func (n *Node) sections(m *mesh.Mesh) []mesh.Section {
	all := []mesh.Section{n.members.StateSection(), m.ClockSection(), m.HostSection(), m.RingSection()}
	if n.cfg.Role == RoleNode {
		all = append(all, n.absence.Section())
	}
	return append(all, n.pubsub.Section(m), n.repairer.RoomSection(), n.census.Section(), n.owner.RosterSection(), n.owner.Section(m), n.owner.DoubtSection())
}

// redisConfig is what the Redis endpoint needs of this node.
func (n *Node) redisConfig() redis.Config {
	cfg := &n.cfg
	return redis.Config{
		Cluster: n.cluster, Buffers: redisBuffers(cfg.MemoryLimit), Password: cfg.RESPPassword, Redirect: cfg.RESPRedirect, AllowFlush: cfg.RESPAllowFlush, MaxValue: cfg.MaxSession,
		Loading: n.members.Loading, MaxClients: cfg.RESPMaxClients, MaxClientsPerAddress: cfg.RESPMaxClientsPerAddress, IdleTimeout: cfg.RESPIdleTimeout, Log: cfg.Log, Counters: n.counts,
	}
}

// adminConfig is what operators are told of this member.
func (n *Node) adminConfig(limits *door.Limits) admin.Config {
	cfg := &n.cfg
	return admin.Config{
		Self: n.id, Role: cfg.Role, Zone: cfg.Zone, Cluster: cfg.Cluster,
		Hosts: slices.Concat(cfg.AdminHosts, []string{cfg.Admin, cfg.Advertise, cfg.Name}), Control: cfg.Control,
		View: n.View, State: n.members.State, Waiting: n.members.Waiting, Unfit: n.members.Unfit, Uptime: n.clock.Since, Links: admin.LinksOf(n.mesh, n.clock.Since), Census: n.census,
		Events: n.events, Counters: n.counts, Limits: limits, Log: cfg.Log, Closing: n.closing, GossipRefused: n.members.Refused,
		HTTPClients: func() int { return n.endpoint.Clients() }, HTTPBodyBytes: func() int64 { return n.endpoint.BodyBytes() },
		AppDown:  func() bool { return n.pin.Down() },
		Sessions: n.Sessions(), Now: n.wall.Now,
		Node: n.adminNode(),
	}
}

// adminNode is what operators are told of a node beyond that; nil for a router.
func (n *Node) adminNode() *admin.Node {
	if n.cfg.Role != RoleNode {
		return nil
	}
	a := &admin.Node{
		Store: n.store, Copies: n.replicator, Gate: n.owner.Gate(), BelowTarget: n.repairer.BelowTarget, CopiesDue: n.repairer.CopiesDue, PeersRefused: n.mesh.Refusals,
		SplitSuspected: n.owner.SplitSuspected, NoMajority: n.owner.NoMajority, Electors: n.owner.Electors, ClockOff: n.keeper.Off, ClockHost: n.keeper.Host,
		Disk: n.diskStats(), Upstream: n.upstreamStats(),
		Drain: admin.Drain{
			Start:    n.drainer.Start,
			Unsynced: func() int { return n.drainer.Status().Unsynced },
			Stop:     func() { go n.Shutdown(context.Background()) }, // which waits for the endpoint's handlers
		},
	}
	if n.redis != nil {
		a.Redis = func() (clients, subscribers int, bufferBytes int64) {
			s := n.redis.Stats()
			return s.Clients, s.Subscribers, s.BufferBytes
		}
	}
	return a
}

// routes say whose application serves a user. address is where others reach
// this member's public endpoint.
func (n *Node) routes(address string) (*app.Routes, error) {
	cfg := &n.cfg
	r := &app.Routes{Self: n.id, Owners: public.Owners{View: n.View, Decide: n.owner.Decide}}
	if cfg.App == "" {
		return r, nil
	}
	c := app.SidecarConfig{
		Self: n.id, At: cfg.App, Health: cfg.AppHealth, API: "http://" + address,
		Dial: cfg.Network.Dial, Tell: n.members.SetAppDown, Log: cfg.Log, Events: n.events,
	}
	if cfg.HTTPUnix != "" {
		c.API = "unix:" + cfg.HTTPUnix
	}
	var err error
	r.Sidecar, err = app.NewSidecar(c)
	return r, err
}

// publicConfig is what the public endpoint needs of this member.
func (n *Node) publicConfig(limits *door.Limits, secrets *public.Secrets, routes *app.Routes) public.Config {
	cfg := &n.cfg
	c := public.Config{
		Self: n.id, Role: cfg.Role, NoAPI: cfg.NoAPI, MaxSession: cfg.MaxSession,
		Owners: routes.Owners, InForce: n.owner.Gate().InForce, TooLate: n.dispatcher.TooLate,
		Do:        n.dispatcher.Do,
		AwaitGone: n.mesh.AwaitGone, Suspect: n.mesh.Suspect, Misled: n.mesh.Beat, // whose answer has the claims
		Finder: &router.Finder{
			UserHeader: cfg.UserHeader, Trust: public.Trusted(cfg.Trust), Proxy: cfg.TrustHeaders,
			Cookie: cfg.Cookie, Secrets: secrets.Cookies(), Secure: cfg.CookieSecure,
		},
		Secrets: secrets, Dial: cfg.Network.Dial, AppRoute: routes.For,
		Hosts: slices.Concat(cfg.HTTPHosts, []string{cfg.HTTP, cfg.Advertise, cfg.Name}), MaxClients: cfg.HTTPMaxClients, MaxPerAddress: cfg.HTTPMaxPerAddress, Limits: limits,
		Now: n.clock.Now, Ahead: n.mesh.ClockOffset,
		Answered: n.operator.Answered, Measured: n.operator.Measured, Log: cfg.Log, Counters: n.counts, Late: n.dispatcher.Late(),
	}
	if routes.Sidecar != nil {
		c.Sidecar = routes.Sidecar
	}
	return c
}

// appConfig is what the application needs of this member.
func (n *Node) appConfig(routes *app.Routes) app.Config {
	return app.Config{
		Self: n.id, View: n.View, Await: n.dispatcher.AwaitOwner,
		Overtaken: n.dispatcher.Overtaken,
		Sessions:  n.Sessions(), Finder: n.endpoint.Finder(), Router: n.endpoint.Router(), Routes: routes,
		Log: n.cfg.Log, Counters: n.counts, Late: n.dispatcher.Late(),
	}
}

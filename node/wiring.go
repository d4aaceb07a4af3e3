package node

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/door/app"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/door/rediscluster"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/inbound"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/membership"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/router"
)

func (n *Node) membersConfig() membership.Config {
	cfg := &n.cfg
	return membership.Config{
		Self: n.id, Params: cfg.ringParams(), Cluster: cfg.Cluster, Address: cfg.Gossip, Advertise: cfg.Advertise, Keys: cfg.GossipKeys, Seeds: cfg.Join,
		Transport:    func(address string) (memberlist.Transport, error) { return cfg.Network.Gossip(address) },
		CannotListen: func(err error) error { return cannotListen("tcp", "Gossip", cfg.Gossip, err) },
		Connected:    func(id ID) bool { l := n.mesh.Link(id); return l != nil && l.Connected() },
		Answers:      func(ctx context.Context, id ID, address string) bool { return n.mesh.Answers(ctx, id, address) },
		Changed:      n.viewChanged,
		Clock:        n.clock, Log: n.log, Events: n.events, Pulse: &n.pulse, Counters: n.counts,
	}
}

// nodeCounters is where what nodes alone count is listed: nowhere on a router.
func (n *Node) nodeCounters() *metric.Set {
	if n.cfg.Role != RoleNode {
		return new(metric.Set)
	}
	return n.counts
}

func (n *Node) ownerConfig() owner.Config {
	return owner.Config{
		Self: n.id, Params: n.cfg.ringParams(), Mode: n.cfg.PartitionMode, Store: n.store, Copies: n.repairer,
		Clock: n.clock, Log: n.log, Events: n.events, Pulse: &n.pulse, Go: func(f func()) { n.group.Go(f) }, Counters: n.nodeCounters(),
	}
}

func (n *Node) repairConfig() repair.Config {
	return repair.Config{
		Self: n.id, View: n.View, Store: n.store, Replicator: n.replicator,
		Clock: n.clock, Log: n.log, Events: n.events, Pulse: &n.pulse, Counters: n.nodeCounters(),
	}
}

func (n *Node) dispatchConfig() dispatch.Config {
	cfg := &n.cfg
	return dispatch.Config{
		Self: n.id, View: n.View, Store: n.store, Replicator: n.replicator, Owner: n.owner, Repairer: n.repairer, Mesh: n.mesh, Events: n.pubsub,
		Ack: cfg.Ack, RefuseRevive: cfg.RESPRefuseRevive, Alone: len(cfg.Join) == 0,
		Clock: n.clock, Pulse: &n.pulse, Counters: n.counts, NodeCounters: n.nodeCounters(),
	}
}

func (n *Node) drainConfig() drain.Config {
	return drain.Config{
		Name: n.id.Name, Context: n.ctx, Stopped: ErrStopped, State: n.members.State,
		Leave: func() error { return n.members.SetState(StateLeaving) },
		View:  n.View, Store: n.store, Gate: n.owner.Gate(), Recheck: n.repairer.Recheck,
		Timeout: n.cfg.DrainTimeout, Log: n.log, Events: n.events, Go: func(f func()) { n.group.Go(f) },
	}
}

func (n *Node) clusterConfig() rediscluster.Config {
	return rediscluster.Config{
		Self: n.id, View: n.View, Store: n.store, Replicator: n.replicator, Owner: n.owner, Dispatcher: n.dispatcher, Mesh: n.mesh, PubSub: n.pubsub,
		Copies: n.cfg.Copies, MemoryLimit: n.cfg.MemoryLimit, Clock: n.clock, Pulse: &n.pulse, Context: n.ctx,
	}
}

func (n *Node) meshConfig() mesh.Config {
	cfg := &n.cfg
	return mesh.Config{
		Self: peer.Identity{
			Cluster: cfg.Cluster, Name: n.id.Name, Boot: n.id.Boot, Role: string(cfg.Role), Wire: member.Wire, OldestWire: member.WireOldest, Params: cfg.ringParams().String(),
		},
		Dial: n.dialPeer, Limits: inbound.Limits, Members: n.members, Sections: n.sections,
		Connected: func(id ID) {
			if n.replicator != nil { // a router has none
				n.replicator.Retry(id.String())
			}
		},
		Clock: n.clock, Log: n.log, Pulse: &n.pulse, Go: func(f func()) { n.group.Go(f) }, Counters: n.counts, NodeCounters: n.nodeCounters(),
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
	return []mesh.Section{
		n.members.StateSection(), m.ClockSection(), m.RingSection(), n.pubsub.Section(m), n.repairer.RoomSection(), n.owner.Section(m),
	}
}

// adminConfig is what operators are told of this member.
func (n *Node) adminConfig() admin.Config {
	cfg := &n.cfg
	return admin.Config{
		Self: n.id, Role: cfg.Role, Zone: cfg.Zone, Cluster: cfg.Cluster, Copies: cfg.Copies,
		Hosts: slices.Concat(cfg.AdminHosts, []string{cfg.Admin, cfg.Advertise, cfg.Name}), Control: cfg.Control,
		View: n.View, State: n.members.State, Uptime: n.since, Links: adminLinks{n},
		Events: n.events, Counters: n.counts, Closing: n.closing,
		HTTPClients: n.httpGate.Open, HTTPBodyBytes: n.bodies.Used, GossipRefused: n.members.Refused,
		AppDown: func() bool { return n.sidecar.Down() }, // which is made later
		Node:    n.adminNode(),
	}
}

// adminNode is what operators are told of a node beyond that; nil for a router.
func (n *Node) adminNode() *admin.Node {
	if n.cfg.Role != RoleNode {
		return nil
	}
	a := &admin.Node{
		Store: n.store, Copies: n.replicator, Gate: n.owner.Gate(), BelowTarget: n.repairer.BelowTarget, PeersRefused: n.mesh.Refusals,
		SplitSuspected: n.owner.SplitSuspected,
		Drain: admin.Drain{
			Start:    n.drainer.Start,
			Unsynced: func() int { return n.drainer.Status().Unsynced },
			Stop:     func() { go n.stop(ErrStopped, true) }, // which waits for the endpoint's handlers
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

// adminLinks are the links as operators see them.
type adminLinks struct{ node *Node }

func (a adminLinks) Link(id ID) (admin.Link, bool) {
	l := a.node.mesh.Link(id)
	if l == nil {
		return admin.Link{}, false
	}
	seen := admin.Link{Connected: l.Connected(), Ring: l.Ring(), ClockOffset: l.ClockOffset(), LastHeard: -1}
	if heard := l.LastHeard(); heard > 0 {
		seen.LastHeard = a.node.since() - heard
	}
	return seen, true
}

func (a adminLinks) Heard() (ids []ID) {
	for _, l := range a.node.mesh.Links() {
		if l.HeardLately() {
			ids = append(ids, l.ID())
		}
	}
	return ids
}

func (a adminLinks) Ask(ctx context.Context, id ID, typ byte, question []byte) ([]byte, error) {
	l := a.node.mesh.Link(id)
	if l == nil {
		return nil, mesh.ErrNoLink
	}
	return l.Call(ctx, typ, question)
}

// makePublic makes the public endpoint and the application behind it, which are
// not open yet. address is where others reach the endpoint.
func (n *Node) makePublic(address string) error {
	cfg := &n.cfg
	n.finder = &router.Finder{
		UserHeader: cfg.UserHeader, Trust: public.Trusted(cfg.Trust), Proxy: cfg.TrustHeaders,
		Cookie: cfg.Cookie, Secrets: n.secrets.Cookies(), Secure: cfg.CookieSecure,
	}
	var err error
	if cfg.App != "" {
		if n.sidecar, err = app.NewSidecar(n.sidecarConfig(address)); err != nil {
			return err
		}
	}
	if n.endpoint, err = public.New(n.publicConfig()); err != nil {
		return err
	}
	n.pin = app.New(n.appConfig())
	return nil
}

// owners say who serves a key.
func (n *Node) owners() public.Owners { return public.Owners{View: n.View, Decide: n.owner.Decide} }

// routes say whose application serves a user.
func (n *Node) routes() *app.Routes {
	return &app.Routes{Self: n.id, Owners: n.owners(), Sidecar: n.sidecar}
}

// publicConfig is what the public endpoint needs of this member.
func (n *Node) publicConfig() public.Config {
	cfg := &n.cfg
	c := public.Config{
		Self: n.id, Role: cfg.Role, NoAPI: cfg.NoAPI, MaxSession: cfg.MaxSession,
		Owners: n.owners(), InForce: n.owner.Gate().InForce, TooLate: n.dispatcher.TooLate,
		Do:        n.dispatcher.Do,
		AwaitGone: n.awaitGone, Suspect: n.suspect,
		Finder: n.finder, Hops: public.NewHops(n.hopsConfig()), Dial: n.tracker.Dial, AppRoute: n.routes().For,
		Guard: n.apiGuard, Gate: n.httpGate, Bodies: n.bodies, Heads: n.heads,
		Now: n.clock.Now, Ahead: n.ahead,
		Answered: n.operator.Answered, Measured: n.operator.Measured, Log: n.log, Counters: n.counts, Late: n.dispatcher.Late(),
	}
	if n.sidecar != nil {
		c.Sidecar = n.sidecar
	}
	return c
}

// appConfig is what the application needs of this member.
func (n *Node) appConfig() app.Config {
	return app.Config{
		Self: n.id, View: n.View, Await: n.dispatcher.AwaitOwner,
		Overtaken: n.dispatcher.Overtaken,
		Sessions:  n.Sessions(), Finder: n.finder, Router: n.endpoint.Router(), Routes: n.routes(),
		Log: n.log, Counters: n.counts, Late: n.dispatcher.Late(),
	}
}

// sidecarConfig is what the sidecar needs of this member, which others reach at
// an address.
func (n *Node) sidecarConfig(address string) app.SidecarConfig {
	cfg := &n.cfg
	c := app.SidecarConfig{
		Self: n.id, At: cfg.App, Health: cfg.AppHealth, API: "http://" + address,
		Dial: cfg.Network.Dial, Tell: n.members.SetAppDown, Log: n.log, Events: n.events,
	}
	if cfg.HTTPUnix != "" {
		c.API = "unix:" + cfg.HTTPUnix
	}
	return c
}

// hopsConfig is what the proofs of what members pass on need.
func (n *Node) hopsConfig() public.HopsConfig {
	return public.HopsConfig{Self: n.id, Secrets: n.secrets, View: n.View, Now: n.clock.Now, Ahead: n.ahead}
}

// ahead is how far a member's clock is ahead of this one's, as far as is known.
func (n *Node) ahead(id ID) time.Duration {
	if l := n.mesh.Link(id); l != nil {
		return l.ClockOffset()
	}
	return 0
}

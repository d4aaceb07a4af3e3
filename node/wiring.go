package node

import (
	"context"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/membership"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/peer"
)

func (n *Node) membersConfig() membership.Config {
	cfg := &n.cfg
	return membership.Config{
		Self: n.id, Params: cfg.ringParams(), Cluster: cfg.Cluster, Address: cfg.Gossip, Advertise: cfg.Advertise, Keys: cfg.GossipKeys, Seeds: cfg.Join,
		Transport:    func(address string) (memberlist.Transport, error) { return cfg.Network.Gossip(address) },
		CannotListen: func(err error) error { return cannotListen("tcp", "gossip", cfg.Gossip, err) },
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

func (n *Node) meshConfig() mesh.Config {
	cfg := &n.cfg
	return mesh.Config{
		Self: peer.Identity{
			Cluster: cfg.Cluster, Name: n.id.Name, Boot: n.id.Boot, Role: string(cfg.Role), Wire: member.Wire, Params: cfg.ringParams().String(),
		},
		Dial: n.dialPeer, Limits: frameLimits, Members: n.members, Handler: inbound{n}, Sections: n.sections,
		Connected: func(id ID) {
			if n.replicator != nil { // a router has none
				n.replicator.Retry(id.String())
			}
		},
		Clock: n.clock, Log: n.log, Pulse: &n.pulse, Go: func(f func()) { n.group.Go(f) }, Counters: n.counts, NodeCounters: n.nodeCounters(),
	}
}

// sections are what heartbeats consist of. The order matters: a lease must not be
// used before all else that comes with it is known.
func (n *Node) sections(m *mesh.Mesh) []mesh.Section {
	return []mesh.Section{
		n.members.StateSection(), m.ClockSection(), m.RingSection(), n.pubsub.section(), n.repairer.RoomSection(), n.owner.Section(m),
	}
}

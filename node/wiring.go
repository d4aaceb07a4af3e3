package node

import (
	"context"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/membership"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
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

func (n *Node) meshConfig() mesh.Config {
	cfg := &n.cfg
	nodes := n.counts
	if cfg.Role != RoleNode {
		nodes = new(metric.Set) // which nobody lists
	}
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
		Clock: n.clock, Log: n.log, Pulse: &n.pulse, Go: func(f func()) { n.group.Go(f) }, Counters: n.counts, NodeCounters: nodes,
	}
}

// sections are what heartbeats consist of. The order matters: a lease must not be
// used before all else that comes with it is known.
func (n *Node) sections(m *mesh.Mesh) []mesh.Section {
	return []mesh.Section{
		n.members.StateSection(), m.ClockSection(), m.RingSection(), n.pubsub.section(), n.roomSection(), n.owner.section(m),
	}
}

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

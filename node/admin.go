package node

import (
	"context"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// adminConfig is what the operator's endpoint needs of this member. Functions
// stand where what they ask is there only once the member is open.
func (n *Node) adminConfig() admin.Config {
	cfg := &n.cfg
	c := admin.Config{
		Self: n.id, Role: cfg.Role, Zone: cfg.Zone, Cluster: cfg.Cluster, Copies: cfg.Copies,
		Hosts:   slices.Concat(cfg.AdminHosts, []string{cfg.Admin, cfg.Advertise, cfg.Name}),
		Control: cfg.Control,

		View:     n.View,
		State:    func() State { return n.members.state() },
		Uptime:   n.since,
		Links:    adminLinks{n},
		Events:   n.events,
		Counters: n.counts,
		Closing:  n.closing,

		HTTPClients:   n.httpGate.Open,
		HTTPBodyBytes: n.bodies.Used,
		GossipRefused: n.gossipRefused,
		AppDown:       func() bool { return n.beside != nil && n.beside.isDown() },
	}
	if cfg.Role != RoleNode {
		return c
	}
	c.Node = &admin.Node{
		Store:          n.store,
		Copies:         n.replicator,
		Gate:           n.owner.gate,
		BelowTarget:    n.keeper.belowTarget,
		SplitSuspected: n.owner.splitSuspected,
		PeersRefused:   n.peersRefused,
		Drain: admin.Drain{
			Start:    n.startDrain,
			Unsynced: func() int { return n.drainStatus().Unsynced },
			Stop:     func() { go n.stop(ErrStopped, true) }, // which waits for the endpoint's handlers
		},
	}
	if n.redis != nil {
		c.Node.Redis = func() (clients, subscribers int, bufferBytes int64) {
			s := n.redis.Stats()
			return s.Clients, s.Subscribers, s.BufferBytes
		}
	}
	return c
}

// adminLinks are a member's links as the operator's endpoint sees them.
type adminLinks struct{ node *Node }

func (a adminLinks) Link(id ID) (admin.Link, bool) {
	l := a.node.linkTo(id)
	if l == nil {
		return admin.Link{}, false
	}
	seen := admin.Link{Connected: l.connected(), Ring: l.ringSeen(), ClockOffset: l.clockOffset(), LastHeard: -1}
	if heard := l.heard.Load(); heard > 0 {
		seen.LastHeard = a.node.since() - time.Duration(heard)
	}
	return seen, true
}

func (a adminLinks) Heard() (ids []ID) {
	for _, l := range a.node.allLinks() {
		if l.heardLately() {
			ids = append(ids, l.id)
		}
	}
	return ids
}

func (a adminLinks) Ask(ctx context.Context, id ID, typ byte, question []byte) ([]byte, error) {
	l := a.node.linkTo(id)
	if l == nil {
		return nil, errNoLink
	}
	return l.Call(ctx, typ, question)
}

func (n *Node) gossipRefused() map[string]int64 {
	if n.gossip == nil {
		return nil
	}
	return n.gossip.refused.byReason()
}

func (n *Node) peersRefused() map[string]int64 {
	counts := make(map[string]int64, len(n.gate.refused))
	for why, count := range n.gate.refused {
		counts[string(why)] = count.Load()
	}
	return counts
}

func (o *owner) splitSuspected() (split bool) {
	o.look(func(core *ownership.Core, _ time.Duration) { split = core.SplitSuspected() })
	return split
}

package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/admin"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	lagInterval = 100 * time.Millisecond
	// lagSlow is the replication lag over which writers are slowed down, and
	// lagRefuse the one over which new sessions are refused: what would be
	// lost with this node must not grow without bound.
	lagSlow   = time.Second
	lagRefuse = 5 * time.Second
	// slowBy is how long each write is held up for each second of lag.
	slowBy = 5 * time.Millisecond
)

// lagGauge is the replication lag as it was at the last look.
type lagGauge struct{ nanos atomic.Int64 }

func (n *Node) watchLag(ctx context.Context) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, age := n.replicator.Lag()
			n.lag.nanos.Store(int64(age))
		}
	}
}

func (n *Node) slow() bool { return n.lag.nanos.Load() > int64(lagSlow) }

// admit slows a write down, or refuses a new session, while the copies of
// others are too far behind. A logout always passes.
func (n *Node) admit(ctx context.Context, w work) error {
	lag := time.Duration(n.lag.nanos.Load())
	if lag <= lagSlow || w.deletes() {
		return nil
	}
	if lag > lagRefuse && w.creates(n.store) {
		n.stats.refusedLagging.Add(1)
		return fmt.Errorf("%s: copies are %v behind, over %v no new sessions are taken: %w", w.name(), lag.Round(time.Millisecond), lagRefuse, session.ErrFull)
	}
	n.stats.slowed.Add(1)
	select {
	case <-time.After(time.Duration(lag.Seconds() * float64(slowBy))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statsAnswer are this member's figures and counters.
func (n *Node) statsAnswer() admin.Stats {
	a := n.figures()
	a.Counters = n.counts.Values()
	return a
}

// figures are the stats without the counters.
func (n *Node) figures() admin.Stats {
	view := n.View()
	a := admin.Stats{
		Name: n.id.Name, Role: string(n.cfg.Role), State: n.members.State().String(), Uptime: n.clock.Since().Seconds(),
		Fingerprint: view.Table.Fingerprint(), HTTPClients: n.httpGate.Open(), HTTPBodyBytes: n.bodies.Used(),
	}
	if n.cfg.Role != RoleNode {
		return a
	}
	s := n.store.Stats()
	a.Sessions, a.Tombstones, a.Bytes = int(s.Sessions), int(s.Tombstones), s.Bytes
	a.TombstoneBytes, a.Compacted, a.MemoryLimit, a.Full = s.Dead, s.Compacted, s.Limit, n.store.Full()
	a.LongestHold = float64(s.LongestHold.Microseconds()) / 1000
	ready, cold := n.owner.gate.Counts()
	a.Partitions = admin.Partitions{Owned: view.Table.Owned(n.id.Name), Warm: ready, Cold: cold}
	a.BelowTarget = n.keeper.belowTarget()
	dirty, age := n.replicator.Lag()
	n.owner.look(func(core *ownership.Core, _ time.Duration) { a.Split = core.SplitSuspected() })
	a.Dirty, a.Lag = dirty, float64(age.Microseconds())/1000
	if n.redis != nil {
		s := n.redis.Stats()
		a.RedisClients, a.RedisSubscribers, a.RedisBufferBytes = int(s.Clients), int(s.Subscribers), s.BufferBytes
	}
	return a
}

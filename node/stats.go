package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

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

// statsAnswer is the shape of /admin/stats.
type statsAnswer struct {
	Name        string  `json:"name"`
	Role        Role    `json:"role"`
	State       string  `json:"state"`
	Uptime      float64 `json:"uptime_s"`
	Fingerprint string  `json:"fingerprint"`
	Sessions    int     `json:"sessions"`
	Tombstones  int     `json:"tombstones"`
	Bytes       int64   `json:"bytes"`
	// TombstoneBytes are those of Bytes that tombstones take, compacted ones too,
	// which Tombstones does not have. MemoryLimit is that of the sessions, 0 for
	// none. Full says that other members are asked to send no more copies.
	TombstoneBytes int64            `json:"tombstone_bytes"`
	Compacted      int              `json:"tombstones_compacted"`
	MemoryLimit    int64            `json:"memory_limit"`
	Full           bool             `json:"full"`
	Partitions     partitionsAnswer `json:"partitions"`
	BelowTarget    int              `json:"below_target"`
	Lag            float64          `json:"lag_ms"`
	Dirty          int              `json:"dirty"`
	Split          bool             `json:"split_suspected"`
	// LongestHold is for how long one partition was held at most, within the
	// last minute or two: everybody else who needed it waited.
	LongestHold float64 `json:"longest_hold_ms"`
	// Connections to the public door, and the bytes of bodies that the session
	// API reads.
	HTTPClients   int   `json:"http_clients"`
	HTTPBodyBytes int64 `json:"http_body_bytes"`
	// Connections to the Redis door, those of them that subscribe, and the bytes
	// of their buffers.
	RedisClients     int              `json:"redis_clients"`
	RedisBufferBytes int64            `json:"redis_buffer_bytes"`
	RedisSubscribers int              `json:"redis_subscribers"`
	Counters         map[string]int64 `json:"counters"`
}

type partitionsAnswer struct {
	Owned int `json:"owned"`
	Warm  int `json:"warm"`
	Cold  int `json:"cold"`
}

func (n *Node) statsAnswer() statsAnswer {
	a := n.figures()
	a.Counters = n.counts.Values()
	return a
}

// figures are the stats without the counters.
func (n *Node) figures() statsAnswer {
	view := n.View()
	a := statsAnswer{
		Name: n.id.Name, Role: n.cfg.Role, State: n.members.state().String(), Uptime: n.clock.Since().Seconds(),
		Fingerprint: view.Table.Fingerprint(), HTTPClients: n.httpGate.Open(), HTTPBodyBytes: n.bodies.Used(),
	}
	if n.cfg.Role != RoleNode {
		return a
	}
	s := n.store.Stats()
	a.Sessions, a.Tombstones, a.Bytes = int(s.Sessions), int(s.Tombstones), s.Bytes
	a.TombstoneBytes, a.Compacted, a.MemoryLimit, a.Full = s.Dead, s.Compacted, s.Limit, n.store.Full()
	a.LongestHold = float64(s.LongestHold.Microseconds()) / 1000
	ready, cold := n.owner.counts()
	a.Partitions = partitionsAnswer{Owned: view.Table.Owned(n.id.Name), Warm: ready, Cold: cold}
	a.BelowTarget = n.keeper.belowTarget()
	dirty, age := n.replicator.Lag()
	a.Split = n.lease.splitSuspected()
	a.Dirty, a.Lag = dirty, float64(age.Microseconds())/1000
	if n.redis != nil {
		s := n.redis.Stats()
		a.RedisClients, a.RedisSubscribers, a.RedisBufferBytes = int(s.Clients), int(s.Subscribers), s.BufferBytes
	}
	return a
}

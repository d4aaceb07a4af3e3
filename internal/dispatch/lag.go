package dispatch

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

// WatchLag looks at the replication lag until ctx ends.
func (d *Dispatcher) WatchLag(ctx context.Context) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, age := d.cfg.Replicator.Lag()
			d.lag.nanos.Store(int64(age))
		}
	}
}

func (d *Dispatcher) slow() bool { return d.lag.nanos.Load() > int64(lagSlow) }

// admit slows a write down, or refuses a new session, while the copies of
// others are too far behind. A logout always passes.
func (d *Dispatcher) admit(ctx context.Context, w work) error {
	lag := time.Duration(d.lag.nanos.Load())
	if lag <= lagSlow || w.deletes() {
		return nil
	}
	if lag > lagRefuse && w.creates(d.cfg.Store) {
		d.count.refusedLagging.Add(1)
		return fmt.Errorf("%s: copies are %v behind, over %v no new sessions are taken: %w", w.name(), lag.Round(time.Millisecond), lagRefuse, session.ErrFull)
	}
	d.count.slowed.Add(1)
	select {
	case <-time.After(time.Duration(lag.Seconds() * float64(slowBy))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

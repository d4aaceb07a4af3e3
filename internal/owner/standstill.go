package owner

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
)

const (
	// gapTick and GapLimit find a process that was stopped or a machine that
	// was frozen: a tick that comes this late drops the lease.
	gapTick  = 100 * time.Millisecond
	GapLimit = 500 * time.Millisecond
	// ResumeTime is for how long after it was resumed such a process may still
	// read what came before. It is more than two members' clocks may differ by.
	ResumeTime = 250 * time.Millisecond
	// settleTicks is how many of these ticks pass from one look at whether the
	// membership has settled to the next.
	settleTicks = 10
)

// standstill is what is known of times when this process was not running, which
// it cannot know otherwise where the machine's clocks stood still with it.
type standstill struct {
	ticked atomic.Int64 // when Watch last ran, nanoseconds since the process's start; 0 before
	// resumedAt is when Watch last found that this process had stood still,
	// unix ns; 0 for never.
	resumedAt atomic.Int64
}

// StoodStill says whether this process was not running for a while after sent,
// or shortly before: what it reads in its first moments may have waited for it.
func (o *Owner) StoodStill(sent time.Time) bool {
	if t := o.still.ticked.Load(); t != 0 && o.cfg.Clock.Since()-time.Duration(t) > GapLimit {
		return true // Watch has not run yet
	}
	resumedAt := o.still.resumedAt.Load()
	return resumedAt != 0 && sent.Add(-ResumeTime).UnixNano() < resumedAt
}

// Watch looks at the clocks until ctx ends. It also is the tick of the core.
func (o *Owner) Watch(ctx context.Context) {
	tick := time.NewTicker(gapTick)
	defer tick.Stop()
	defer o.still.ticked.Store(0)
	last := time.Now()
	for ticks := 0; ; ticks++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		o.OnTick(max(now.Sub(last), now.Round(0).Sub(last.Round(0)))) // monotonic, and wall
		last = now
		if ticks%settleTicks == 0 {
			o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.Tick(now) })
			missing := o.cfg.Missing()
			o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
				core.SetMissing(now, missing)
				return core.ClaimAnew(now)
			})
		}
	}
}

// OnTick is told that this process runs, and for how long before it is not
// known to have.
func (o *Owner) OnTick(gap time.Duration) {
	if gap >= GapLimit {
		o.still.resumedAt.Store(o.cfg.Clock.Now().UnixNano())
	}
	o.still.ticked.Store(max(1, int64(o.cfg.Clock.Since())))
	if gap < GapLimit {
		o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.Lapse(now) })
		return
	}
	// The lease first: until then this process serves by one that has ended.
	o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.Resumed(now) })
	o.mesh.Resumed()
	o.gaps.Add(1)
	o.cfg.Log.Warn("this process stood still; asking before serving", "for", gap.Round(time.Millisecond))
	o.cfg.Events.Add("stood-still", "ms", gap.Milliseconds())
}

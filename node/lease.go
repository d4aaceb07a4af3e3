package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// askTimeout is how long an owner without a lease asks the others before
	// it takes them for unreachable, and askTrips how many round trips longer: a
	// connection that stood still for long is made anew, which takes three, and
	// then it is asked.
	askTimeout = 300 * time.Millisecond
	askTrips   = 5
	// gapTick and gapLimit find a process that was stopped or a machine that
	// was frozen: a tick that comes this late drops the lease.
	gapTick  = 100 * time.Millisecond
	gapLimit = 500 * time.Millisecond
	// wakeTime is for how long after it was resumed such a process may still
	// read what came before. It is more than two members' clocks may differ by.
	wakeTime = 250 * time.Millisecond
	// settleTicks is how many of these ticks pass from one look at whether the
	// membership has settled to the next.
	settleTicks = 10
)

// PartitionMode says what an owner does that cannot reach the others.
type PartitionMode = ownership.Mode

const (
	// PartitionAvailable serves on, and marks its answers as degraded. When
	// the network heals, both sides' writes are merged.
	PartitionAvailable = ownership.Available
	// PartitionMajority refuses unless it reaches a majority of the nodes that
	// the cluster last had, so at most one side serves.
	PartitionMajority = ownership.Majority
)

// errNoMajority is why an owner refuses in PartitionMajority.
var errNoMajority = fmt.Errorf("%w: the majority of the cluster cannot be reached", session.ErrUnavailable)

// patience is how long the others have to answer an owner without a lease.
func (o *owner) patience() time.Duration {
	longest := time.Duration(0)
	for _, l := range o.node.mesh.Links() {
		longest = max(longest, l.RoundTrip())
	}
	return min(askTimeout+askTrips*longest, mesh.SilentLimit)
}

// ask renews the lease by asking the others now. If too few answer, the partition
// mode decides: serve and say so, or refuse.
func (o *owner) ask(ctx context.Context) (degraded bool, err error) {
	n := o.node
	should := false
	o.look(func(core *ownership.Core, now time.Duration) { should = core.ShouldAsk(now) })
	if should {
		if err := o.awaitLease(ctx); err != nil {
			return false, err
		}
		if !o.leased() {
			o.step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.AskFailed(now) })
		}
	}
	switch {
	case o.leased():
		return false, nil
	case n.cfg.PartitionMode == PartitionMajority:
		return false, errNoMajority
	default:
		return true, nil
	}
}

// awaitLease asks all others and waits for a lease, or until they have had the
// time to answer.
func (o *owner) awaitLease(ctx context.Context) error {
	n := o.node
	for _, l := range n.mesh.Links() {
		l.Beat()
	}
	deadline := n.since() + o.patience()
	return n.pulse.Until(ctx, recheck, func() bool { return o.leased() || n.since() >= deadline })
}

// standstill finds out when this process was not running for a while, which it
// cannot know otherwise where the machine's clocks stood still with it.
type standstill struct {
	node   *Node
	ticked atomic.Int64 // when watch last ran, nanoseconds since the node's start; 0 before
	// resumedAt is when watch last found that this process had stood still, unix
	// ns; 0 for never.
	resumedAt atomic.Int64
}

// since says whether this process was not running for a while after sent, or
// shortly before: what it reads in its first moments may have waited for it.
func (s *standstill) since(sent time.Time) bool {
	if t := s.ticked.Load(); t != 0 && s.node.since()-time.Duration(t) > gapLimit {
		return true // watch has not run yet
	}
	resumedAt := s.resumedAt.Load()
	return resumedAt != 0 && sent.Add(-wakeTime).UnixNano() < resumedAt
}

// watch looks at the clocks all the time. It also is the tick of ownership.
func (s *standstill) watch(ctx context.Context) {
	tick := time.NewTicker(gapTick)
	defer tick.Stop()
	defer s.ticked.Store(0)
	last := time.Now()
	for ticks := 0; ; ticks++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		s.onTick(max(now.Sub(last), now.Round(0).Sub(last.Round(0)))) // monotonic, and wall
		last = now
		if ticks%settleTicks == 0 {
			s.node.owner.step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.Tick(now) })
		}
	}
}

// onTick is told that this process runs, and for how long before it is not known
// to have.
func (s *standstill) onTick(gap time.Duration) {
	n := s.node
	if gap >= gapLimit {
		s.resumedAt.Store(n.cfg.Now().UnixNano())
	}
	s.ticked.Store(max(1, int64(n.since())))
	if gap < gapLimit {
		return
	}
	n.mesh.Resumed()
	n.owner.step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.Resumed(now) })
	n.stats.gaps.Add(1)
	n.log.Warn("this process stood still; asking before serving", "for", gap.Round(time.Millisecond))
	n.events.Add("stood-still", "ms", gap.Milliseconds())
}

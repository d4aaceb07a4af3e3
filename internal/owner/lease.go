package owner

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// AskTimeout is how long an owner without a lease asks the others before it
	// takes them for unreachable, and askTrips how many round trips longer: a
	// connection that stood still for long is made anew, which takes three, and
	// then it is asked.
	AskTimeout = 300 * time.Millisecond
	askTrips   = 5
	// recheck is how often an owner that waits for its lease looks all
	// the same.
	recheck = 20 * time.Millisecond
)

// ErrNoMajority is why an owner refuses in mode ownership.Majority.
var ErrNoMajority = fmt.Errorf("%w: the majority of the cluster cannot be reached", session.ErrUnavailable)

// errIsolated is why a node refuses that is off the ring because of its links.
var errIsolated = fmt.Errorf("%w: the links of this node with the others do not work", session.ErrUnavailable)

// Ask renews the lease by asking the others now. If too few answer, the
// partition mode decides: serve and say so, or refuse with ErrNoMajority.
func (o *Owner) Ask(ctx context.Context) (degraded bool, err error) {
	should := false
	o.Look(func(core *ownership.Core, now time.Duration) { should = core.ShouldAsk(now) })
	if should {
		if err := o.awaitLease(ctx); err != nil {
			return false, err
		}
		if !o.Leased() {
			o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.AskFailed(now) })
		}
	}
	switch {
	case o.Leased():
		return false, nil
	case o.cfg.Mode == ownership.Majority:
		return false, ErrNoMajority
	case o.cfg.Isolated():
		return false, errIsolated
	default:
		return true, nil
	}
}

// awaitLease asks all others and waits for a lease, or until they have had the
// time to answer.
func (o *Owner) awaitLease(ctx context.Context) error {
	for _, l := range o.mesh.Links() {
		l.Beat()
	}
	wctx, cancel := context.WithTimeout(ctx, o.patience())
	defer cancel()
	_ = o.cfg.Pulse.Until(wctx, recheck, o.Leased) // in time, or not: the lease is looked at
	return ctx.Err()
}

// patience is how long the others have to answer an owner without a lease.
func (o *Owner) patience() time.Duration {
	longest := time.Duration(0)
	for _, l := range o.mesh.Links() {
		longest = max(longest, l.RoundTrip())
	}
	return min(AskTimeout+askTrips*longest, mesh.SilentLimit)
}

package owner

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Copies is what an Owner tells about the copies of what it serves.
type Copies interface {
	// Claimed says that a partition is served here from now on, and which
	// boots' copies of it were found equal. It is called under the
	// Owner's lock.
	Claimed(p int, equal []string)
	// Fetch completes partitions that were claimed by an epoch and of which
	// others have more. It returns when that is done, or ctx ends.
	Fetch(ctx context.Context, epoch uint64, parts []int)
	// Recheck says that the copies should be looked at.
	Recheck()
}

// Config is what an Owner needs. All of it is required, but Store, Copies and
// Orphaned on a router, which owns nothing.
type Config struct {
	Self   member.ID
	Params ring.Params
	Mode   ownership.Mode
	// Expect is how many nodes found a cluster in mode Majority: see
	// ownership.Config.
	Expect int
	Store  *session.Store
	Copies Copies
	// Isolated says whether this node is off the ring because its links do not
	// work; then it serves nothing without a lease.
	Isolated func() bool
	// Orphaned is told of a partition that is served here from now on though
	// none of the holders of its copies has answered, and says whether there
	// were sessions in it. It is called under the Owner's lock.
	Orphaned func(p int, holders []member.ID) (some bool)
	// Missing lists the nodes that take no part and may be alive, as the members
	// tell each other.
	Missing func() []ownership.Missing

	Clock  clock.Clock
	Log    *slog.Logger
	Events *events.Log
	Pulse  *wait.Pulse
	// Go runs f in a goroutine that whoever made the owner waits for.
	Go       func(f func())
	Counters *metric.Set
}

// Owner drives the core. What it decides for readers is at the gate.
type Owner struct {
	cfg   Config
	gate  *ownership.Gate
	mesh  *mesh.Mesh // set by Section
	wake  wait.Wake  // something has changed that may allow a claim
	later wait.Wake  // a claim was refused, and nothing known here says when it will not be

	still standstill

	unleased, gaps, succeeded, busyClaims, farEpochs *metric.Counter

	// mu guards core. Every heartbeat takes it, and operations now and then, so
	// its holder waits for nobody: it calls no method of session.Store but
	// Admit and Shut, which take no lock, and does no I/O. Of other locks it
	// may take those of Copies and of Orphaned. A partition's lock in the store
	// is only ever taken by itself.
	mu   sync.Mutex
	core *ownership.Core
	due  due
}

// New returns an Owner that serves nothing. It needs a mesh before it is used:
// see Section.
func New(cfg Config) (*Owner, error) {
	empty, err := member.NewView(cfg.Self, nil, cfg.Params, nil)
	if err != nil {
		return nil, err
	}
	core := ownership.New(ownership.Config{Self: cfg.Self, Mode: cfg.Mode, Expect: cfg.Expect}, empty)
	return &Owner{
		cfg: cfg, core: core, gate: core.Gate(), wake: wait.NewWake(), later: wait.NewWake(),
		unleased:   cfg.Counters.Counter("unleased", "Times that nobody answered an owner who asked for its lease."),
		gaps:       cfg.Counters.Counter("stood_still", "Times that this process stood still."),
		succeeded:  cfg.Counters.Counter("succeeded", "Partitions that others had claimed while this node was out of touch."),
		busyClaims: cfg.Counters.Counter("claims_busy", "Partitions that could not be given up at once to whoever claimed them, because an operation held them."),
		farEpochs:  cfg.Counters.Counter("claims_far", "Epochs of claims that were too far above all known ones to count."),
	}, nil
}

// Gate is where readers see who serves what.
func (o *Owner) Gate() *ownership.Gate { return o.gate }

// Decide says who serves partition p at this moment.
func (o *Owner) Decide(p int) ownership.Decision { return o.gate.Decide(p, o.cfg.Clock.Since()) }

// Verified says whether a read of partition p may be answered at this moment by
// what is here. What is elsewhere needs no clock.
func (o *Owner) Verified(p int) bool {
	return o.gate.Phase(p) == ownership.Warm && o.gate.Verified(p, o.cfg.Clock.Since())
}

// Leased says whether this node may serve at this moment without asking.
func (o *Owner) Leased() bool { return o.gate.Leased(o.cfg.Clock.Since()) }

// Kept says whether what was written here by the claim of an epoch is known to
// whoever serves partition p now: see ownership.Gate.
func (o *Owner) Kept(p int, epoch uint64) bool { return o.gate.Kept(p, epoch, o.cfg.Clock.Since()) }

// Confirms says whether copies of what was written here are known to whoever
// serves partition p now: see ownership.Gate.
func (o *Owner) Confirms(p int) bool { return o.gate.Confirms(p, o.cfg.Clock.Since()) }

// NoMajority says that this node refuses at this moment because it does not
// reach a majority.
func (o *Owner) NoMajority() bool { return o.cfg.Mode == ownership.Majority && !o.Leased() }

// IsLost says that this node sees no other in mode Majority, and that one may
// be alive: that nobody is there who should have a copy is no reason to do
// without.
func (o *Owner) IsLost() bool { return o.cfg.Mode == ownership.Majority && o.gate.Alone() }

// Step lets something happen to the core and does what comes of it.
func (o *Owner) Step(f func(core *ownership.Core, now time.Duration) ownership.Todo) ownership.Todo {
	o.mu.Lock()
	todo := f(o.core, o.cfg.Clock.Since())
	for _, p := range todo.Close {
		o.cfg.Store.Shut(p)
	}
	for i, opened := range todo.Open {
		equal := make([]string, len(opened.Equal))
		for i, id := range opened.Equal {
			equal[i] = id.String()
		}
		o.cfg.Copies.Claimed(opened.Partition, equal)
		if len(opened.Absent) > 0 && !o.cfg.Orphaned(opened.Partition, opened.Absent) {
			todo.Open[i].Absent = nil // nothing is lost with them
		}
		o.cfg.Store.Admit(opened.Partition)
		if opened.Fetch {
			o.due.fetch = append(o.due.fetch, opened.Partition)
		}
	}
	if todo.Propose != nil {
		o.due.proposal = todo.Propose
	}
	o.mu.Unlock()
	o.follow(todo)
	return todo
}

// Look asks the core something that changes nothing that is served.
func (o *Owner) Look(f func(core *ownership.Core, now time.Duration)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o.core, o.cfg.Clock.Since())
}

// follow does what of a Todo can wait.
func (o *Owner) follow(todo ownership.Todo) {
	for _, id := range todo.Beat {
		o.mesh.Beat(id)
	}
	if todo.FarEpoch {
		o.farEpochs.Add(1)
	}
	if todo.Unleased {
		o.unleased.Add(1)
	}
	if todo.Succeeded > 0 {
		o.succeeded.Add(int64(todo.Succeeded))
		o.cfg.Copies.Recheck()
	}
	if todo.Round || todo.Propose != nil || len(todo.Open) > 0 {
		o.Recheck()
	}
	if todo.Later {
		o.later.Kick()
	}
}

// Resign gives up all that this node serves, until Resume: see ownership.Core.
// When it returns no operation begins here any more, and those that have begun
// in a partition are covered by whatever is read of it next.
func (o *Owner) Resign() {
	o.Step(func(core *ownership.Core, _ time.Duration) ownership.Todo { return core.Resign() })
}

// Resume takes Resign back.
func (o *Owner) Resume() {
	o.Step(func(core *ownership.Core, _ time.Duration) ownership.Todo { return core.Resume() })
}

// InTouch says whether this node and those that have answered it lately are at
// least half of the cluster.
func (o *Owner) InTouch() (in bool) {
	o.Look(func(core *ownership.Core, now time.Duration) { in = core.InTouch(now) })
	return in
}

// Recheck looks soon whether there is something to claim.
func (o *Owner) Recheck() { o.wake.Kick() }

// SetView takes in a new view. Recheck is called after it, when the links are
// as the view wants them.
func (o *Owner) SetView(view *member.View) {
	o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		todo := core.SetView(now, view)
		todo.Round = false
		return todo
	})
}

// Stands says whether all nodes have seen the same ring for a while.
func (o *Owner) Stands() (stands bool) {
	o.Look(func(core *ownership.Core, _ time.Duration) { stands = core.Stands() })
	return stands
}

// SplitSuspected says whether fewer than half of the cluster's nodes are in the
// view.
func (o *Owner) SplitSuspected() (split bool) {
	o.Look(func(core *ownership.Core, _ time.Duration) { split = core.SplitSuspected() })
	return split
}

// A claim that was refused is repeated soon at first: after a crash the members
// find out within a millisecond of each other.
const (
	claimRetryMin = time.Millisecond
	claimRetryMax = 50 * time.Millisecond
)

// Run starts a round of claims whenever something has changed that may allow
// one: the view, a peer's ring, a refusal that is a while ago.
//
// A claim that is refused wakes those who were asked, as it may have kept them
// from something. Two claimants that all others refuse would wake each other for
// as long as that lasts, so a round that follows a claim waits a moment.
func (o *Owner) Run(ctx context.Context) {
	pause, next := claimRetryMin, claimRetryMin // after this claim, and after the next one
	var last time.Time                          // when something was claimed
	var again, soon <-chan time.Time
	for {
		complete, claimed := o.startRound(ctx)
		soon = nil
		if claimed {
			last, pause, next = time.Now(), next, min(2*next, claimRetryMax)
		}
		if complete {
			pause, next, again = claimRetryMin, claimRetryMin, nil
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-o.wake:
				if wait := max(claimRetryMin, pause/4) - time.Since(last); wait <= 0 {
					waiting = false
				} else if soon == nil {
					soon = time.After(wait)
				}
			case <-soon:
				waiting = false
			case <-again:
				again, waiting = nil, false
			case <-o.later:
				if again == nil {
					again = time.After(pause + rand.N(pause))
				}
			}
		}
	}
}

// startRound does what is due, and claims what may be claimed now. It reports
// whether all that the ring gives to this node is served here, and whether
// something was claimed.
func (o *Owner) startRound(ctx context.Context) (complete, claimed bool) {
	o.doDue(ctx)
	todo := o.Step(func(core *ownership.Core, now time.Duration) (todo ownership.Todo) {
		todo, complete = core.Round(now)
		return todo
	})
	if todo.Claim != nil {
		o.cfg.Go(func() { o.claim(ctx, todo.Claim) })
	}
	return complete, todo.Claim != nil
}

// DropIf forgets the copy of a partition that this node does not serve, if
// nothing has changed in it since its digest was taken.
func (o *Owner) DropIf(p int, digest uint64) (dropped bool) {
	may := false
	o.Look(func(core *ownership.Core, now time.Duration) { may = core.BeginDrop(now, p) })
	if !may {
		return false
	}
	dropped = o.cfg.Store.DropIf(p, digest)
	o.Look(func(core *ownership.Core, now time.Duration) { core.EndDrop(now, p, dropped) })
	return dropped
}

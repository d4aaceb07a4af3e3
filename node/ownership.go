package node

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// phase is how far this node is with owning a partition.
type phase uint32

const (
	// away: another member serves the partition, or nobody yet.
	away phase = iota
	// claiming: this node has asked all others for it; answers are outstanding.
	claiming
	// fetching: it is this node's, but some holder has copies that differ.
	// Each key is fetched from the holders before it is served.
	fetching
	// warm: it is this node's, and so is all that is known of it.
	warm
)

func (p phase) String() string { return [...]string{"away", "claiming", "fetching", "warm"}[p] }

// cold says that the partition is to be served here and is not complete.
func (p phase) cold() bool { return p == claiming || p == fetching }

// A claim that was refused is repeated soon at first: after a crash the members
// find out within a millisecond of each other.
const (
	claimRetryMin = time.Millisecond
	claimRetryMax = 50 * time.Millisecond
)

// partition is what this member knows of who serves one partition.
type partition struct {
	phase phase
	// holder is the newest claim known to be in force: its maker serves.
	holder claimRef
	// promised is the newest claim that this member has agreed to. Its maker
	// serves as soon as everybody else has agreed; older ones are refused.
	promised   claimRef
	promisedAt time.Duration // since the node's start
	// dropped says that a copy was handed over and forgotten here, and
	// droppedAt when the last one was.
	dropped   bool
	droppedAt time.Duration
	// dropping says that this is happening now: until it is over, this member
	// does not claim the partition, and does not say what it has of it.
	dropping bool
	// sources are the holders whose copies differed when the claim was
	// answered; fetched are the keys that have been merged from all of them.
	sources []*link
	fetched map[string]struct{}
	// unreached says that it is blind because no source could be reached.
	unreached bool
}

// leftAt is when the last copy was handed over, since the node's start; long
// before that if none was.
func (p *partition) leftAt() time.Duration {
	if !p.dropped {
		return -neverLeft
	}
	return p.droppedAt
}

// ownership decides, in this one place, whether this member may serve a
// partition. A partition is served from the moment its claim has been answered
// by every live member until the moment a claim with a higher epoch is
// accepted here. The ring says who should claim; it never by itself starts or
// stops anybody.
type ownership struct {
	node   *Node
	wake   chan struct{}                  // one slot: something has changed
	later  chan struct{}                  // one slot: a claim was refused
	phases [ring.Partitions]atomic.Uint32 // copies of partition.phase for readers without the lock

	claimsHash atomic.Uint64 // XOR of the holders' hashes, written under mu
	// blind marks partitions that are served although every member that had a
	// copy is out of reach and may be alive: see serveBlind.
	blind [ring.Partitions]atomic.Bool

	// mu guards what follows. Every request and every heartbeat takes it, so
	// whoever holds it waits for nobody: it calls no method of session.Store
	// but Admit and Shut, which take no lock, and does no I/O. Of other locks
	// it may take, in this order, the node's linksMu, a link's, and those of
	// membership, keeper, rings and events, whose holders take none of each
	// other's. A partition's lock in the store is only ever taken by itself.
	mu         sync.Mutex
	parts      [ring.Partitions]partition
	maxEpoch   uint64
	promisedAt time.Duration // the newest of the partitions'
}

func newOwnership(n *Node) *ownership {
	return &ownership{node: n, wake: make(chan struct{}, 1), later: make(chan struct{}, 1)}
}

// verdict is what to do with a request for a partition.
type verdict struct {
	phase phase  // warm or fetching: serve it here
	to    *link  // otherwise: forward it there
	owner string // the member that to leads to; this member's name where it serves
	epoch uint64 // of the claim by which that member is the owner, 0 if the ring says so
}

// route decides where a request for partition p is served now. Neither here
// nor anywhere (to is nil) means: wait for the next change and ask again.
func (o *ownership) route(p int) verdict {
	o.mu.Lock()
	part := &o.parts[p]
	ph, promised, holder := part.phase, part.promised, part.holder
	if o.node.since()-part.promisedAt >= promiseTime {
		promised = holder // whatever became of that claim, it is told of by now
	}
	o.mu.Unlock()
	self := o.node.id
	if ph == warm || ph == fetching {
		return verdict{phase: ph, owner: self.Name, epoch: holder.epoch}
	}
	view := o.node.View()
	for _, c := range []claimRef{promised, holder} {
		if m := view.Member(c.by); m != nil && m.Up && c.by != self {
			return verdict{to: o.node.linkTo(c.by), owner: c.by.Name, epoch: c.epoch}
		}
	}
	owner := view.Table.Owner(p)
	if owner == "" || owner == self.Name {
		return verdict{owner: owner}
	}
	return verdict{to: o.node.linkTo(view.Named(owner).ID), owner: owner}
}

// epochIs says whether this node's claim of p has the given epoch; 0 is any.
func (o *ownership) epochIs(p int, epoch uint64) bool {
	if epoch == 0 {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.parts[p].holder.epoch == epoch
}

// phaseOf is the phase of p without the lock.
func (o *ownership) phaseOf(p int) phase { return phase(o.phases[p].Load()) }

func (o *ownership) setPhaseLocked(p int, ph phase) {
	o.parts[p].phase = ph
	o.phases[p].Store(uint32(ph))
	if ph == away || o.parts[p].unreached {
		o.blind[p].Store(false)
	}
	o.parts[p].unreached = false
	if ph == warm || ph == away {
		o.parts[p].sources, o.parts[p].fetched = nil, nil
	}
}

func (o *ownership) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// tryLater asks for another round after a pause: a claim was refused, and
// nothing that is known here says when it will not be.
func (o *ownership) tryLater() {
	select {
	case o.later <- struct{}{}:
	default:
	}
}

// run starts a round of claims whenever something has changed that may allow
// one: the view, a peer's ring, a refusal that is a while ago.
func (o *ownership) run(ctx context.Context) {
	pause := claimRetryMin
	var again <-chan time.Time
	for {
		if complete := o.startRound(ctx); complete {
			pause, again = claimRetryMin, nil
		} else {
			o.tryLater()
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-o.wake:
				waiting = false
			case <-again:
				again, waiting = nil, false
			case <-o.later:
				if again == nil {
					again = time.After(pause + rand.N(pause))
					pause = min(2*pause, claimRetryMax)
				}
			}
		}
	}
}

// startRound claims every partition that the ring gives to this node and that
// it may claim now. It reports whether all that the ring gives are served here,
// so that the pause between rounds starts anew only after a success.
func (o *ownership) startRound(ctx context.Context) (complete bool) {
	if o.node.cfg.Role != RoleNode {
		return true
	}
	view, links := o.node.View(), o.node.liveLinks()
	self := o.node.id
	complete = true
	o.mu.Lock()
	var parts []int
	for p := range o.parts {
		ph := o.parts[p].phase
		if ph == warm || ph == fetching || view.Table.Owner(p) != self.Name {
			continue
		}
		complete = false
		if ph == away && !o.parts[p].dropping && o.mayClaimLocked(p, view, links) {
			parts = append(parts, p)
		}
	}
	var epoch uint64
	if len(parts) > 0 {
		o.maxEpoch++
		epoch = o.maxEpoch
		for _, p := range parts {
			o.setPhaseLocked(p, claiming)
			o.promiseLocked(p, claimRef{epoch, self}) // older claims come too late
		}
	}
	o.mu.Unlock()
	if len(parts) > 0 {
		o.node.group.Go(func() { o.claim(ctx, view, links, epoch, parts) })
	}
	return complete
}

func (o *ownership) promiseLocked(p int, c claimRef) {
	o.promisedAt = o.node.since()
	o.parts[p].promised, o.parts[p].promisedAt = c, o.promisedAt
}

// succeeding returns who is about to succeed holder somewhere with this
// member's consent. Until it is known whether that came about, this member must
// not give holder a lease: it would not learn from the answer that it has been
// succeeded. A promise lapses when its claim must have been settled.
func (o *ownership) succeeding(holder ID) (claimants []ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.node.since()
	if now-o.promisedAt >= promiseTime || planted.Is(planted.LeaseDespite) {
		return nil // the usual case: all have lapsed
	}
	for p := range o.parts {
		part := &o.parts[p]
		open := part.holder.by == holder && part.promised.by != holder && part.promised.newer(part.holder)
		if open && now-part.promisedAt < promiseTime && !slices.Contains(claimants, part.promised.by) {
			claimants = append(claimants, part.promised.by)
		}
	}
	return claimants
}

// mayClaimLocked says whether this node may ask for p over links.
func (o *ownership) mayClaimLocked(p int, view *View, links []*link) bool {
	part := &o.parts[p]
	asked := func(l *link) bool { return l.id == part.promised.by }
	if o.pendingLocked(part, o.node.id) && !slices.ContainsFunc(links, asked) {
		return false
	}
	holder := part.holder.by
	if holder == (ID{}) || holder == o.node.id || o.node.View().HasEnded(holder) || planted.Is(planted.AliveIgnored) {
		return true
	}
	if o.node.vouches(holder) {
		l := o.node.linkTo(holder)
		// A member that serves and is alive gives a partition up only to
		// someone who sees the same ring: two views that differ would pull
		// it to and fro.
		return l != nil && l.ringSeen() == view.Table.Fingerprint()
	}
	// Silent: its lease has ended if it cannot reach us, and gossip must
	// agree that it is lost.
	m := view.Member(holder)
	return m == nil || !m.Up
}

// counts returns how many partitions are warm here, and how many are to be
// served here and are not complete.
func (o *ownership) counts() (ready, cold int) {
	view := o.node.View()
	for p := range o.phases {
		switch ph := o.phaseOf(p); {
		case ph == warm:
			ready++
		case ph.cold() || view.Table.Owner(p) == o.node.id.Name:
			cold++
		}
	}
	return ready, cold
}

const (
	// busyLimit is how long a claim waits for operations that hold partitions
	// which it is about; those of them that go on longer are claimed by
	// themselves later. An operation holds a partition for some milliseconds.
	busyLimit = 100 * time.Millisecond
	busyPoll  = time.Millisecond
)

// partSum is the sum of a partition, known unless an operation held it.
type partSum struct {
	session.Sum
	known bool
}

// sums returns the sums of partitions, and waits as long as that for those
// that an operation holds.
func (n *Node) sums(parts []int, limit time.Duration) []partSum {
	sums := make([]partSum, len(parts))
	for deadline := n.since() + limit; ; time.Sleep(busyPoll) {
		busy := false
		for i, p := range parts {
			if !sums[i].known {
				sums[i].Sum, sums[i].known = n.store.TrySum(p)
				busy = busy || !sums[i].known
			}
		}
		if !busy || n.since() >= deadline {
			return sums
		}
	}
}

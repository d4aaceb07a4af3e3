package ownership

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// Phase is how far a member is with owning a partition.
type Phase uint32

const (
	// Away: another member serves the partition, or nobody yet.
	Away Phase = iota
	// Claiming: this member has asked all voters for it; answers are
	// outstanding.
	Claiming
	// Fetching: it is this member's, but some holder has a copy that differs.
	// Each key is fetched from the holders before it is served.
	Fetching
	// Warm: it is this member's, and so is all that is known of it.
	Warm
)

func (p Phase) String() string { return [...]string{"away", "claiming", "fetching", "warm"}[p] }

// Verdict is what to do with a request for a partition.
type Verdict byte

const (
	// Wait: nobody serves it at this moment, as far as is known here. Look
	// again when the view or a claim has changed.
	Wait Verdict = iota
	// Forward: Decision.Owner serves it.
	Forward
	// FetchFirst: serve it here, after what it reads was fetched.
	FetchFirst
	// Serve it here.
	Serve
)

func (v Verdict) String() string { return [...]string{"wait", "forward", "fetch first", "serve"}[v] }

// Decision is a verdict, and what belongs to it.
type Decision struct {
	Verdict Verdict
	// Leased says that this member may answer at this moment without asking the
	// others first. It is to be looked at again before the answer is given.
	Leased bool
	// Unverified says of what is served here that all who had a copy are out of
	// reach, and one of them may be alive: that a key is not here does not say
	// that there is none.
	Unverified bool
	// Owner serves it, or should by the ring. It has a name and no boot where
	// nobody is there to ask yet: the ring names this member, which does
	// not serve it, or one that is gone. It is the zero ID where the ring
	// names nobody.
	Owner member.ID
	// Epoch is that of the claim by which Owner serves it, 0 where the ring
	// alone says so.
	Epoch uint64
}

// Here says whether this member serves the partition.
func (d Decision) Here() bool { return d.Verdict >= FetchFirst }

// Verified says whether a read may be answered here at this moment by what is
// here, a miss too.
func (d Decision) Verified() bool { return d.Verdict == Serve && d.Leased && !d.Unverified }

// Gate is what readers see of a [Core]: the one place where it is decided, for
// every endpoint and every kind of work, who serves a partition. It takes no
// lock. The Core alone writes it.
type Gate struct {
	self member.ID
	view atomic.Pointer[member.View]
	// lease is until when this member may serve without asking, in nanoseconds.
	lease atomic.Int64
	// alone says that this member sees no other node, and that one may
	// be alive.
	alone  atomic.Bool
	claims atomic.Uint64 // hash of the claims in force
	parts  []atomic.Pointer[standing]
}

// standing is an immutable picture of a partition.
type standing struct {
	phase            Phase
	unverified       bool
	holder, promised Claim
	promisedAt       time.Duration
	own, kept, lost  uint64
}

func newGate(self member.ID, partitions int) *Gate {
	g := &Gate{self: self, parts: make([]atomic.Pointer[standing], partitions)}
	for p := range g.parts {
		g.parts[p].Store(&standing{})
	}
	return g
}

// Decide says who serves partition p at the given time: this member, if it
// does; or else the claimant that it has promised the partition to, while that
// promise may still come true; or else the holder of the newest claim that is
// known to be in force; or else the one that the ring names. One that does not
// take part is passed over.
func (g *Gate) Decide(p int, now time.Duration) Decision {
	s := g.parts[p].Load()
	if s.phase >= Fetching {
		d := Decision{Verdict: Serve, Leased: g.Leased(now), Unverified: s.unverified, Owner: g.self, Epoch: s.holder.Epoch}
		if s.phase == Fetching {
			d.Verdict = FetchFirst
		}
		return d
	}
	promised := s.promised
	if now-s.promisedAt >= PromiseTime {
		promised = s.holder // whatever became of that claim, it is told of by now
	}
	view := g.view.Load()
	for _, c := range [...]Claim{promised, s.holder} {
		if c.By != g.self && view.Up(c.By) {
			return Decision{Verdict: Forward, Owner: c.By, Epoch: c.Epoch}
		}
	}
	name := view.Table.Owner(p)
	if m := view.Named(name); m != nil && name != g.self.Name {
		return Decision{Verdict: Forward, Owner: m.ID}
	}
	return Decision{Owner: member.ID{Name: name}}
}

// Takers returns the members that must have all that this one holds of
// partition p before its copy may be forgotten: those that should hold one by
// the ring, and who serves the partition by a claim, or may be about to. The
// latter may be fetching from here, and not be on this member's ring.
func (g *Gate) Takers(p int) (ids []string) {
	view, s := g.view.Load(), g.parts[p].Load()
	ids = slices.Clone(view.CopyHolders(p))
	for _, c := range [...]Claim{s.promised, s.holder} {
		if id := c.By.String(); c.By != g.self && view.Up(c.By) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Verified is Decide(p, now).Verified(), without the rest of the Decision: a
// read of what is here asks twice, and takes no longer than that.
func (g *Gate) Verified(p int, now time.Duration) bool {
	s := g.parts[p].Load()
	return s.phase == Warm && !s.unverified && g.Leased(now)
}

// Kept says whether what was written here by the claim of an epoch is known to
// whoever serves partition p now: that is this member, by that claim and under
// a lease; or a claimant to whom it gave the partition up, saying what it
// has of it, and that is known to have become the owner. Otherwise there may be
// a successor that knows nothing of the write, though it was copied: the holder
// may have agreed to the succession before the copy came.
func (g *Gate) Kept(p int, epoch uint64, now time.Duration) bool {
	s := g.parts[p].Load()
	return planted.Is(planted.ConfirmedLate) || epoch != 0 && s.kept == epoch || s.phase >= Fetching && s.holder.Epoch == epoch && g.Leased(now)
}

// Confirms is Kept for what was written by the newest claim by which this member
// served the partition. Where it served none, nothing was written here.
func (g *Gate) Confirms(p int, now time.Duration) bool {
	own := g.parts[p].Load().own
	return own == 0 || g.Kept(p, own, now)
}

// InForce says whether a request that was sent to this member as the owner by
// the claim of an epoch may be run here, or passed on: not where it serves the
// partition, or is about to, by another one; and not where it was succeeded by a
// member that did not have its consent, for that one may have run another attempt
// of the request long ago. Epoch 0 is any.
func (g *Gate) InForce(p int, epoch uint64) bool {
	s := g.parts[p].Load()
	switch {
	case epoch == 0:
		return true
	case s.phase == Away:
		return epoch > s.lost
	default:
		return epoch == s.holder.Epoch
	}
}

// Phase is how far this member is with owning partition p.
func (g *Gate) Phase(p int) Phase { return g.parts[p].Load().phase }

// Leased says whether this member may serve at the given time without asking.
func (g *Gate) Leased(now time.Duration) bool {
	return int64(now) < g.lease.Load() || planted.Is(planted.ExpiredLease)
}

// LeasedUntil is until when this member may serve without asking, since the
// process's start.
func (g *Gate) LeasedUntil() time.Duration { return time.Duration(g.lease.Load()) }

// Alone says that this member sees no other node, and that one may be alive:
// what it answers is marked as degraded.
func (g *Gate) Alone() bool { return g.alone.Load() }

// ClaimsHash tells two members whether their tables of claims differ.
func (g *Gate) ClaimsHash() uint64 { return g.claims.Load() }

// Counts returns how many partitions are warm here, and how many are to be
// served here and are not.
func (g *Gate) Counts() (warm, cold int) {
	view := g.view.Load()
	for p := range g.parts {
		switch ph := g.Phase(p); {
		case ph == Warm:
			warm++
		case ph != Away || view.Table.Owner(p) == g.self.Name:
			cold++
		}
	}
	return warm, cold
}

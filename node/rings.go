package node

import (
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
)

const (
	// provenAfter is how long a ring must stand, with everybody's agreement, for
	// its copies to be in place.
	provenAfter = 3 * time.Second
	// maxPast bounds how many past rings are kept.
	maxPast = 16
)

// rings is what this node remembers of the rings that it has seen, by which it
// knows where the copies of a partition must be. Times are since the node's start.
type rings struct {
	node *Node

	mu     sync.Mutex // guards what follows
	now    seenRing
	agreed time.Duration // since when all who are in it have been known to see it so, 0 for not yet
	past   []seenRing    // given up, the newest last
}

// seenRing is a ring with the boots that were in it.
type seenRing struct {
	table  *ring.Table
	ids    map[string]ID
	since  time.Duration
	proven bool // it stood long enough for its copies to be in place
}

// owner returns the boot that the ring gives a partition to.
func (r *seenRing) owner(p int) ID { return r.ids[r.table.Owner(p)] }

// viewChanged takes in the ring of a new view.
func (r *rings) viewChanged(view *View) {
	ids := make(map[string]ID)
	for _, m := range view.Nodes() {
		ids[m.Name] = m.ID
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if view.Table == r.now.table {
		r.now.ids = ids
		return
	}
	now := r.node.since()
	if r.now.table != nil {
		r.now.proven = r.agreed != 0 && now-r.agreed > provenAfter
		r.past = append(r.past, r.now)
		r.past = r.past[max(0, len(r.past)-maxPast):]
	}
	r.now, r.agreed = seenRing{table: view.Table, ids: ids, since: now}, 0
}

// look sees whether all nodes of the view see the same ring. While a cut is being
// noticed there are rings that nobody else sees, and that move no copies.
func (r *rings) look(view *View) {
	if slices.ContainsFunc(view.Others(r.node.id), func(m *Member) bool {
		l := r.node.linkTo(m.ID)
		return l == nil || !l.heardLately() || l.ringSeen() != view.Table.Fingerprint()
	}) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if view.Table == r.now.table && r.agreed == 0 {
		r.agreed = r.node.since()
	}
}

// stands says whether all nodes have seen the same ring for a while.
func (r *rings) stands() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.agreed != 0 && r.node.since()-r.agreed > provenAfter
}

// settled says whether the ring has stood for so long that who is not in it does
// not count any more.
func (r *rings) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node.since()-r.now.since >= stableAfter
}

// copyOf says of a member that has answered a claim when it handed the copy over
// that it had.
type copyOf struct {
	holder ID
	leftAt time.Duration
}

// outOfReach says whether nobody who had a copy of partition p is among those who
// have answered a claim, this member among them, although one of them may be alive:
// what they hold is not known then. Members whose processes have ended have nothing
// left to ask for.
//
// The copies are where the newest ring wants them that is proven and gave the
// partition to its owner so far; a ring that the partition was never claimed by
// proves nothing. Whoever has handed its copy over since has given it to the
// holders by the ring of that moment.
func (r *rings) outOfReach(p int, owner ID, answered []copyOf) bool {
	r.mu.Lock()
	seen := append(slices.Clone(r.past), r.now)
	r.mu.Unlock()
	base := -1
	for i := range seen {
		if s := &seen[i]; s.proven && (base < 0 || s.owner(p) == owner || seen[base].owner(p) != owner) {
			base = i
		}
	}
	if base < 0 {
		return false
	}
	silent := false
	looked := make([]bool, len(seen))
	var reached func(i int) bool
	reached = func(i int) bool {
		if looked[i] {
			return false
		}
		looked[i] = true
		for _, name := range seen[i].table.Holders(p) {
			id := seen[i].ids[name]
			at := slices.IndexFunc(answered, func(c copyOf) bool { return c.holder == id })
			if at < 0 {
				silent = silent || !r.node.View().HasEnded(id)
				continue
			}
			left := answered[at].leftAt
			if left < seen[i].since || reached(ringAt(seen, left)) {
				return true
			}
		}
		return false
	}
	return !reached(base) && silent
}

// ringAt returns which of the rings, in order of time, stood at a time that is not
// before all of them.
func ringAt(seen []seenRing, at time.Duration) int {
	later := slices.IndexFunc(seen, func(s seenRing) bool { return s.since > at })
	if later < 0 {
		later = len(seen)
	}
	return later - 1
}

package ownership

import (
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

const (
	// provenAfter is how long a ring must stand, with everybody's agreement,
	// for its copies to be in place.
	provenAfter = 3 * time.Second
	// maxPast bounds how many past rings are kept.
	maxPast = 16
)

// history is what this member remembers of the rings that it has seen, by which
// it knows where the copies of a partition must be.
type history struct {
	now    pastRing
	agreed time.Duration // since when all who are in it are known to see it so, 0 for not yet
	past   []pastRing    // given up, the newest last
}

// pastRing is a ring with the boots that were in it.
type pastRing struct {
	table  *ring.Table
	ids    map[string]member.ID
	since  time.Duration
	proven bool // it stood long enough for its copies to be in place
}

// owner returns the boot that the ring gives a partition to.
func (r *pastRing) owner(p int) member.ID { return r.ids[r.table.Owner(p)] }

// holders returns the boots that the ring puts a partition on, its owner first.
func (r *pastRing) holders(p int) (ids []member.ID) {
	for _, name := range r.table.Holders(p) {
		ids = append(ids, r.ids[name])
	}
	return ids
}

// setView takes in the ring of a new view.
func (h *history) setView(now time.Duration, view *member.View) {
	ids := make(map[string]member.ID)
	for _, m := range view.Nodes() {
		ids[m.Name] = m.ID
	}
	if view.Table == h.now.table {
		h.now.ids = ids
		return
	}
	if h.now.table != nil {
		h.now.proven = h.stands(now)
		h.past = append(h.past, h.now)
		h.past = h.past[max(0, len(h.past)-maxPast):]
	}
	h.now, h.agreed = pastRing{table: view.Table, ids: ids, since: now}, 0
}

// setAgreed says that all nodes of the view see the same ring. While a cut is
// being noticed there are rings that nobody else sees, and that move no copies.
func (h *history) setAgreed(now time.Duration, view *member.View) {
	if view.Table == h.now.table && h.agreed == 0 {
		h.agreed = now
	}
}

// distrust is for a process that stood still, and for one in a minority: it has
// not seen what rings there were meanwhile, so where the copies are it does not
// know.
func (h *history) distrust(now time.Duration) {
	h.past = nil
	h.now.since, h.now.proven, h.agreed = now, false, 0
}

func (h *history) stands(now time.Duration) bool { return h.agreed != 0 && now-h.agreed > provenAfter }

func (h *history) settled(now time.Duration) bool { return now-h.now.since >= stableAfter }

// copyOf says of a voter when it handed the copy over that it had, and how it
// agreed.
type copyOf struct {
	holder member.ID
	leftAt time.Duration
	status Status
}

// absentHolders returns the members that had the copies of partition p, if none
// of them has answered a claim of it, else nil; and whether one of them may be
// alive: what they hold is not known then. Members whose processes have ended
// have nothing left to ask for. answered has the members that have answered,
// the claimant among them, and owner is who served the partition until now.
//
// The copies are where the newest proven ring puts them that gave the partition
// to owner, or, if none did, the newest proven one: a ring that the partition
// was never claimed by has moved no copies. A holder that has handed its copy
// over since has given it to the holders by the ring of that moment. Where owner
// is silent and no proven ring gave it the partition, it has claimed it by one
// that has not stood: what it has acknowledged since is with the holders by that
// one, and one of them has to answer too. Where none of all these has answered,
// any holder by a ring since then may have been given a copy.
//
// A member that has just started has seen no proven ring. For it the copies may
// be with the owner, and with any node that may be alive and takes no part. some
// says that one who has answered holds something, which counts as a copy then.
//
// The owner knows best, if it has answered: that it had all there is, or that it
// could not tell. In the second case its successor can tell only once nobody is
// out of reach.
func (c *Core) absentHolders(p int, owner member.ID, answered []copyOf, some bool) (absent []member.ID, alive bool) {
	at := indexIn(answered)
	switch i := at(owner); {
	case i >= 0 && answered[i].status == Whole:
		return nil, false
	case i >= 0 && answered[i].status == Partial && len(c.outOfReach(at)) > 0:
		return nil, true
	}
	seen := append(slices.Clone(c.history.past), c.history.now)
	base := -1
	for i := range seen {
		if s := &seen[i]; s.proven && (base < 0 || s.owner(p) == owner || seen[base].owner(p) != owner) {
			base = i
		}
	}
	if base < 0 {
		if owner != (member.ID{}) && at(owner) < 0 {
			absent, alive = append(absent, owner), !c.view.HasEnded(owner)
		}
		for _, id := range c.outOfReach(at) {
			alive = true
			if id != owner {
				absent = append(absent, id)
			}
		}
		if some {
			absent = nil
		}
		return absent, alive
	}
	note := func(id member.ID) {
		alive = alive || !c.view.HasEnded(id)
		if !slices.Contains(absent, id) {
			absent = append(absent, id)
		}
	}
	looked := make([]bool, len(seen))
	var reached func(i int) bool
	reached = func(i int) bool {
		if looked[i] {
			return false
		}
		looked[i] = true
		for _, id := range seen[i].holders(p) {
			j := at(id)
			if j < 0 {
				note(id)
				continue
			}
			left := answered[j].leftAt
			if left < seen[i].since || reached(ringAt(seen, left)) {
				return true
			}
		}
		return false
	}
	found := reached(base)
	if found {
		absent, alive = nil, false
	} else {
		for _, since := range seen[base+1:] {
			for _, id := range since.holders(p) {
				if at(id) < 0 {
					note(id) // it may have been given a copy before the ring changed again
				}
			}
		}
	}
	if owner != (member.ID{}) && at(owner) < 0 && seen[base].owner(p) != owner {
		late := holdersBy(seen, p, owner)
		if !slices.ContainsFunc(late, func(id member.ID) bool { return at(id) >= 0 }) {
			for _, id := range late {
				note(id)
			}
		}
	}
	if found {
		absent = nil
	}
	return absent, alive || c.mode == Majority && c.confirmedElsewhere(p, owner, seen[base:], at)
}

// confirmedElsewhere says whether an owner that is silent may have had a write
// confirmed by a copy that is silent as well, and one of the two may be alive: a
// write is confirmed by one copy, be there more of them. In mode Available the
// other side of a cut may acknowledge whatever it likes anyway.
func (c *Core) confirmedElsewhere(p int, owner member.ID, rings []pastRing, at func(id member.ID) int) bool {
	if owner == (member.ID{}) || at(owner) >= 0 {
		return false
	}
	for i := range rings {
		if rings[i].owner(p) != owner {
			continue
		}
		for _, id := range rings[i].holders(p) {
			if id != owner && at(id) < 0 && !(c.view.HasEnded(owner) && c.view.HasEnded(id)) {
				return true
			}
		}
	}
	return false
}

// holdersBy returns who holds partition p by the newest ring that gave it to
// owner; owner alone, if none that was seen has.
func holdersBy(seen []pastRing, p int, owner member.ID) (ids []member.ID) {
	for i := len(seen) - 1; i >= 0; i-- {
		if seen[i].owner(p) == owner {
			return seen[i].holders(p)
		}
	}
	return []member.ID{owner}
}

// indexIn returns where in a list what a member had is, -1 for one that is not in
// it.
func indexIn(copies []copyOf) func(member.ID) int {
	return func(id member.ID) int {
		return slices.IndexFunc(copies, func(c copyOf) bool { return c.holder == id })
	}
}

// outOfReach returns the nodes that may be alive and have not answered. One that
// this member has never seen alive, and that nobody misses, has left before:
// gossip may tell of it as dead.
func (c *Core) outOfReach(at func(id member.ID) int) (ids []member.ID) {
	for _, m := range c.view.Members {
		if m.Role == member.RoleNode && !m.Up && c.peers[m.ID] != nil && at(m.ID) < 0 && !c.view.HasEnded(m.ID) {
			ids = append(ids, m.ID)
		}
	}
	for _, id := range c.missing {
		if at(id) < 0 && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// ringAt returns which of the rings, in order of time, stood at a time that is
// not before all of them.
func ringAt(seen []pastRing, at time.Duration) int {
	later := slices.IndexFunc(seen, func(s pastRing) bool { return s.since > at })
	if later < 0 {
		later = len(seen)
	}
	return later - 1
}

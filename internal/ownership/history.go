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
	agreed time.Duration // since when all who are in it have been heard to see it so, 0 for not now
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
		h.past = append(h.past, h.now)
		h.past = h.past[max(0, len(h.past)-maxPast):]
	}
	h.now, h.agreed = pastRing{table: view.Table, ids: ids, since: now}, 0
}

// setAgreed says whether all nodes of the view are heard to see the same ring.
// While a cut is being noticed there are rings that nobody else sees, and that
// move no copies. Nor do they get to where a node is that is not heard any more,
// before gossip has noticed: so it counts only what is agreed to all the time.
func (h *history) setAgreed(now time.Duration, view *member.View, all bool) {
	switch {
	case view.Table != h.now.table:
	case !all, len(view.Nodes()) == 0: // nobody is there to disagree with who waits alone
		h.agreed = 0
	case h.agreed == 0:
		h.agreed = now
	case now-h.agreed > provenAfter:
		h.now.proven = true
	}
}

// distrust is for a process that stood still, and for one in a minority: it has
// not seen what rings there were meanwhile, so where the copies are it does not
// know.
func (h *history) distrust(now time.Duration) {
	h.past = nil
	h.now.since, h.now.proven, h.agreed = now, false, 0
}

func (h *history) settled(now time.Duration) bool { return now-h.now.since >= stableAfter }

// outOfReach returns the nodes that may be alive and have not answered, and those
// that bring sessions from their disks and cannot be asked yet. One that
// this member has never seen alive has left before, and gossip tells of it as
// dead, if all others see the ring as it is here, none misses it, and it does not
// count in mode Majority.
func (c *Core) outOfReach(at func(id member.ID) int) (ids []member.ID) {
	agree := !c.othersDiffer()
	for _, m := range c.view.Members {
		if m.Role != member.RoleNode || m.Up && !m.Brings() || at(m.ID) >= 0 || c.view.HasEnded(m.ID) || m.ID == c.self {
			continue
		}
		if m.Brings() || c.peers[m.ID] != nil || !agree || c.quorum.now.Has(m.ID) {
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

// hasEnded says whether a boot's process has ended. Who is missing has not: gossip
// may have told nothing of it here.
func (c *Core) hasEnded(id member.ID) bool {
	return c.view.HasEnded(id) && !slices.Contains(c.missing, id)
}

// othersDiffer says whether a node that takes part was last heard to see another
// ring than this member.
func (c *Core) othersDiffer() bool {
	fingerprint := c.view.Table.Fingerprint()
	return slices.ContainsFunc(c.view.Others(c.self), func(m *member.Member) bool {
		p := c.peers[m.ID]
		return p != nil && p.ring != "" && p.ring != fingerprint
	})
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

package ownership

import (
	"slices"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Sources returns the holders that have something else of partition p than is
// here, while it is being fetched, and the epoch of the claim by which it is.
func (c *Core) Sources(p int) (sources []member.ID, epoch uint64, fetching bool) {
	part := &c.parts[p]
	return slices.Clone(part.sources), part.holder.Epoch, part.phase == Fetching
}

// fetchedBy says whether p is still being fetched by the claim of an epoch.
func (c *Core) fetchedBy(p int, epoch uint64) bool {
	return c.parts[p].phase == Fetching && c.parts[p].holder.Epoch == epoch
}

// SetUnreached takes in which sources of p have given what they had, which were
// silent and may come back, and which have ended before they gave it. It returns
// whether a silent one may have more than what was given: what is served is
// unverified then, until they are asked again.
//
// The owner who gave the partition up had all there was, so whoever else is
// missing has nothing to add. Where it has ended, each may have what the others
// do not: a write is confirmed by one copy, and a new holder gets its own in time.
// A source that has ended was what the claim went by, and another copy of what it
// had may be out of reach.
func (c *Core) SetUnreached(p int, epoch uint64, heard, silent, ended []member.ID) (unreached bool) {
	if !c.fetchedBy(p, epoch) {
		return false
	}
	part := &c.parts[p]
	all := part.giver != (member.ID{}) && (slices.Contains(heard, part.giver) || !slices.Contains(part.sources, part.giver))
	is := unsure{part.elsewhere, len(silent) > 0 && !all}
	if len(ended) > 0 && !all {
		is.elsewhere = is.elsewhere || len(c.outOfReach(func(id member.ID) int { return slices.Index(heard, id) })) > 0
	}
	if is != part.unsure {
		c.setUnsure(p, is)
	}
	return is.unreached
}

// Fetched says that all that the sources of p held has been merged.
func (c *Core) Fetched(p int, epoch uint64) {
	if c.fetchedBy(p, epoch) {
		c.setPhase(p, Warm)
	}
}

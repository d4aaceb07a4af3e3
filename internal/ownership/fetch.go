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

// SetUnreached says whether no source of p could be reached, though one may
// come back. Then what is served is unverified, until a source is reached. It
// returns unreached, or false if the partition is not being fetched by the
// claim of that epoch any more.
func (c *Core) SetUnreached(p int, epoch uint64, unreached bool) bool {
	if !c.fetchedBy(p, epoch) {
		return false
	}
	if part := &c.parts[p]; unreached != part.unreached {
		c.setUnsure(p, unsure{part.elsewhere, unreached})
	}
	return unreached
}

// Fetched says that all that the sources of p held has been merged.
func (c *Core) Fetched(p int, epoch uint64) {
	if c.fetchedBy(p, epoch) {
		c.setPhase(p, Warm)
	}
}

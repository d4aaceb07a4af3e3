package ownership

import "time"

// Set and SetLease make things stand as a test of the packages above wants
// them, whatever has happened before. A running member uses neither.

// Set makes partition p stand in a phase, by a claim in force.
func (c *Core) Set(p int, ph Phase, holder Claim, unverified bool) {
	c.setHolder(p, holder)
	c.setPhase(p, ph)
	c.setUnsure(p, unsure{elsewhere: unverified})
}

// SetLease makes the lease end at the given time.
func (c *Core) SetLease(until time.Duration) { c.gate.lease.Store(int64(until)) }

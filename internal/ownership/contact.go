package ownership

import (
	"maps"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// An owner that does not reach one of those who should have a copy has another
// node hold it in that one's place, and acknowledges writes by that. Where it
// dies then, the one who should have the copy has one that lacks these writes,
// and does not know it from anything that it holds: it knows that it was out of
// contact.

const (
	// standInAfter is less than what an owner waits, about LeaseTime, before it
	// takes a holder for unreached: the two do not begin to count at the same
	// moment.
	standInAfter = LeaseTime / 2
	// catchUp is how long a holder may take, back in contact, to have what it
	// lacked.
	catchUp = provenAfter
)

// contact is when this member reached another over a connection of its own:
// copies travel by no other way.
type contact struct {
	last  time.Duration // when the newest heartbeat was sent that was answered
	again time.Duration // when it was reached anew after a gap, 0 for no gap
}

// Reached says that a member has answered a heartbeat sent at a time, by a
// connection between the two.
func (c *Core) Reached(sent time.Duration, who member.ID) {
	t, known := c.contacts[who]
	if known && sent-t.last > standInAfter {
		t.again = sent
	}
	t.last = max(t.last, sent)
	c.contacts[who] = t
}

// forgetContacts drops those with members of whom nothing is known any more.
func (c *Core) forgetContacts() {
	maps.DeleteFunc(c.contacts, func(who member.ID, _ contact) bool {
		return c.view.Member(who) == nil && !slices.ContainsFunc(c.parts, func(p partition) bool { return p.holder.By == who })
	})
}

// isBehind says whether the copies here of what an owner served may lack what
// it has acknowledged, and another node may have that and is silent. So it is if
// this member had no contact with the owner for long enough to have the other in
// its place, and was in contact with that one meanwhile: who loses both at the
// same moment is on the other side of a cut.
func (c *Core) isBehind(now time.Duration, owner member.ID) bool {
	t, known := c.contacts[owner]
	if !known || owner == c.self || planted.Is(planted.BehindUnsaid) {
		return false
	}
	catchingUp := t.again != 0 && t.last-t.again < catchUp
	for who, other := range c.contacts {
		silent := who != owner && now-other.last > standInAfter && !c.view.HasEnded(who)
		if silent && (catchingUp || other.last-t.last > standInAfter) {
			return true
		}
	}
	return false
}

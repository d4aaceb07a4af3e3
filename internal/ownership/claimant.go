package ownership

import (
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// ClaimTimeout is how long a claimant waits for a voter that is silent. It is
// the time after which a client gets an answer that says to come back.
const ClaimTimeout = time.Second

// A claim that could not be settled by settleTime after it was made is given
// up, even with everybody's consent, and promises lapse at PromiseTime: by then
// it is certain that nobody will serve by the claim.
const (
	settleTime  = ClaimTimeout + 250*time.Millisecond
	PromiseTime = settleTime + 250*time.Millisecond
)

// Round is a claim under way, of all that this member may claim at a moment. It
// is sent to all that Asked has, which may be more than an encoded request
// names.
type Round struct {
	Request
	began time.Duration
}

// Round claims every partition that the ring gives to this member and that it
// may claim now: Todo.Claim is to be sent to its voters, and what they answer
// goes to Settle. complete says that this member serves all that the ring gives
// to it; the driver's pause between rounds starts small again after that.
func (c *Core) Round(now time.Duration) (todo Todo, complete bool) {
	complete = true
	voters := c.voters(now)
	var parts []int
	for p := range c.parts {
		part := &c.parts[p]
		if !c.isMissing(p) {
			continue
		}
		complete = false
		if part.phase == Away && !part.dropping && c.mayClaim(now, part, voters) {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 || c.mode == Majority && !c.agreed(now, func(id member.ID) bool { return c.answers(now, id) }) {
		return Todo{Later: !complete}, complete
	}
	c.maxEpoch++
	r := &Round{
		Request: Request{Epoch: c.maxEpoch, Ring: c.view.Table.Fingerprint(), Asked: voters, Parts: parts},
		began:   now,
	}
	for _, p := range parts {
		c.setPhase(p, Claiming)
		c.promise(now, p, Claim{r.Epoch, c.self}) // older claims come too late
	}
	return Todo{Claim: r, Later: true}, false
}

// ClaimAnew is to be called every second. It gives up what this member serves
// unverified, to claim it anew, once all nodes that may be alive take part and
// answer, also those that SetMissing has told of: who was out of reach can be asked then, and need not be waited for
// until the membership has settled. It does so once in each view.
func (c *Core) ClaimAnew(now time.Duration) (todo Todo) {
	unasked := func(member.ID) int { return -1 }
	if c.anew == c.view || len(c.outOfReach(unasked)) > 0 || !c.inTouch(now) {
		return todo
	}
	for p := range c.parts {
		// One whose sources cannot be reached asks them again and again.
		if part := &c.parts[p]; part.serving() && part.elsewhere && !part.unreached && c.view.Table.Owner(p) == c.self.Name {
			c.anew = c.view
			c.setPhase(p, Away)
			todo.Close, todo.Round = append(todo.Close, p), true
		}
	}
	return todo
}

// isMissing says whether the ring gives a partition to this member that it does
// not serve.
func (c *Core) isMissing(p int) bool {
	return !c.resigned && !c.parts[p].serving() && c.view.Table.Owner(p) == c.self.Name && c.view.Named(c.self.Name).ID == c.self
}

// IsMissing says whether there is a partition that this member should claim.
func (c *Core) IsMissing() bool {
	for p := range c.parts {
		if c.parts[p].phase == Away && c.isMissing(p) {
			return true
		}
	}
	return false
}

// mayClaim says whether this member may ask voters for a partition.
func (c *Core) mayClaim(now time.Duration, part *partition, voters []member.ID) bool {
	if c.pending(now, part, c.self, in(voters)) {
		return false
	}
	holder := part.holder.By
	if holder == (member.ID{}) || holder == c.self || c.view.HasEnded(holder) || planted.Is(planted.AliveIgnored) {
		return true
	}
	if c.vouches(now, holder) {
		// An owner that is alive gives a partition up only to a claimant that
		// sees the same ring: two views that differ would pull it to and fro.
		p := c.peers[holder]
		return p != nil && p.ring == c.view.Table.Fingerprint()
	}
	return c.isLost(now, holder)
}

// isLost says whether an owner that is silent cannot serve any more: its lease
// has ended if it reaches nobody, and gossip agrees. One who has just ended may
// have been reached, and have given it a lease.
func (c *Core) isLost(now time.Duration, owner member.ID) bool {
	return !c.vouches(now, owner) && !c.view.Up(owner) && !c.endedLately(now)
}

// Settle decides by the answers what became of a round. answers[i] are those of
// voter r.Asked[i], one for each of r.Parts, nil if it was silent. sums[i] is
// of this member's copy of r.Parts[i]: one that is not known, because an
// operation has held the partition for too long, is given up and claimed again
// soon.
//
// A claim comes into force if all voters have agreed, except those that are
// silent and do not take part any more; if the owner of before has, or cannot
// serve any more; and in mode Majority if a majority has. Where one has a copy
// that is not empty and differs from the one here, the partition is opened to be
// fetched. Where one has just handed its copy over, any of the others may have
// got it since it answered, so all are sources.
func (c *Core) Settle(now time.Duration, r *Round, answers [][]Answer, sums []Sum) (todo Todo) {
	late := now-r.began > settleTime // such as frozen meanwhile
	mine := Claim{r.Epoch, c.self}
	var over []int
	for i, p := range r.Parts {
		part := &c.parts[p]
		if part.phase != Claiming {
			over = append(over, p)
			todo.Later = true // a claim with a higher epoch was accepted meanwhile
			continue
		}
		won := !late && sums[i].Known && !part.promised.Newer(mine)
		var answered, sources, equal []member.ID
		var giver member.ID
		var leased []string // owners that may have a lease of this member or of a voter
		for _, id := range c.leased(now, part, c.self) {
			leased = append(leased, id.String())
		}
		copies, owner, doubted := []copyOf{{c.self, part.leftAt(), Accepted}}, part.holder.By, part.isDoubted()
		if c.isBehind(now, owner) {
			copies[0].status = Behind
		}
		moved, some := false, sums[i].Count > 0
		for j, id := range r.Asked {
			if answers[j] == nil {
				// Silent. A member that has ended cannot serve; of any other it
				// is not known, and it may hold the only copy.
				won = won && !c.view.Up(id)
				continue
			}
			a := answers[j][i]
			if !a.Status.Agrees() {
				won = false
				todo.FarEpoch = !c.refused(p, a) || todo.FarEpoch
				continue
			}
			if id == owner && a.Status == Whole {
				giver = id
			}
			answered, moved = append(answered, id), moved || a.Status == Moved || a.Status == Partial
			if a.Claimant != "" {
				leased = append(leased, a.Claimant)
			}
			copies, some = append(copies, copyOf{id, now - a.Left, a.Status}), some || a.Count > 0
			doubted = doubted && id != owner // which has just said it better
			if a.Digest == sums[i].Digest {
				equal = append(equal, id)
			} else if a.Count > 0 {
				sources = append(sources, id)
			}
		}
		if !won || !c.isFree(now, owner, answered) || !c.haveAgreed(leased, answered) || c.mode == Majority && !c.agreed(now, in(answered)) {
			c.setPhase(p, Away)
			if part.promised == mine {
				c.forgo(p)
			}
			over = append(over, p)
			todo.Later = true
			continue
		}
		if moved {
			sources, equal = answered, nil
		}
		c.setHolder(p, mine)
		part.given = given{}
		if len(sources) == 0 {
			c.setPhase(p, Warm)
		} else {
			part.sources, part.giver = sources, giver
			c.setPhase(p, Fetching)
		}
		absent, alive := c.absentHolders(p, owner, copies, some)
		if doubted && len(c.outOfReach(indexIn(copies))) > 0 {
			absent, alive = nil, true
		}
		c.setUnsure(p, unsure{elsewhere: alive})
		todo.Open = append(todo.Open, Opened{Partition: p, Equal: equal, Fetch: len(sources) > 0, Absent: absent})
	}
	if len(over) > 0 {
		todo.Over = &Over{Epoch: r.Epoch, Parts: over, Asked: r.Asked}
	}
	return todo
}

func in(ids []member.ID) func(member.ID) bool {
	return func(id member.ID) bool { return slices.Contains(ids, id) }
}

// isFree says whether the owner of a partition has given it up, or cannot serve
// it any more.
func (c *Core) isFree(now time.Duration, owner member.ID, agreed []member.ID) bool {
	return owner == (member.ID{}) || owner == c.self || slices.Contains(agreed, owner) || c.view.HasEnded(owner) || c.isLost(now, owner)
}

// haveAgreed says whether each of these owners has agreed or ended. That it is
// silent, and does not take part as far as is seen here, is not enough: it has
// just been given a lease.
func (c *Core) haveAgreed(owners []string, agreed []member.ID) bool {
	return planted.Is(planted.LeasedElsewhere) || !slices.ContainsFunc(owners, func(s string) bool {
		owner, err := member.ParseID(s)
		return err != nil || !slices.Contains(agreed, owner) && !c.view.HasEnded(owner)
	})
}

// refused takes in the claim that stands in the way of one's own. It returns
// false for an epoch that is too far off to count.
func (c *Core) refused(p int, a Answer) (near bool) {
	near = c.heardOf(a.Epoch)
	id, err := member.ParseID(a.Claimant)
	if err != nil || !near {
		return near // nobody holds it there, or that cannot be told yet
	}
	if claim := (Claim{a.Epoch, id}); a.Status == Early && claim.Newer(c.parts[p].holder) {
		c.setHolder(p, claim)
	}
	return near
}

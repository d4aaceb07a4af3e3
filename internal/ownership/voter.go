package ownership

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// Judgement is what becomes of another member's claim here. It takes three
// steps, whose order keeps writes from being lost:
//
//  1. Judge says which partitions to close. From then on no operation begins in
//     them.
//  2. The driver takes the sums of what Unsummed lists, and gives them to
//     SetSums. It waits for the operation that still runs in a partition, so a
//     sum covers every write that was answered here.
//  3. Answer says what the claimant is told.
type Judgement struct {
	claim   Claim
	parts   []int
	answers []Answer
	open    []int // of answers: accepted, and what is held here is not known yet

	// Yielded counts the partitions that this member served until now,
	// or claimed.
	Yielded int
}

// Sum is what this member holds of a partition. It is not Known while an
// operation that takes long holds the partition.
type Sum struct {
	Digest uint64
	Count  uint32
	Known  bool
}

// Judge is the voter's part of a claim: it decides, for each partition, whether
// this member agrees that from becomes the owner. To agree is to promise: this
// member stops serving the partition, and refuses all older claims of it. It
// refuses while an owner that may be alive has not been asked or sees another
// ring, or one that brings sessions to a cluster that is being founded; while
// another claimant may be about to become the owner; and a claimant that does not
// know of a Roster that this member has agreed to.
func (c *Core) Judge(now time.Duration, from member.ID, r Request) (*Judgement, Todo) {
	same := c.view.Table.Fingerprint() == r.Ring
	j := &Judgement{claim: Claim{r.Epoch, from}, parts: r.Parts, answers: make([]Answer, len(r.Parts))}
	var todo Todo
	near := c.heardOf(r.Epoch)
	todo.FarEpoch = !near
	whole := c.asksAllBringers(now, from, r)
	for i, p := range r.Parts {
		part, a := &c.parts[p], &j.answers[i]
		switch {
		case !near, !c.counts(from):
			*a = Answer{Status: Early, Epoch: c.maxEpoch}
		case part.promised.Newer(j.claim):
			*a = Answer{Status: Stale, Epoch: part.promised.Epoch, Claimant: part.promised.By.String()}
		case c.served(now, part, from) && (!same || !r.asks(part.holder.By, c.self)):
			*a = Answer{Status: Early, Epoch: part.holder.Epoch, Claimant: part.holder.By.String()}
		case part.holder == (Claim{}) && !whole:
			*a = Answer{Status: Early, Epoch: c.maxEpoch}
		case c.pending(now, part, from, func(id member.ID) bool { return r.asks(id, c.self) }):
			*a = Answer{Status: Early, Epoch: part.promised.Epoch} // which may never come into force
		default:
			leased := c.leased(now, part, from)
			if len(leased) > 1 { // of whom an answer names one
				*a = Answer{Status: Early, Epoch: part.holder.Epoch}
				continue
			}
			if len(leased) > 0 {
				a.Claimant = leased[0].String()
			}
			c.promise(now, p, j.claim)
			if len(part.given.to) > 0 {
				part.given.again(j.claim)
			}
			if part.phase != Away && !planted.Is(planted.ServesOn) {
				todo.Close = append(todo.Close, p)
				if part.serving() {
					part.given = given{[]Claim{j.claim}, part.holder.Epoch, part.phase, part.sources, part.giver, part.unsure}
				}
				c.setPhase(p, Away)
				j.Yielded++
			}
			a.Status = c.word(now, part)
			j.open = append(j.open, i)
		}
	}
	// It is possible that nobody ever serves by this claim. If the ring
	// gives the partition to this member, it claims it anew as soon as the
	// promise allows.
	todo.Round = true
	return j, todo
}

// asksAllBringers says whether a claimant asks all nodes that this member reaches
// and that bring sessions from their disks. Until somebody has served a partition,
// one of them that the claimant has not heard of yet may have the newest copy.
func (c *Core) asksAllBringers(now time.Duration, from member.ID, r Request) bool {
	return !slices.ContainsFunc(c.view.Members, func(m *member.Member) bool {
		p := c.peers[m.ID]
		return m.Brings() && m.ID != from && p != nil && heardLately(p, now) && !r.asks(m.ID, c.self)
	})
}

// word is how this member agrees that another one serves a partition.
func (c *Core) word(now time.Duration, p *partition) Status {
	switch back := p.given; {
	case p.holder.By != c.self && c.isBehind(now, p.holder.By):
		return Behind
	case len(back.to) == 0 || p.holder.By != c.self || planted.Is(planted.UnsureForgotten):
		return Accepted
	case back.unsure.any():
		return Partial
	case back.phase == Warm:
		return Whole
	default:
		return Accepted
	}
}

// leased are those beside from, and beside this member, who serve a partition
// or may be about to, and to whom this member has given a lease that may last.
func (c *Core) leased(now time.Duration, part *partition, from member.ID) (ids []member.ID) {
	if holder := part.holder.By; holder != c.self && c.served(now, part, from) {
		ids = append(ids, holder)
	}
	for _, r := range part.promises() {
		other := r.By != c.self && r.By.Name != from.Name && !c.view.HasEnded(r.By)
		if other && c.vouches(now, r.By) && !slices.Contains(ids, r.By) {
			ids = append(ids, r.By)
		}
	}
	return ids
}

// Over says that nothing comes of a claim: its claimant will not serve by it.
//
//	u64 epoch | u16 partition …
type Over struct {
	Epoch uint64
	Parts []int
	// Asked are to be told. It is not sent.
	Asked []member.ID
}

// Encode writes an Over.
func (o Over) Encode() []byte {
	b := order.AppendUint64(make([]byte, 0, 8+2*len(o.Parts)), o.Epoch)
	for _, p := range o.Parts {
		b = order.AppendUint16(b, uint16(p))
	}
	return b
}

// DecodeOver reads what Over.Encode has written.
func DecodeOver(b []byte) (o Over, err error) {
	if len(b) < 8 {
		return o, fmt.Errorf("claim given up, of %d bytes: %w", len(b), ErrMalformed)
	}
	o.Epoch = order.Uint64(b)
	o.Parts, err = decodeParts(b[8:])
	return o, err
}

// GivenUp takes in that a claimant has given its claim up. What this member
// gave up to it, it serves again, unless it had agreed to another claimant's
// just before: that one may have everybody's consent, and is waited for.
func (c *Core) GivenUp(now time.Duration, from member.ID, o Over) (todo Todo) {
	over := Claim{o.Epoch, from}
	for _, p := range o.Parts {
		part := &c.parts[p]
		switch {
		case part.promised == over && over.Newer(part.holder):
			if c.forgo(p) {
				c.takeBack(p, &todo)
			}
		case part.promised != over:
			part.rivals = slices.DeleteFunc(slices.Clone(part.rivals), func(r promise) bool { return r.Claim == over })
		}
	}
	todo.Round = true
	return todo
}

// forgo forgets the newest claim that was agreed to, by which nobody will
// serve. It says whether no rival is left that may.
func (c *Core) forgo(p int) (none bool) {
	part := &c.parts[p]
	if n := len(part.rivals); n > 0 {
		newest := part.rivals[n-1]
		part.promised, part.promisedAt, part.rivals = newest.Claim, newest.at, part.rivals[:n-1:n-1]
	} else {
		part.promised, none = part.holder, true
	}
	c.publish(p)
	return none
}

// takeBack serves a partition again that was given up.
func (c *Core) takeBack(p int, todo *Todo) {
	part := &c.parts[p]
	back := part.given
	if planted.Is(planted.NotGivenBack) || len(back.to) == 0 || part.phase != Away || part.holder.By != c.self {
		return
	}
	part.given, part.sources, part.giver = given{}, back.sources, back.giver
	c.setPhase(p, back.phase)
	c.setUnsure(p, back.unsure)
	todo.Open = append(todo.Open, Opened{Partition: p, Fetch: back.phase == Fetching})
}

// Lapse is to be called every 100 ms. A claim that this member has agreed to,
// and of which it has heard nothing for as long as a promise lasts, counts as
// in force from then on. Its claimant may have been the owner, and have ended
// or been cut off before it could tell; so nobody serves by an older claim, but
// claims anew. If nothing had come of it, that costs the owner of before a
// moment.
//
// It also renews the lease of a member that nobody has to give one.
func (c *Core) Lapse(now time.Duration) (todo Todo) {
	c.renew(now)
	if !c.open {
		return todo
	}
	c.open = false
	for p := range c.parts {
		part := &c.parts[p]
		switch {
		case !part.promised.Newer(part.holder) || part.promised.By == c.self:
		case now-part.promisedAt < PromiseTime:
			c.open = true
		default:
			part.given = given{} // whether it came into force is not known
			c.setHolder(p, part.promised)
			todo.Round = true
		}
	}
	return todo
}

// Unsummed lists the partitions whose sums the answer waits for.
func (j *Judgement) Unsummed() []int {
	parts := make([]int, len(j.open))
	for k, i := range j.open {
		parts[k] = j.parts[i]
	}
	return parts
}

// SetSums takes in the sums of what Unsummed has listed, in that order, and
// returns whether all are known now.
func (j *Judgement) SetSums(sums []Sum) (all bool) {
	var open []int
	for k, i := range j.open {
		if !sums[k].Known {
			open = append(open, i)
			continue
		}
		j.answers[i].Digest, j.answers[i].Count = sums[k].Digest, sums[k].Count
	}
	j.open = open
	return len(open) == 0
}

// Answer is what the claimant is told. busy counts the partitions whose sum is
// not known: the claimant is told to ask for them again, as the operation that
// runs in them is about to end.
func (c *Core) Answer(now time.Duration, j *Judgement) (answers []Answer, busy int) {
	for _, i := range j.open {
		j.answers[i] = Answer{Status: Early, Epoch: j.claim.Epoch}
	}
	answers = slices.Clone(j.answers)
	for i := range answers {
		part, a := &c.parts[j.parts[i]], &answers[i]
		switch {
		case !a.Status.Agrees():
		case part.promised != j.claim: // the sum may be from before a later claim
			*a = Answer{Status: Stale, Epoch: part.promised.Epoch, Claimant: part.promised.By.String()}
		case a.Status == Partial:
		case part.dropping: // the sum may be from before or after
			a.Status = Moved
		default:
			if a.Left = now - part.leftAt(); a.Left < settleTime {
				a.Status = Moved
			}
		}
	}
	return answers, len(j.open)
}

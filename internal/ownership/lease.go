package ownership

import (
	"maps"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// LeaseTime is for how long a heartbeat's answer entitles its sender to serve
// without asking, from the moment when the heartbeat was sent. A member that
// answers does not agree to a succession for as long after it has answered, so
// the lease has ended by the time that a successor starts. Only durations are
// compared, each on one member's monotonic clock.
const LeaseTime = time.Second

// pullEvery is how often a peer is asked for its claims, at most, because they
// differ.
const pullEvery = 50 * time.Millisecond

// stableAfter is how long a majority must see one membership before what counts
// as the whole cluster shrinks to it.
const stableAfter = 30 * time.Second

// A lease covers all partitions: every claim needs the consent of every live
// node, and a node that has just answered this one's heartbeat refuses claims
// to what this one serves.
//
// While a lease has run out, the owner may have been succeeded. So may the
// first member that answers: two processes that stood still together know of
// nothing, and each would give the other a lease. So after that all others must
// answer before this member serves again, or, if not all do in time, as many as
// usual (AskFailed).

// Ponged takes in a peer's answer to a heartbeat that this member sent at the
// time sent: first what it says of its ring and of the claims in force, nil if
// it knows the same ones, and then the lease, if it gives one. The order
// matters: a lease must not be used before what has been claimed meanwhile is
// known.
func (c *Core) Ponged(now, sent time.Duration, from member.ID, ring string, claims *Table, lease bool) Todo {
	before := c.gate.ClaimsHash()
	todo := c.hear(from, ring, claims)
	p := c.peers[from]
	if p == nil {
		return todo
	}
	if c.gate.ClaimsHash() != before && !lease {
		todo.Beat = append(todo.Beat, from) // which may give it now
	}
	p.answered = max(sent, 1)
	if c.quorum.now.Has(from) {
		s := c.quorum.seen[from]
		s.answered = p.answered
		c.quorum.seen[from] = s
	}
	if lease {
		p.heard = max(sent, 1)
		c.renew(now)
	}
	return todo
}

// Pinged takes in a heartbeat of a peer, whose claims have the given hash, and
// says how to answer it: with a lease or without, and with the claims known
// here or, if the peer knows the same, without. In mode Majority what the
// heartbeat says of the Roster is taken in before, by SetRoster.
//
// First the promise is made, then this member looks at those that it has made
// to others: from now on it does not agree to a succession of the peer for
// LeaseTime, and if it has agreed to one before, it gives no lease.
// It gives none either while the two do not know the same claims: the peer may
// serve what this member has agreed to a claim of, or has given another one a
// lease for. The answer tells the peer what it does not know, and this member
// asks for the rest; then the next heartbeat has its lease. And it gives none to
// a peer that it does not reach, whose consent no claimant can ask for: the
// answer tells the peer when it has been succeeded.
func (c *Core) Pinged(now time.Duration, from member.ID, ring string, hash uint64) (lease, claims bool, todo Todo) {
	claims = hash != c.gate.ClaimsHash()
	if who := c.view.Member(from); who != nil && who.Unreached {
		return false, claims, c.hear(from, ring, nil)
	}
	c.granted[from] = now
	maps.DeleteFunc(c.granted, func(_ member.ID, at time.Duration) bool { return now-at >= LeaseTime })
	claimants := c.succeeding(now, from)
	todo = c.hear(from, ring, nil)
	if p := c.peers[from]; claims && p != nil && now-p.pulled >= pullEvery {
		p.pulled = now
		todo.Beat = append(todo.Beat, from) // whose answer tells its claims
	}
	for _, id := range claimants {
		if c.peers[id] != nil { // its answer says what became of the claim
			todo.Beat = append(todo.Beat, id)
		}
	}
	return !claims && len(claimants) == 0 && c.counts(from), claims, todo
}

// hear takes in what a peer says of its ring and of the claims that it knows.
func (c *Core) hear(from member.ID, ring string, claims *Table) (todo Todo) {
	if claims != nil {
		todo = c.merge(claims)
	}
	if p := c.peers[from]; p != nil && p.ring != ring {
		p.ring = ring
		todo.Round = true
	}
	return todo
}

// merge takes in another member's table. A partition that this member serves
// and that was claimed since by another is closed at once: requests are
// forwarded from here on, and what was written here meanwhile is handed over.
func (c *Core) merge(table *Table) (todo Todo) {
	highest := uint64(0)
	for p := range c.parts {
		highest = max(highest, table[p].Epoch)
	}
	limit := c.maxEpoch + epochStep
	todo.FarEpoch = !c.heardOf(highest)
	for p := range c.parts {
		part, claim := &c.parts[p], table[p]
		if claim.Epoch == 0 || claim.Epoch > limit || !claim.Newer(part.holder) {
			continue
		}
		// First the phase: a reader must not see this member serve by
		// that claim.
		if part.serving() && claim.By != c.self {
			todo.Close = append(todo.Close, p)
			part.lost = part.holder.Epoch
			c.setPhase(p, Away)
			todo.Succeeded++
		}
		c.setHolder(p, claim)
	}
	todo.Round = todo.Succeeded > 0
	return todo
}

// succeeding returns who is about to succeed holder in some partition with this
// member's consent. Until it is known whether that came about, this member must
// not give holder a lease: holder would not learn from the answer that it has
// been succeeded. A promise of which nothing is heard stands until Lapse; one
// to itself lapses when its claim must have been settled.
func (c *Core) succeeding(now time.Duration, holder member.ID) (claimants []member.ID) {
	if !c.open && now-c.promisedAt >= PromiseTime || planted.Is(planted.LeaseDespite) {
		return nil // the usual case: none stands
	}
	for p := range c.parts {
		part := &c.parts[p]
		open := part.holder.By == holder && part.promised.By != holder && part.promised.Newer(part.holder)
		stands := part.promised.By != c.self || now-part.promisedAt < PromiseTime
		if open && stands && !slices.Contains(claimants, part.promised.By) {
			claimants = append(claimants, part.promised.By)
		}
	}
	return claimants
}

// renew computes the lease from what was heard. While this member has accepted
// a Roster that is not known to be in force, it stands as it is, and ends.
func (c *Core) renew(now time.Duration) {
	others := c.others()
	lease := time.Duration(0)
	switch {
	case c.mode == Majority && c.quorum.accepted.Version > 0:
		return
	case c.mode == Majority:
		lease = c.leasedUntil(now)
	case len(others) == 0:
		lease = now + LeaseTime // its own tick renews it: it may stand still
	default:
		lease = c.heardBy(c.vouchers(others), 1)
	}
	if lease > 0 && len(others) > 0 && !c.gate.Leased(now) && !c.lastAskFailed(now) && !planted.Is(planted.LeaseByOne) {
		lease = min(lease, c.heardBy(others, len(others)))
	}
	c.gate.lease.Store(int64(lease))
}

// others are the other nodes that take part. One that is not ready yet may
// claim what is here as soon as it is.
func (c *Core) others() (ids []member.ID) {
	for id := range c.peers {
		if c.view.Up(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// vouchers are those of others whose lease counts by itself: claimants ask
// them. One that has not taken its place yet counts where there are no others:
// then nobody else could claim.
func (c *Core) vouchers(others []member.ID) []member.ID {
	if ready := slices.DeleteFunc(slices.Clone(others), c.joins); len(ready) > 0 {
		return ready
	}
	return others
}

// heardBy is until when so many of others have given a lease, 0 if they have
// not.
func (c *Core) heardBy(others []member.ID, need int) time.Duration {
	var heard []time.Duration
	for _, id := range others {
		if p := c.peers[id]; p.heard > 0 {
			heard = append(heard, p.heard)
		}
	}
	if len(heard) < need {
		return 0
	}
	slices.Sort(heard)
	return heard[len(heard)-need] + LeaseTime
}

// lastAskFailed says whether the others were asked a moment ago and not all
// answered.
func (c *Core) lastAskFailed(now time.Duration) bool {
	return c.lastAsk != 0 && now-c.lastAsk <= LeaseTime
}

// ShouldAsk says whether an owner without a lease should ask the others before
// it serves. Then the driver sends a heartbeat to each peer, and waits until
// the Gate says that this member has a lease, or calls AskFailed when it has
// waited for long enough. Without a lease even then, the mode says what to do.
// If it should not ask, all that was tried a moment ago, and has failed.
func (c *Core) ShouldAsk(now time.Duration) bool {
	c.renew(now) // there may be nobody to ask
	return !c.gate.Leased(now) && !c.lastAskFailed(now)
}

// AskFailed says that the others were asked, and that not all have answered in
// time. If as many have as usual, that is a lease.
func (c *Core) AskFailed(now time.Duration) Todo {
	c.lastAsk = max(now, 1)
	c.renew(now)
	return Todo{Unleased: !c.gate.Leased(now)}
}

// Resumed says that this process was not running for a while: whatever it heard
// before is too old to serve by, and copies may have moved.
func (c *Core) Resumed(now time.Duration) Todo {
	c.gate.lease.Store(0)
	c.lastAsk = 0
	c.history.distrust(now)
	var todo Todo
	for id, p := range c.peers {
		p.heard = 0
		todo.Beat = append(todo.Beat, id)
	}
	slices.SortFunc(todo.Beat, member.ID.Compare)
	c.renew(now)
	return todo
}

// countStable keeps the account of what the whole cluster is.
func (c *Core) countStable() {
	for _, m := range c.view.Members {
		if m.Role != member.RoleNode {
			continue
		}
		now := c.view.Named(m.Name)
		switch {
		case m.Serves():
			c.stable[m.Name] = true
		case (m.Left || m.State == member.StateLeaving) && (now == nil || now == m):
			delete(c.stable, m.Name) // it has said good-bye
		}
	}
}

// settleMembership shrinks the whole cluster to the present view once a
// majority has seen it unchanged for a while: nodes that never came back no
// longer count.
func (c *Core) settleMembership(now time.Duration) {
	if !c.history.settled(now) {
		return
	}
	for p := range c.parts {
		if c.parts[p].unsure.any() {
			c.setUnsure(p, unsure{}) // who had the copies is not coming back
		}
	}
	nodes := c.view.Nodes()
	if len(nodes) <= len(c.stable)/2 || len(nodes) == len(c.stable) {
		return
	}
	c.stable = make(map[string]bool, len(nodes))
	for _, m := range nodes {
		c.stable[m.Name] = true
	}
}

// SplitSuspected says whether fewer than half of the cluster's nodes are in the
// view: more likely a cut network than so many deaths.
func (c *Core) SplitSuspected() bool { return 2*len(c.view.Nodes()) < len(c.stable) }

// isAlone says whether this member sees no other node, and one may be alive.
func (c *Core) isAlone() bool {
	return len(c.view.Others(c.self)) == 0 && slices.ContainsFunc(c.view.Members, func(m *member.Member) bool {
		return m.ID != c.self && m.Role == member.RoleNode && !m.Left && !c.view.HasEnded(m.ID)
	})
}

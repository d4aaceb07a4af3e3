package ownership

import (
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// touchTime is how long before it was found to have ended an elector must have
// answered for those who are left to know that nothing was decided without
// them: names are added only by all electors that have not ended, and one that
// is silent is left out only after stableAfter.
const touchTime = 10 * time.Second

// quorum is this member's part in saying who counts, in mode Majority.
//
// Each Roster is decided by the electors of the one before, by Paxos (Lamport,
// "The Part-Time Parliament", 1998): a proposer lets a majority promise to
// refuse older ballots and say what they have accepted (Prepare), proposes
// that, or what it wants if they have accepted nothing, and has it decided when
// a majority has accepted it (Accept). There is one decision for each version.
// Heartbeats tell everybody.
//
// What is decided may differ from what was before in any way, for three rules
// keep users of the old Roster and of the new one apart:
//
//   - Who has accepted a Roster gives no lease and no consent to members that
//     do not know it. So from the decision on nobody can use the old one
//     any more, but by what was given before, for PromiseTime at most.
//   - For PromiseTime after it has learned of a Roster, a member needs a
//     majority of it and of the one before.
//   - Who has learned of a Roster votes for the next one only after that time.
//
// A process forgets when it ends. So electors are boots, and one whose process
// has ended for sure counts for nobody, PromiseTime later, when what it had
// given is over: see enough.
type quorum struct {
	expect      int // see Config.Expect
	now, before Roster
	since       time.Duration // when now was learned

	// As an elector.
	promised   Ballot // older ones are refused
	by         Ballot // of what was accepted
	accepted   Roster // may follow now; zero for none
	acceptedAt time.Duration

	// As a proposer.
	round  uint64 // the highest that is known
	asking bool   // a proposal is under way
	wants  time.Duration
	retry  time.Duration // nothing is proposed before

	// lost are electors that take no part, and seen is what this member has
	// seen of electors.
	lost map[member.ID]lost
	seen map[member.ID]seen
}

// seen is what a member has seen of an elector.
type seen struct {
	address  string        // of its peer port
	answered time.Duration // when the newest heartbeat that it has answered was sent, 0 for never
}

// lost is what is known of an elector that takes no part.
type lost struct {
	since time.Duration
	// ended says that its process has ended for sure, near that it had answered
	// shortly before.
	ended, near bool
}

// Rosters returns who counts, as heartbeats tell it; none in mode Available.
func (c *Core) Rosters() Rosters { return Rosters{c.quorum.now, c.quorum.before} }

// RosterVersion is the version of the Roster that is in force as far as
// is known here.
func (c *Core) RosterVersion() uint64 { return c.quorum.now.Version }

// SetRoster takes in that a peer knows a Roster of a version, and what it says
// of it if that is newer than what is known here.
func (c *Core) SetRoster(now time.Duration, from member.ID, version uint64, r Rosters) Todo {
	if p := c.peers[from]; p != nil {
		p.roster = version
	}
	if c.mode != Majority {
		return Todo{}
	}
	todo := c.learn(now, r)
	if version > c.quorum.now.Version {
		todo.Beat = append(todo.Beat, from) // whose answer tells it
	}
	return todo
}

// learn takes in a Roster that was decided.
func (c *Core) learn(now time.Duration, r Rosters) (todo Todo) {
	q := &c.quorum
	if !r.Now.after(q.now) {
		return todo
	}
	if r.Now.Version > q.now.Version+epochStep { // no honest one is so far ahead
		return Todo{FarEpoch: true}
	}
	q.now, q.before, q.since = r.Now, r.Before, now
	q.promised, q.by, q.accepted = Ballot{}, Ballot{}, Roster{}
	q.asking, q.wants, q.retry = false, 0, 0
	c.noteLost(now)
	c.renew(now)
	todo.Round = true
	for id := range c.peers {
		todo.Beat = append(todo.Beat, id)
	}
	slices.SortFunc(todo.Beat, member.ID.Compare)
	return todo
}

// fresh says whether this member has learned of its Roster so lately that what
// was given by the one before may count.
func (q *quorum) fresh(now time.Duration) bool {
	return q.before.Version > 0 && now-q.since < PromiseTime
}

// known is the version that a member must know to be given a lease or consent.
func (q *quorum) known() uint64 {
	if q.accepted.Version > 0 {
		return q.accepted.Version
	}
	return q.now.Version
}

// counts says whether this member may give another a lease or its consent: that
// one knows of all Rosters that this one has agreed to.
func (c *Core) counts(from member.ID) bool {
	if c.mode != Majority || planted.Is(planted.OldRoster) {
		return true
	}
	p := c.peers[from]
	return p != nil && p.roster >= c.quorum.known()
}

// noteLost keeps account of electors that take no part.
func (c *Core) noteLost(now time.Duration) {
	q := &c.quorum
	for _, r := range [...]Roster{q.now, q.before} {
		for _, id := range r.Electors {
			c.noteElector(now, id)
		}
	}
	for id := range q.seen {
		if !q.now.Has(id) && !q.before.Has(id) {
			delete(q.lost, id)
			delete(q.seen, id)
		}
	}
}

func (c *Core) noteElector(now time.Duration, id member.ID) {
	q := &c.quorum
	l, known := q.lost[id]
	s := q.seen[id]
	if m := c.view.Member(id); m != nil {
		s.address = m.Peer
	}
	q.seen[id] = s
	switch ended := c.view.Replaced(id, s.address); {
	case id == c.self, !ended && !l.ended && (c.view.Up(id) || c.vouches(now, id)):
		delete(q.lost, id)
	case !known || ended && !l.ended:
		q.lost[id] = lost{since: now, ended: ended, near: ended && s.answered > 0 && now-s.answered < touchTime}
	}
}

// endedFor says whether the process of an elector has ended for sure, and so
// long ago that nothing that it gave counts.
func (q *quorum) endedFor(now time.Duration, id member.ID) (l lost, ended bool) {
	l = q.lost[id]
	return l, l.ended && now-l.since >= PromiseTime
}

// enough says whether electors, those for whom yes is true, decide for all of a
// Roster: more than half do. Any two such sets have an elector in common, who
// does not agree to both.
//
// The others may have ended. Whatever one of them agreed to is forgotten, but
// a set of them alone that decided something was more than half; so half
// suffices if one has ended. And if all others have, each of them having
// answered here until then and no proposal being under way, those who are left
// know all that was decided.
func (c *Core) enough(now time.Duration, r Roster, yes func(member.ID) bool) bool {
	votes, ended, near := 0, 0, 0
	for _, id := range r.Electors {
		l, gone := c.quorum.endedFor(now, id)
		switch {
		case yes(id):
			votes++
		case gone:
			ended++
			if l.near {
				near++
			}
		}
	}
	n := len(r.Electors)
	switch {
	case votes == 0:
		return false
	case votes >= r.majority(), ended > 0 && 2*votes >= n:
		return true
	default:
		return votes+near == n && !c.Undecided() && c.inTouch(now)
	}
}

// Undecided says whether this member has promised its vote to a proposer, and
// has not heard what came of it.
func (c *Core) Undecided() bool {
	q := &c.quorum
	return q.promised.Round != 0 && q.promised.By != c.self || q.by.Round != 0 && q.by.By != c.self
}

// inTouch says whether all members that take part have answered lately, so that
// a newer Roster that one of them knows is known here.
func (c *Core) inTouch(now time.Duration) bool {
	return !slices.ContainsFunc(c.view.Others(c.self), func(m *member.Member) bool { return !c.answers(now, m.ID) })
}

// answers says whether a peer has answered a heartbeat lately.
func (c *Core) answers(now time.Duration, id member.ID) bool {
	p := c.peers[id]
	return p != nil && p.answered > 0 && now-p.answered < LeaseTime
}

// agreed says whether those for whom yes is true decide in mode Majority at
// this moment. This member's own word counts with theirs.
func (c *Core) agreed(now time.Duration, yes func(member.ID) bool) bool {
	q := &c.quorum
	with := func(id member.ID) bool {
		if id == c.self {
			return q.accepted.Version == 0 // what it has accepted it does not use yet
		}
		return yes(id)
	}
	return c.enough(now, q.now, with) && (!q.fresh(now) || c.enough(now, q.before, with))
}

// leasedUntil is until when this member has a lease by a majority.
func (c *Core) leasedUntil(now time.Duration) time.Duration {
	heard := []time.Duration{max(now, 1)} // its own word
	for _, p := range c.peers {
		heard = append(heard, p.heard)
	}
	slices.Sort(heard)
	slices.Reverse(heard)
	for _, since := range heard {
		if since == 0 {
			break
		}
		if c.agreed(now, func(id member.ID) bool { p := c.peers[id]; return p != nil && p.heard >= since }) {
			return since + LeaseTime
		}
	}
	return 0
}

// wanted is the Roster that should follow: those who take part, and those who
// have been silent for a short time only. all says whether names may be added.
// None follows of which most would be missing; who wants to leave stays until
// one can.
func (c *Core) wanted(now time.Duration, all bool) Roster {
	for _, leave := range [...]bool{true, false} {
		r := c.next(now, all, leave)
		here := 0
		for _, id := range r.Electors {
			if c.isHere(now, id) {
				here++
			}
		}
		if here >= r.majority() {
			return r
		}
	}
	return c.quorum.now
}

// next is the Roster that follows from what is seen, with those who are leaving
// or without.
func (c *Core) next(now time.Duration, all, leave bool) Roster {
	q := &c.quorum
	r := Roster{Version: q.now.Version + 1}
	for _, id := range q.now.Electors {
		m := c.view.Member(id)
		newer := c.view.Named(id.Name)
		l, lost := q.lost[id]
		switch {
		case m != nil && (m.Left || leave && m.State == member.StateLeaving):
			continue // this boot says good-bye
		case newer != nil && newer.ID != id && newer.Serves() && c.isHere(now, newer.ID):
			id = newer.ID
		case lost && now-l.since >= stableAfter:
			continue
		}
		r.Electors = append(r.Electors, id)
	}
	for _, m := range c.view.Nodes() {
		if _, known := r.named(m.Name); !known && all && c.isHere(now, m.ID) && len(r.Electors) < maxElectors {
			r.Electors = append(r.Electors, m.ID)
		}
	}
	slices.SortFunc(r.Electors, member.ID.Compare)
	return r
}

// isHere says whether a boot is this member, or takes part and answers.
func (c *Core) isHere(now time.Duration, id member.ID) bool {
	return id == c.self || c.view.Up(id) && c.answers(now, id)
}

// MayLeave says whether this member can end without leaving others behind that
// wait for its vote: it does not count, or nobody stays. One that stands still or
// is cut off stays: when it goes on it could not tell what was decided without it.
// So does one that has just started and does not count yet, for without those who
// do it never would.
func (c *Core) MayLeave() bool {
	q := &c.quorum
	return !q.now.Has(c.self) || !slices.ContainsFunc(c.view.Members, func(m *member.Member) bool {
		counts := m.Up && m.Role == member.RoleNode || q.now.Has(m.ID)
		return counts && m.ID != c.self && m.State != member.StateLeaving && !c.view.HasEnded(m.ID)
	})
}

// pendingFor is how long an elector waits for news of what it has accepted
// before it proposes that itself, and retryAfter how long a proposer waits that
// was not answered by enough.
const (
	pendingFor = 500 * time.Millisecond
	retryAfter = 500 * time.Millisecond
)

// propose begins a Proposal if one is due: others would do the same if this
// member does not, each later than the one before it.
func (c *Core) propose(now time.Duration) *Proposal {
	q := &c.quorum
	switch {
	case c.mode != Majority || q.asking || now < q.retry:
		return nil
	case q.now.Version == 0:
		return c.found(now)
	case !q.now.Has(c.self) || q.fresh(now), !c.enough(now, q.now, func(id member.ID) bool { return c.isHere(now, id) }):
		return nil
	}
	pending := q.accepted.Version > 0
	if !pending && c.wanted(now, true).same(q.now) {
		q.wants = 0
		return nil
	}
	if q.wants == 0 {
		q.wants = max(now, 1)
	}
	wait := time.Duration(c.rank()) * LeaseTime
	if pending {
		wait += pendingFor
	}
	if now-q.wants < wait {
		return nil
	}
	q.round = max(q.round, q.promised.Round) + 1
	q.promised, q.asking = Ballot{q.round, c.self}, true
	return &Proposal{Step: Prepare, Version: q.now.Version, Ballot: q.promised, Asked: c.electors(), began: now}
}

// rank is this member's place among the electors that take part.
func (c *Core) rank() (n int) {
	for _, id := range c.quorum.now.Electors {
		if id.Compare(c.self) < 0 && c.view.Up(id) {
			n++
		}
	}
	return n
}

// electors are those to ask beside this member.
func (c *Core) electors() []member.ID {
	return slices.DeleteFunc(slices.Clone(c.quorum.now.Electors), func(id member.ID) bool { return id == c.self })
}

// found proposes the first Roster: expect members, who see each other and know
// of none. Unlike later ones it must be accepted by all of them, in time.
func (c *Core) found(now time.Duration) *Proposal {
	q := &c.quorum
	all := []member.ID{c.self}
	for id, p := range c.peers {
		if c.view.Up(id) && p.roster == 0 && c.answers(now, id) {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, member.ID.Compare)
	if q.expect < 2 || len(all) < q.expect || len(all) > maxElectors || all[0] != c.self || q.taken(now) {
		return nil
	}
	q.round++
	q.asking = true
	q.by, q.accepted, q.acceptedAt = Ballot{q.round, c.self}, Roster{1, all}, now
	return &Proposal{Step: Found, Ballot: q.by, Roster: q.accepted, Asked: all[1:], began: now}
}

// taken says whether a first Roster was accepted that may still come about.
func (q *quorum) taken(now time.Duration) bool {
	return q.accepted.Version > 0 && now-q.acceptedAt < PromiseTime
}

// Vote answers a proposer.
func (c *Core) Vote(now time.Duration, from member.ID, p Proposal) (Vote, Todo) {
	q := &c.quorum
	var v Vote
	var todo Todo
	switch {
	case c.mode != Majority:
	case p.Version != q.now.Version:
		todo.Beat = append(todo.Beat, from) // one of the two has something to learn
	case p.Step == Found:
		v.Yes = !q.taken(now) || q.by == p.Ballot
		if v.Yes {
			q.by, q.accepted, q.acceptedAt = p.Ballot, p.Roster, now
		}
	case q.now.Version == 0, !q.now.Has(c.self), q.fresh(now), q.promised.Newer(p.Ballot):
	default:
		v.Yes, q.promised = true, p.Ballot
		v.By, v.Accepted = q.by, q.accepted
		if p.Step == Accept {
			q.by, q.accepted, q.acceptedAt = p.Ballot, p.Roster, now
			q.wants = max(now, 1)
		}
	}
	v.Promised = q.promised
	return v, todo
}

// Count takes in the votes of those that a Proposal has Asked, nil for one that
// was silent: it goes on to the next step, or the Roster is in force, or
// it was refused, and something is proposed again after a pause.
func (c *Core) Count(now time.Duration, p *Proposal, votes []*Vote) (todo Todo) {
	q := &c.quorum
	if p.Version != q.now.Version || !q.asking {
		return todo // decided by another's
	}
	q.asking, q.retry = false, now+retryAfter
	if now-p.began > settleTime { // such as frozen meanwhile: who has voted may have ended
		votes = make([]*Vote, len(p.Asked))
	}
	yes := map[member.ID]bool{c.self: true}
	for i, v := range votes {
		if v == nil {
			continue
		}
		q.round = max(q.round, v.Promised.Round)
		yes[p.Asked[i]] = v.Yes
	}
	all := !slices.ContainsFunc(p.Asked, func(id member.ID) bool { _, ended := q.endedFor(now, id); return !yes[id] && !ended })
	if p.Step == Found {
		if !all || q.by != p.Ballot {
			if q.by == p.Ballot {
				q.accepted = Roster{}
			}
			return todo
		}
		return c.learn(now, Rosters{Now: p.Roster})
	}
	if q.promised != p.Ballot || !c.enough(now, q.now, func(id member.ID) bool { return yes[id] }) {
		return todo
	}
	if p.Step == Accept {
		return c.learn(now, Rosters{p.Roster, q.now})
	}
	next, by := q.accepted, q.by
	for i, v := range votes {
		if v != nil && yes[p.Asked[i]] && v.By.Newer(by) {
			next, by = v.Accepted, v.By
		}
	}
	if next.Version == 0 {
		next = c.wanted(now, all)
	}
	if next.same(q.now) {
		return todo
	}
	q.asking = true
	q.by, q.accepted, q.acceptedAt = p.Ballot, next, now
	todo.Propose = &Proposal{Step: Accept, Version: p.Version, Ballot: p.Ballot, Roster: next, Asked: p.Asked, began: now}
	return todo
}

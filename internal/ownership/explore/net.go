package explore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// kind is what a message is.
type kind uint8

const (
	ping kind = iota + 1
	pong
	claim
	answer
	copied    // a write, on its way to a holder
	confirmed // that the holder has it
	propose
	vote
	over // a claim was given up
)

// message is on its way. It is not changed.
type message struct {
	num      int // by which scenarios know it, 0 until they have to
	kind     kind
	from, to who
	at       time.Duration // ping and pong: when the ping was sent

	ring   string            // ping and pong
	hash   uint64            // ping
	claims []ownership.Claim // pong; nil if the asker knows the same
	lease  bool              // pong
	roster uint64            // ping and pong: the version known
	known  ownership.Rosters // pong; none if the asker knows the same
	doubts []byte            // ping and pong

	request ownership.Request  // claim
	epoch   uint64             // answer
	answers []ownership.Answer // answer

	part int    // copied and confirmed
	set  uint16 // copied and confirmed

	over ownership.Over // over

	proposal ownership.Proposal // propose
	ballot   ownership.Ballot   // vote
	step     ownership.Step     // vote
	vote     ownership.Vote     // vote
}

func (w *World) String() string { return w.Messages() }

// Messages lists what is in flight.
func (w *World) Messages() string {
	var b strings.Builder
	for _, m := range w.msgs {
		fmt.Fprintf(&b, "%d: %v\n", m.num, m)
	}
	return b.String()
}

func (m *message) String() string {
	route := Names[m.from.name] + " to " + Names[m.to.name]
	switch m.kind {
	case ping:
		return "heartbeat of " + route
	case pong:
		s := "heartbeat's answer of " + route
		if m.lease {
			s += ", a lease"
		} else {
			s += ", no lease"
		}
		if m.claims != nil {
			s += ", with claims"
		}
		return s
	case claim:
		var asked []string
		for _, id := range m.request.Asked {
			asked = append(asked, id.Name)
		}
		return fmt.Sprintf("claim of %s, epoch %d of %v, asked are %s", route, m.request.Epoch, m.request.Parts, strings.Join(asked, ", "))
	case answer:
		return fmt.Sprintf("answer of %s to epoch %d: %s", route, m.epoch, spell(m.answers))
	case over:
		return fmt.Sprintf("word of %s that epoch %d is given up", route, m.over.Epoch)
	case propose:
		return fmt.Sprintf("proposal of %s, %s", route, spellProposal(&m.proposal))
	case vote:
		return fmt.Sprintf("vote of %s on ballot %d: %s", route, m.ballot.Round, spellVote(m.vote))
	case copied:
		return fmt.Sprintf("copy of %s, writes %s", route, setOf(m.set))
	default:
		return fmt.Sprintf("confirmation of %s, writes %s", route, setOf(m.set))
	}
}

func spell(answers []ownership.Answer) string {
	var all []string
	for _, a := range answers {
		s := a.Status.String()
		switch {
		case a.Status.Agrees():
			s += fmt.Sprintf(", holds %d", a.Count)
		case a.Claimant != "":
			s += fmt.Sprintf(", %s's epoch %d stands", a.Claimant, a.Epoch)
		default:
			s += fmt.Sprintf(", epoch %d", a.Epoch)
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

func spellProposal(p *ownership.Proposal) string {
	what := "to prepare"
	if p.Step != ownership.Prepare {
		what = spellRoster(p.Roster)
	}
	return fmt.Sprintf("ballot %d, %s", p.Ballot.Round, what)
}

func spellRoster(r ownership.Roster) string {
	return fmt.Sprintf("roster %d of %s", r.Version, strings.Join(spellIDs(r.Electors), ", "))
}

func spellIDs(ids []member.ID) (all []string) {
	for _, id := range ids {
		all = append(all, id.String())
	}
	return all
}

func spellVote(v ownership.Vote) string {
	switch {
	case !v.Yes:
		return fmt.Sprintf("no, ballot %d stands", v.Promised.Round)
	case v.Accepted.Version > 0:
		return "yes, and has accepted " + spellRoster(v.Accepted)
	default:
		return "yes"
	}
}

// setOf writes a set of writes.
func setOf(set uint16) string {
	var all []string
	for i := range 16 {
		if set&(1<<i) != 0 {
			all = append(all, fmt.Sprint(i+1))
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ",")
}

// send puts a message into the network.
func (w *World) send(m message) *message {
	w.msgs = append(w.msgs, &m)
	return &m
}

// number gives each message in flight a number. Most heartbeats never need one.
func (w *World) number() {
	for i, m := range w.msgs {
		if m.num == 0 {
			w.sent++
			n := *m
			n.num = w.sent
			w.msgs[i] = &n
		}
	}
}

// mayArrive says whether a message can be delivered at this moment.
func (w *World) mayArrive(m *message) bool {
	to := w.procs[m.to.name]
	if w.stalled[m.from.name]&(1<<m.to.name) != 0 || to.frozen || w.cfg.Ordered && w.behind(m) {
		return false
	}
	return to.boot != m.to.boot || !to.up || to.admits(m.from)
}

// behind says whether an earlier message is on the same way.
func (w *World) behind(m *message) bool {
	first := slices.IndexFunc(w.msgs, func(n *message) bool { return n.from == m.from && n.to == m.to })
	return w.msgs[first] != m
}

// take takes a message out of the network.
func (w *World) take(m *message) {
	w.msgs = slices.DeleteFunc(w.msgs, func(n *message) bool { return n == m })
}

// arrive gives a message to its receiver, if that boot still runs.
func (w *World) arrive(m *message) {
	to := w.procs[m.to.name]
	if !to.up || to.boot != m.to.boot {
		w.sayf("%v is gone", m.to)
		return
	}
	to = w.edit(int(m.to.name))
	switch m.kind {
	case ping:
		w.pinged(to, m)
	case pong:
		w.ponged(to, m)
	case claim:
		w.claimed(to, m)
	case answer:
		w.answered(to, m)
	case copied:
		to.store[m.part] |= m.set
		w.sayf("%s holds writes %s", Names[to.name], setOf(to.store[m.part]))
		w.send(message{kind: confirmed, from: m.to, to: m.from, part: m.part, set: m.set})
	case confirmed:
		w.confirm(to, m.part, m.set)
	case over:
		w.do(to, to.core.GivenUp(w.now, m.from.id(), m.over))
	case propose:
		v, todo := to.core.Vote(w.now, m.from.id(), m.proposal)
		w.sayf("%s votes on %s's ballot %d: %s", Names[to.name], Names[m.from.name], m.proposal.Ballot.Round, spellVote(v))
		w.do(to, todo)
		w.send(message{kind: vote, from: m.to, to: m.from, ballot: m.proposal.Ballot, step: m.proposal.Step, vote: v})
	case vote:
		w.voted(to, m)
	}
}

// Beat sends a heartbeat from i to j, and brings it and its answer at once as
// far as they get.
func (w *World) Beat(i, j int) {
	p := w.procs[i]
	s := p.sees[j]
	if p.due&(1<<j) != 0 {
		p = w.edit(i)
		p.due &^= 1 << j
	}
	waits := func(m *message) bool {
		return m.kind == ping && m.from == p.who && int(m.to.name) == j || m.kind == pong && m.to == p.who && int(m.from.name) == j
	}
	q := w.procs[j]
	ended := s.standing == unknown || s.standing == left || q.boot != s.boot || !q.up
	if i == j || !p.running() || ended || slices.ContainsFunc(w.msgs, waits) {
		return
	}
	gate := p.core.Gate()
	m := w.send(message{kind: ping, from: p.who, to: who{uint8(j), s.boot}, at: w.now, ring: p.core.View().Table.Fingerprint(), hash: gate.ClaimsHash(), roster: p.core.RosterVersion(), doubts: p.core.Doubts()})
	if !w.mayArrive(m) {
		if w.stalled[i]&(1<<j) == 0 && !q.frozen && !(w.cfg.Ordered && w.behind(m)) {
			w.take(m) // there is no connection
		}
		return
	}
	w.take(m)
	w.arrive(m)
	w.flush()
}

// flush delivers the answers to heartbeats, and heartbeats, that can arrive.
func (w *World) flush() {
	for i := 0; i < len(w.msgs); i++ {
		if m := w.msgs[i]; (m.kind == ping || m.kind == pong) && w.mayArrive(m) {
			w.take(m)
			w.arrive(m)
			i = -1
		}
	}
}

func (w *World) pinged(p *proc, m *message) {
	first := p.core.SetRoster(w.now, m.from.id(), m.roster, ownership.Rosters{})
	lease, differ, todo := p.core.Pinged(w.now, m.from.id(), m.ring, m.hash)
	a := message{kind: pong, from: m.to, to: m.from, at: m.at, ring: p.core.View().Table.Fingerprint(), lease: lease, roster: p.core.RosterVersion(), doubts: p.core.Doubts()}
	if a.roster > m.roster {
		a.known = p.core.Rosters()
	}
	if differ {
		for part := range w.cfg.Partitions {
			a.claims = append(a.claims, p.core.Holder(part))
		}
	}
	w.hearDoubts(p, m)
	w.send(a)
	w.do(p, first)
	w.do(p, todo)
}

func (w *World) hearDoubts(p *proc, m *message) {
	if err := p.core.HearDoubts(m.from.id(), m.doubts); err != nil {
		panic(err) // the other core has written them
	}
}

func (w *World) ponged(p *proc, m *message) {
	i, j := m.to.name, m.from.name
	if w.now-m.at > beatTimeout {
		return // nobody waits for it any more
	}
	w.met(int(i), int(j))
	before := p.core.RosterVersion()
	w.do(p, p.core.SetRoster(w.now, m.from.id(), m.roster, m.known))
	if r := p.core.Rosters().Now; r.Version != before {
		w.sayf("%s learns of %s", Names[i], spellRoster(r))
	}
	var table *ownership.Table
	if m.claims != nil {
		table = &w.views.table // whose other partitions nobody looks at
		copy(table[:], m.claims)
	}
	p.heard |= 1 << j
	if m.lease {
		p.early = m.at < p.opened
	}
	p.core.Reached(m.at, m.from.id())
	w.do(p, p.core.Ponged(w.now, m.at, m.from.id(), m.ring, table, m.lease))
	w.hearDoubts(p, m)
}

// met notes that i has heard from j, and sees it: what i did not know of the
// other side of a cut it knows now.
func (w *World) met(i, j int) {
	if w.linked(i, j) && w.procs[i].sees[j].standing == up {
		w.parted[i] &^= 1 << j
	}
}

// Claim starts a round of claims at a member.
func (w *World) Claim(i int) error {
	if !w.procs[i].running() {
		return w.not("claim %s", Names[i])
	}
	p := w.edit(i)
	todo, complete := p.core.Round(w.now)
	p.wants = !complete
	if todo.Claim == nil && !complete {
		w.sayf("%s may not claim", Names[i])
	}
	w.do(p, todo)
	return nil
}

// startRound sends a claim to its voters.
func (w *World) startRound(p *proc, r *ownership.Round) {
	var asked []string
	for _, id := range r.Asked {
		asked = append(asked, id.Name)
		w.send(message{kind: claim, from: p.who, to: whoIs(id), request: r.Request})
	}
	w.sayf("%s claims %v with epoch %d, asks %s", Names[p.name], r.Parts, r.Epoch, orNobody(asked))
	p.rounds = append(p.rounds, &round{Round: r, began: w.now, answers: make([][]ownership.Answer, len(r.Asked))})
	w.settleIf(p, p.rounds[len(p.rounds)-1])
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// claimed answers a claim: close, then sums, then answer, in one step.
func (w *World) claimed(p *proc, m *message) {
	j, todo := p.core.Judge(w.now, m.from.id(), m.request)
	w.do(p, todo)
	var sums []ownership.Sum
	for _, part := range j.Unsummed() {
		sums = append(sums, w.sum(p, part))
	}
	j.SetSums(sums)
	answers, _ := p.core.Answer(w.now, j)
	w.sayf("%s answers %s: %s", Names[p.name], Names[m.from.name], spell(answers))
	w.send(message{kind: answer, from: m.to, to: m.from, epoch: m.request.Epoch, answers: answers})
}

func (w *World) sum(p *proc, part int) ownership.Sum {
	count := uint32(0)
	for set := p.store[part]; set != 0; set &= set - 1 {
		count++
	}
	return ownership.Sum{Digest: uint64(p.store[part]), Count: count, Known: p.busy&(1<<part) == 0}
}

// answered takes in an answer to a claim; the last one settles it.
func (w *World) answered(p *proc, m *message) {
	for i, r := range p.rounds {
		at := slices.Index(r.Asked, m.from.id())
		if r.Epoch != m.epoch || at < 0 || r.answers[at] != nil {
			continue
		}
		s := *r
		s.answers = slices.Clone(r.answers)
		s.answers[at] = m.answers
		p.rounds[i] = &s
		w.settleIf(p, &s)
		return
	}
}

// settleIf settles a claim that all have answered.
func (w *World) settleIf(p *proc, r *round) {
	if !slices.ContainsFunc(r.answers, func(a []ownership.Answer) bool { return a == nil }) {
		w.settle(p, r)
	}
}

// maySettle says whether the claimant waits for nobody any more: who is missing
// has ended, or has no connection and is given up by gossip, or the time is up.
func (w *World) maySettle(p *proc, r *round) bool {
	if !p.running() || w.now-r.began >= ownership.ClaimTimeout {
		return p.running()
	}
	for k, id := range r.Asked {
		if r.answers[k] == nil && !w.isLost(p, id) {
			return false
		}
	}
	return true
}

// Settle settles a claim that not all have answered.
func (w *World) Settle(i int, epoch uint64) error {
	at := slices.IndexFunc(w.procs[i].rounds, func(r *round) bool { return r.Epoch == epoch })
	if at < 0 || !w.maySettle(w.procs[i], w.procs[i].rounds[at]) {
		return w.not("settle %s's epoch %d", Names[i], epoch)
	}
	p := w.edit(i)
	w.settle(p, p.rounds[at])
	return nil
}

func (w *World) settle(p *proc, r *round) {
	p.rounds = slices.DeleteFunc(p.rounds, func(s *round) bool { return s.Epoch == r.Epoch })
	var sums []ownership.Sum
	for _, part := range r.Parts {
		sums = append(sums, w.sum(p, part))
	}
	p.core.SetMissing(w.now, w.missing(p))
	todo := p.core.Settle(w.now, r.Round, r.answers, sums)
	for _, o := range todo.Open {
		p.opened, p.lacked[o.Partition] = w.now, w.lacked(r)
	}
	if len(todo.Open) == 0 {
		w.sayf("%s gives its claim up, epoch %d", Names[p.name], r.Epoch)
	}
	w.do(p, todo)
}

// lacked says whose consent a claim did not have.
func (w *World) lacked(r *round) (l lack) {
	consents := 1
	for k, id := range r.Asked {
		voter := w.procs[whoIs(id).name]
		switch {
		case r.answers[k] != nil:
			consents++
		case voter.up && voter.id() == id:
			l |= ofSilent
		default:
			l |= ofEnded
		}
	}
	if 2*consents <= w.size() {
		l |= ofMajority
	}
	return l
}

// size is of how many the cluster consists: those that started and have not
// said good-bye.
func (w *World) size() (n int) {
	for _, p := range w.procs {
		if p.boot > 0 && !p.left && p.state != member.StateLeaving {
			n++
		}
	}
	return n
}

// startProposal sends a proposal to those that it asks.
func (w *World) startProposal(p *proc, prop *ownership.Proposal) {
	w.sayf("%s proposes, %s", Names[p.name], spellProposal(prop))
	for _, id := range prop.Asked {
		w.send(message{kind: propose, from: p.who, to: whoIs(id), proposal: *prop})
	}
	p.proposal = &proposal{Proposal: prop, began: w.now, votes: make([]*ownership.Vote, len(prop.Asked))}
	w.countIf(p)
}

// voted takes in a vote; the last one decides.
func (w *World) voted(p *proc, m *message) {
	r := p.proposal
	if r == nil || r.Ballot != m.ballot || r.Step != m.step {
		return
	}
	at := slices.Index(r.Asked, m.from.id())
	if at < 0 || r.votes[at] != nil {
		return
	}
	s := *r
	s.votes = slices.Clone(r.votes)
	s.votes[at] = &m.vote
	p.proposal = &s
	w.countIf(p)
}

// countIf counts the votes if all are there.
func (w *World) countIf(p *proc) {
	if !slices.Contains(p.proposal.votes, nil) {
		w.count(p)
	}
}

// mayCount says whether the proposer waits for nobody any more.
func (w *World) mayCount(p *proc) bool {
	r := p.proposal
	if r == nil || !p.running() || w.now-r.began >= ownership.ClaimTimeout {
		return r != nil && p.running()
	}
	for k, id := range r.Asked {
		if r.votes[k] == nil && !w.isLost(p, id) {
			return false
		}
	}
	return true
}

// isLost says whether a member waits no more for a boot: it has ended, or has
// no connection and is given up by gossip.
func (w *World) isLost(p *proc, id member.ID) bool {
	q := w.procs[whoIs(id).name]
	return !q.up || q.id() != id || !w.talks(int(p.name), int(q.name)) && !p.core.View().Up(id)
}

func (w *World) count(p *proc) {
	r := p.proposal
	p.proposal = nil
	before := p.core.RosterVersion()
	todo := p.core.Count(w.now, r.Proposal, r.votes)
	switch now := p.core.Rosters().Now; {
	case now.Version != before:
		w.sayf("%s has decided %s", Names[p.name], spellRoster(now))
	case todo.Propose == nil:
		w.sayf("%s gives ballot %d up", Names[p.name], r.Ballot.Round)
	}
	w.do(p, todo)
}

// Count counts the votes of a proposal that not all have answered.
func (w *World) Count(i int) error {
	if !w.mayCount(w.procs[i]) {
		return w.not("count %s's votes", Names[i])
	}
	w.count(w.edit(i))
	return nil
}

// do does what a Core wants done.
func (w *World) do(p *proc, t ownership.Todo) {
	for _, part := range t.Close {
		p.open &^= 1 << part
		p.lacked[part] = 0
		w.sayf("%s closes %d", Names[p.name], part)
	}
	for _, o := range t.Open {
		p.open |= 1 << o.Partition
		w.sayf("%s opens %d%s", Names[p.name], o.Partition, w.opened(p, o))
	}
	for _, id := range t.Beat {
		p.due |= 1 << whoIs(id).name
	}
	p.wants = p.wants || t.Round || t.Later
	if t.FarEpoch {
		w.sayf("%s does not count an epoch that is too far off", Names[p.name])
	}
	if t.Unleased {
		w.sayf("%s has no lease", Names[p.name])
	}
	if t.Claim != nil {
		w.startRound(p, t.Claim)
	}
	if t.Over != nil {
		for _, id := range t.Over.Asked {
			w.send(message{kind: over, from: p.who, to: whoIs(id), over: ownership.Over{Epoch: t.Over.Epoch, Parts: t.Over.Parts}})
		}
	}
	if t.Propose != nil {
		w.startProposal(p, t.Propose)
	}
	if !w.cfg.Manual {
		w.beatDue(p)
	}
}

// beatDue sends the heartbeats that should be sent now.
func (w *World) beatDue(p *proc) {
	for j := range w.procs {
		if p.due&(1<<j) != 0 {
			w.Beat(int(p.name), j)
		}
	}
}

func (w *World) opened(p *proc, o ownership.Opened) (s string) {
	if d := p.core.Gate().Decide(o.Partition, w.now); d.Unverified {
		s += ", unverified"
	}
	if sources, _, fetching := p.core.Sources(o.Partition); fetching {
		s += ", to fetch from " + strings.Join(namesOf(sources), ", ")
	}
	return s
}

func namesOf(all []member.ID) (names []string) {
	for _, id := range all {
		names = append(names, id.Name)
	}
	return names
}

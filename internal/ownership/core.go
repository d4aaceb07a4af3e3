package ownership

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// Mode says what an owner does that cannot reach the others.
type Mode string

const (
	// Available serves on, and marks its answers as degraded. When the network
	// heals, both sides' writes are merged.
	Available Mode = "available"
	// Majority refuses unless it reaches a majority of those who count, so that
	// at most one side serves: see Roster.
	Majority Mode = "majority"
)

// Config is what a Core has to know from the start.
type Config struct {
	Self member.ID
	Mode Mode // default Available
	// Expect is how many members found a cluster in mode Majority: 1 founds
	// alone, and 0 waits until it is told of a Roster.
	Expect int
	// Partitions is how many there are, ring.Partitions by default. With fewer,
	// as when all that can happen is tried, the first ones count.
	Partitions int
}

// Core is one member's part in ownership. Times are the member's monotonic
// clock since some moment of its own; only durations are ever compared between
// members. It is not safe for concurrent use: its driver calls it under one
// lock, and does what the Todo says before it answers anybody.
type Core struct {
	self member.ID
	mode Mode
	gate *Gate
	view *member.View

	parts    []partition
	maxEpoch uint64
	// promisedAt is the newest of the partitions'; open says that some promise
	// may stand of which nothing has been heard.
	promisedAt time.Duration
	open       bool

	// peers are the nodes that this member has or had contact with.
	peers map[member.ID]*peer
	// granted says when this member last answered a boot's heartbeat, which
	// gave that boot a lease.
	granted map[member.ID]time.Duration

	// lastAsk is when the others were last asked and not all answered; 0 for
	// never.
	lastAsk time.Duration
	// stable are the nodes of which the whole cluster is held to consist: those
	// that are in the view, and those that vanished without a good-bye.
	stable map[string]bool
	// lastEnd is when this member last learned that a node's process had ended:
	// that one may have given a lease in its last moment.
	lastEnd time.Duration
	ended   map[member.ID]bool

	history history
	quorum  quorum
	missing []member.ID
	// contacts are with other nodes, also with those that have ended while they
	// are known to have served something.
	contacts map[member.ID]contact
	// unsures counts the partitions that are unsure here, and doubts those of
	// which another member has said so: heartbeats ask, and it is none.
	unsures, doubts int

	resigned bool         // it claims nothing any more
	anew     *member.View // in which unverified partitions were claimed anew
}

// peer is another node.
type peer struct {
	// heard is when the newest heartbeat was sent that it has answered with a
	// lease, 0 for never; answered is the same for any answer.
	heard, answered time.Duration
	ring            string        // fingerprint of its ring, as it last said
	roster          uint64        // version of its Roster, as it last said
	pulled          time.Duration // when it was last asked for its claims, because they differed
}

// partition is what this member knows of who serves one partition.
type partition struct {
	phase Phase
	// holder is the newest claim known to be in force: its claimant serves.
	holder Claim
	// promised is the newest claim that this member has agreed to. Its claimant
	// serves as soon as all voters have agreed; older ones are refused.
	promised   Claim
	promisedAt time.Duration
	// rivals are older claims, one of a claimant, that this member has agreed
	// to, the newest last: one of them may come into force even if nothing
	// comes of promised. The slice is never changed.
	rivals []promise
	// own is the epoch of the newest claim by which this member served the
	// partition.
	own uint64
	// kept is the epoch of the newest claim by which this member served the
	// partition, gave it up to another's, and knows that one to have come into
	// force.
	kept uint64
	// lost is the epoch of the newest claim by which this member served the
	// partition and was succeeded while it was out of touch.
	lost  uint64
	given given
	// dropped says that a copy was handed over and forgotten here, and
	// droppedAt when the last one was.
	dropped   bool
	droppedAt time.Duration
	// dropping says that this is happening now: until it is over, this member
	// does not claim the partition, and does not say what it has of it.
	dropping bool
	// sources are the holders whose copies differed when the claim was
	// answered, and giver is the owner who gave the partition up to it and had
	// all there was; the zero ID if nobody did.
	sources []member.ID
	giver   member.ID
	unsure
	// doubted is the claim by which another member serves the partition and may
	// not have all of it, as it has said.
	doubted Claim
}

// unsure says why it is not known whether there is more of a partition than is
// here: see Decision.Unverified.
type unsure struct {
	elsewhere bool // those who had the copies were out of reach when it was claimed
	unreached bool // no source has been reached since
}

func (u unsure) any() bool { return u.elsewhere || u.unreached }

// promise is a claim that was agreed to.
type promise struct {
	Claim
	at time.Duration
}

// promises are all claims that were agreed to and that are newer than the one
// in force, the newest first.
func (p *partition) promises() []promise {
	if !p.promised.Newer(p.holder) {
		return nil
	}
	all := append(slices.Clone(p.rivals), promise{p.promised, p.promisedAt})
	slices.Reverse(all)
	return all
}

// given is what a member had of a partition that it gave up to a claimant. It
// has it again if nothing comes of the claim.
type given struct {
	// to are the claims that this member has agreed to since, one of a claimant,
	// the newest last; none: nothing is given up. A claimant asks again where
	// it was refused elsewhere, and is told the same.
	to      []Claim
	epoch   uint64 // of the claim by which it was served
	phase   Phase
	sources []member.ID
	giver   member.ID
	unsure
}

// isTo says whether what was given up went to a claim, and its claimant was told
// what this member has.
func (g *given) isTo(claim Claim) bool { return slices.Contains(g.to, claim) }

// again records that this member has agreed to another claim of what it gave up.
func (g *given) again(claim Claim) {
	older := func(c Claim) bool { return c.By == claim.By }
	g.to = append(slices.DeleteFunc(slices.Clone(g.to), older), claim)
}

// leftAt is when the last copy was handed over; long before all that can be
// asked for if none was.
func (p *partition) leftAt() time.Duration {
	if !p.dropped {
		return -NeverLeft
	}
	return p.droppedAt
}

// Todo is what a step of the Core wants done. Its driver does it before it
// answers anybody, in this order, and the first two before it lets go of what
// keeps other steps out:
//
//  1. Close: from that moment no operation begins in these partitions.
//  2. Open.
//  3. All else, which can wait.
//
// Close, then digest, then answer is one step that nothing comes between: the
// digest in an answer to a claim must cover every write that was answered here.
type Todo struct {
	Close []int
	Open  []Opened
	// Claim is to be sent to all voters that it names.
	Claim *Round
	// Over is a claim that is given up: those that were asked are told, so that
	// they need not wait until their promise lapses.
	Over *Over
	// Propose is to be sent to all electors that it has Asked; their votes go
	// to Count.
	Propose *Proposal
	// Beat lists peers that should be sent a heartbeat now: the answer is
	// waited for, or brings news.
	Beat []member.ID
	// Round says that something has changed that may allow a claim: ask for a
	// round at once. Later says that a claim was refused, or may not be made
	// yet, and that nothing known here says when it may: ask after a pause.
	Round, Later bool
	// Succeeded counts partitions that turned out to have been claimed by
	// others while this member was out of touch. They are among those to close.
	Succeeded int
	// FarEpoch says that an epoch was heard of that is too far above all that
	// are known to count.
	FarEpoch bool
	// Unleased says that nobody answered an owner who asked for its lease.
	Unleased bool
}

// Opened is a partition that is served from now on.
type Opened struct {
	Partition int
	// Equal are the members whose copies were found equal.
	Equal []member.ID
	// Fetch says that others have more of it: see Core.Sources.
	Fetch bool
	// Absent are the members that had the copies, if none of them has answered:
	// what they held is lost unless one of them comes back.
	Absent []member.ID
}

// New returns the Core of a member that knows of nobody.
func New(cfg Config, empty *member.View) *Core {
	n := cmp.Or(cfg.Partitions, ring.Partitions)
	c := &Core{
		self: cfg.Self, mode: cmp.Or(cfg.Mode, Available), gate: newGate(cfg.Self, n), view: empty, parts: make([]partition, n),
		peers: make(map[member.ID]*peer), granted: make(map[member.ID]time.Duration), contacts: make(map[member.ID]contact), stable: make(map[string]bool),
		ended:  make(map[member.ID]bool),
		quorum: quorum{expect: cfg.Expect, lost: make(map[member.ID]lost), seen: make(map[member.ID]seen)},
	}
	if c.mode == Majority && cfg.Expect == 1 {
		c.quorum.now = Roster{1, []member.ID{c.self}}
	}
	c.gate.view.Store(empty)
	return c
}

// Gate is where readers ask.
func (c *Core) Gate() *Gate { return c.gate }

// View is the newest view that the Core was given.
func (c *Core) View() *member.View { return c.view }

// Claims returns the claims in force as far as is known here.
func (c *Core) Claims() *Table {
	t := new(Table)
	for p := range c.parts {
		t[p] = c.parts[p].holder
	}
	return t
}

// SetView takes in a new view.
func (c *Core) SetView(now time.Duration, view *member.View) Todo {
	c.view = view
	c.gate.view.Store(view)
	c.syncPeers()
	c.noteEnds(now)
	c.history.setView(now, view)
	c.noteMinority(now)
	c.countStable()
	c.gate.alone.Store(c.isAlone())
	c.noteLost(now)
	c.renew(now)
	return Todo{Round: true, Propose: c.propose(now)}
}

// noteEnds keeps account of nodes whose processes have ended.
func (c *Core) noteEnds(now time.Duration) {
	for _, m := range c.view.Members {
		if m.Role == member.RoleNode && c.view.HasEnded(m.ID) && !c.ended[m.ID] {
			c.ended[m.ID] = true
			c.lastEnd = max(now, 1)
		}
	}
	maps.DeleteFunc(c.ended, func(id member.ID, _ bool) bool { return c.view.Member(id) == nil || !c.view.HasEnded(id) })
}

// endedLately says whether a node has ended so lately that a lease that it gave
// may not be over.
func (c *Core) endedLately(now time.Duration) bool {
	return c.lastEnd != 0 && now-c.lastEnd < LeaseTime
}

// syncPeers has one peer for each other node that may be running. One that is
// gone or held for dead is kept, as it may come back, until gossip has
// forgotten it or its boot is known to have ended.
func (c *Core) syncPeers() {
	for _, m := range c.view.Members {
		if m.ID == c.self || m.Role != member.RoleNode {
			continue
		}
		newest := c.view.Named(m.Name)
		switch _, known := c.peers[m.ID]; {
		case m.Up && !known:
			c.peers[m.ID] = &peer{}
		case !m.Up && known && (m.Left || newest != nil && newest.ID != m.ID):
			delete(c.peers, m.ID)
		}
	}
	for id := range c.peers {
		if c.view.Member(id) == nil {
			delete(c.peers, id)
		}
	}
	c.forgetContacts()
}

// Missing is a node that takes no part and may be alive, frozen or cut off, as
// the members tell each other: one that has joined since has never seen it.
type Missing struct {
	ID    member.ID
	Since time.Duration // since this process's start; negative for before
}

// missingFor is how long a node counts as missing: as long as gossip remembers
// the dead. Who stays has taken it for lost before that, and moved its copies.
const missingFor = time.Minute

// SetMissing takes in who is missing. It is to be called before Settle and
// ClaimAnew.
func (c *Core) SetMissing(now time.Duration, missing []Missing) {
	c.missing = nil
	for _, m := range missing {
		back := m.ID == c.self || c.view.Named(m.ID.Name) != nil || c.view.Member(m.ID) != nil && c.view.HasEnded(m.ID)
		if !back && now-m.Since < missingFor && !planted.Is(planted.UnsureForgotten) {
			c.missing = append(c.missing, m.ID)
		}
	}
	c.missUnseen()
}

// missUnseen counts owners as missing of which gossip has told nothing here: one
// that stood still when this member started. The others have not noticed yet, and
// know its claims, which are in force.
func (c *Core) missUnseen() {
	last := member.ID{}
	for p := range c.parts {
		owner := c.parts[p].holder.By
		if owner == last || owner.Name == "" || owner.Name == c.self.Name {
			continue
		}
		last = owner
		if c.view.Named(owner.Name) == nil && c.view.Member(owner) == nil && !slices.Contains(c.missing, owner) {
			c.missing = append(c.missing, owner)
		}
	}
}

// Tick is to be called every second. It looks at whether all nodes see the same
// ring, and whether that has stood for so long that the membership has settled:
// see Stands and Settled.
func (c *Core) Tick(now time.Duration) Todo {
	agrees := func(m *member.Member) bool {
		p := c.peers[m.ID]
		return p != nil && heardLately(p, now) && p.ring == c.view.Table.Fingerprint()
	}
	c.noteMinority(now)
	c.history.setAgreed(now, c.view, !slices.ContainsFunc(c.view.Others(c.self), func(m *member.Member) bool { return !agrees(m) }))
	c.settleMembership(now)
	c.noteLost(now)
	c.renew(now)
	return Todo{Propose: c.propose(now)}
}

// noteMinority has a member that does not reach a majority forget what it knows
// of where the copies are: the others may have moved them.
func (c *Core) noteMinority(now time.Duration) {
	if c.mode == Majority && c.leasedUntil(now) <= now {
		c.history.distrust(now)
	}
}

// Settled says whether the ring has stood for so long that a member that is not
// in it does not count any more.
func (c *Core) Settled(now time.Duration) bool { return c.history.settled(now) }

// Stands says whether all nodes have seen the same ring for a while.
func (c *Core) Stands() bool { return c.history.now.proven }

// setHolder records a claim that is in force.
func (c *Core) setHolder(p int, claim Claim) {
	part := &c.parts[p]
	c.gate.claims.Store(c.gate.claims.Load() ^ part.holder.hash(p) ^ claim.hash(p))
	part.holder = claim
	if part.given.isTo(claim) {
		part.kept = part.given.epoch
	}
	if claim.By != c.self {
		part.given = given{}
	}
	if claim.Newer(part.promised) {
		part.promised = claim
	}
	part.rivals = slices.DeleteFunc(slices.Clone(part.rivals), func(r promise) bool { return !r.Newer(claim) })
	c.maxEpoch = max(c.maxEpoch, claim.Epoch)
	c.publish(p)
}

// promise records that this member has agreed to a claim, or has made it.
func (c *Core) promise(now time.Duration, p int, claim Claim) {
	c.promisedAt, c.open = now, true
	part := &c.parts[p]
	was := part.promises()
	slices.Reverse(was)
	part.rivals = slices.DeleteFunc(was, func(r promise) bool {
		return r.By == claim.By || r.By == c.self && now-r.at >= PromiseTime // it has given that up
	})
	part.promised, part.promisedAt = claim, now
	c.publish(p)
}

func (c *Core) setPhase(p int, ph Phase) {
	part := &c.parts[p]
	part.phase = ph
	part.unreached = false
	if part.serving() {
		part.own = part.holder.Epoch
	}
	if ph == Away {
		part.elsewhere = false
	}
	if ph == Warm || ph == Away {
		part.sources, part.giver = nil, member.ID{}
	}
	c.publish(p)
}

func (c *Core) setUnsure(p int, u unsure) {
	c.parts[p].unsure = u
	c.publish(p)
}

// publish shows readers how partition p stands.
func (c *Core) publish(p int) {
	part := &c.parts[p]
	if is, was := part.unsure.any(), c.gate.parts[p].Load().unverified; is && !was {
		c.unsures++
	} else if was && !is {
		c.unsures--
	}
	c.gate.parts[p].Store(&standing{part.phase, part.unsure.any(), part.holder, part.promised, part.promisedAt, part.own, part.kept, part.lost})
}

// epochStep is how far above the highest known epoch one may be that is heard
// of. An honest one is one above it, or, where this member has just started or
// was cut off, as far as the cluster has come: a claim every millisecond for 49
// days. Without a bound a single frame could name the last epoch there is, and
// no claim could go above it.
const epochStep = 1 << 32

// heardOf takes in that an epoch is known elsewhere. It returns false for one
// that is too far above all that is known here, which must not count yet.
// Members that have drifted apart find together in steps.
func (c *Core) heardOf(epoch uint64) (near bool) {
	if limit := c.maxEpoch + epochStep; epoch > limit {
		c.maxEpoch = limit
		return false
	}
	c.maxEpoch = max(c.maxEpoch, epoch)
	return true
}

// vouches says whether a boot is alive as far as this member knows, or may hold
// a lease that this member has given: one has answered the other within the
// last second.
func (c *Core) vouches(now time.Duration, id member.ID) bool {
	if p := c.peers[id]; p != nil && heardLately(p, now) {
		return true
	}
	at, given := c.granted[id]
	return given && now-at < LeaseTime
}

func heardLately(p *peer, now time.Duration) bool { return p.heard > 0 && now-p.heard < LeaseTime }

// voters are the nodes whose consent a claim needs, in a fixed order: those
// that take part, and those that gossip has given up but that this member has
// heard. One is left out that awaits its place on the ring: see awaits.
func (c *Core) voters(now time.Duration) []member.ID {
	ids := slices.SortedFunc(maps.Keys(c.peers), member.ID.Compare)
	return slices.DeleteFunc(ids, func(id member.ID) bool {
		if !c.view.Up(id) {
			return c.view.HasEnded(id) || !c.vouches(now, id)
		}
		return c.awaits(now, id)
	})
}

// awaits says whether a node has not taken its place on the ring, and will not
// serve without this member's consent: it has said within the last second that
// it sees the ring as it is here, so it knows that this member has its place.
// It serves nothing and holds nothing, and while nobody reaches its peer port
// it must not hold up the claims of others. One that has sessions from its disk is
// asked if it can be reached: what was ended or changed since may be there alone.
func (c *Core) awaits(now time.Duration, id member.ID) bool {
	p, at := c.peers[id], c.granted[id]
	if !c.joins(id) || c.view.Member(id).Brings() && p != nil && heardLately(p, now) {
		return false
	}
	return !c.quorum.now.Has(id) && p != nil && p.ring == c.view.Table.Fingerprint() &&
		at > 0 && now-at < LeaseTime && slices.Contains(c.view.Table.Members(), c.self.Name)
}

// joins says whether a node has not taken its place on the ring yet.
func (c *Core) joins(id member.ID) bool {
	m := c.view.Member(id)
	return m != nil && m.State == member.StateJoining
}

// BeginDrop is asked before this member's copy of a partition is forgotten,
// which Gate.Takers have confirmed. It refuses if this member serves the
// partition or claims it, or may serve it again, and while it has told a
// claimant of the copy that has not said what came of its claim. After true the
// driver forgets the copy, unless it has changed, and calls EndDrop. In between
// a claimant is told that the copy moves.
func (c *Core) BeginDrop(now time.Duration, p int) bool {
	part := &c.parts[p]
	told := slices.ContainsFunc(part.promises(), func(r promise) bool { return r.By != c.self && now-r.at < PromiseTime })
	may := part.phase == Away && !part.dropping && len(part.given.to) == 0 && !told
	part.dropping = part.dropping || may
	return may
}

// EndDrop says whether the copy was forgotten, or kept because it had changed.
func (c *Core) EndDrop(now time.Duration, p int, dropped bool) {
	part := &c.parts[p]
	part.dropping = false
	if dropped {
		part.dropped, part.droppedAt = true, now
	}
}

// serving says whether this member serves a partition.
func (p *partition) serving() bool { return p.phase >= Fetching }

// served says whether another member than from serves the partition and is
// alive as far as this member can vouch.
func (c *Core) served(now time.Duration, part *partition, from member.ID) bool {
	holder := part.holder.By
	switch {
	case planted.Is(planted.AliveIgnored):
		return false
	case holder == c.self:
		return part.serving()
	case holder == (member.ID{}), holder.Name == from.Name, c.view.HasEnded(holder):
		return false // nobody, or an earlier boot of the claimant, or nobody any more
	default:
		return c.vouches(now, holder)
	}
}

// pending says whether another claimant than from may have become the owner
// with this member's consent, or be about to, and this member has not been told
// yet. To agree to from's claim too would make two owners, unless from asks
// that one as well: a member that has just started can be known here and not
// there.
func (c *Core) pending(now time.Duration, part *partition, from member.ID, asks func(member.ID) bool) bool {
	if planted.Is(planted.AliveIgnored) || planted.Is(planted.UnaskedIgnored) {
		return false
	}
	return slices.ContainsFunc(part.promises(), func(r promise) bool {
		other := r.By != c.self && r.By.Name != from.Name
		return other && now-r.at < PromiseTime && !c.view.HasEnded(r.By) && !asks(r.By)
	})
}

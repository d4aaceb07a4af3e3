package membership

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
)

// keepDead is how long a member that has ended is still shown.
const keepDead = time.Minute

// pingedLate is how long after a boot was last reached gossip must have had an
// answer of it, for the boot to be unreached while it is alive. Where neither
// comes through there is a cut, or this process stood still.
const pingedLate = 3 * time.Second

// Config is what Members needs. All of it is required but Keys and Seeds.
type Config struct {
	Self member.ID
	// Params are those of the ring as long as no member says more: see
	// member.View.
	Params ring.Params

	Cluster   string
	Address   string   // of gossip, host:port
	Advertise string   // the host that others reach it at, where Address is a wildcard
	Keys      [][]byte // of gossip: the first one encrypts, all decrypt; none for plain text
	Seeds     []string // gossip addresses of members to join
	// Expect is how many nodes that see each other found a cluster where none
	// of them knows of one; 0 founds none.
	Expect int
	// FoundAfter is how long, from its start on, a node that sees nobody waits
	// for a cluster that knows its address, before it founds one alone.
	FoundAfter time.Duration
	// Awaited are the nodes that had sessions when this one last ran, and are to
	// be here before it founds a cluster; none for a node without a disk.
	Awaited []string
	// StartWait is how long it waits for them, from its start on.
	StartWait time.Duration
	// Transport opens the network of gossip; its result is nil for
	// memberlist's.
	Transport func(address string) (memberlist.Transport, error)
	// CannotListen says what is wrong with Address where it cannot be opened.
	CannotListen func(err error) error

	// Connected says whether the link to a boot is up. Answers calls an address
	// to see whether the process of a boot is there.
	Connected func(id member.ID) bool
	// Linked says whether the links of this node work in both directions with
	// enough of the others that it may take its place on the ring, and with
	// whom they do not.
	Linked func() (enough bool, broken []string)
	// Isolated says whether they work with so few nodes that these and this one
	// are no majority of those on the ring; broken is as for Linked. Unreached
	// says whether nothing has come through to a boot for some seconds, and when
	// the last did, since the process's start.
	Isolated  func() (isolated bool, broken []string)
	Unreached func(id member.ID) (since time.Duration, unreached bool)
	Answers   func(ctx context.Context, id member.ID, address string) bool
	// Changed is told of each new view, by the loop: one after the other.
	Changed func(last, view *member.View)
	// Go runs f, until its ctx ends, in a goroutine that whoever made the
	// members waits for.
	Go func(f func(ctx context.Context))

	Clock    clock.Clock
	Log      *slog.Logger
	Events   *events.Log
	Pulse    *wait.Pulse
	Counters *metric.Set
}

// Members joins what gossip says with what the links see, and publishes the
// view. Its loop is the only writer of views.
type Members struct {
	cfg    Config
	gossip *gossip // nil until Start
	view   atomic.Pointer[member.View]
	wake   wait.Wake
	moved  wait.Wake // there is a new view: an address may have been lost
	mends  chan member.ID

	mended *metric.Counter

	mu     sync.Mutex // guards what follows; taken before the lock of gossip
	own    member.Meta
	gone   map[member.ID]going        // why a boot is gone, until gossip forgets it or it answers again
	told   map[member.ID]told         // what boots said of themselves on their links, ahead of gossip
	gaveUp bool                       // it was to leave before it was ready
	unfit  map[string]string          // why this member shall own nothing, by what is wrong
	deaths map[string][]time.Duration // when boots of a name ended without a good-bye, for a minute
	counts map[member.ID]int          // how many deaths of this member's name a boot has seen
	// replacedBy is the boot that has this member's name instead of it; the
	// zero ID if none has.
	replacedBy member.ID
}

// New returns the members of a cluster that this one has not joined yet:
// itself.
func New(cfg Config, own member.Meta) (*Members, error) {
	m := &Members{
		cfg: cfg, own: own, wake: wait.NewWake(), moved: wait.NewWake(), mends: make(chan member.ID, 1),
		gone: make(map[member.ID]going), told: make(map[member.ID]told), unfit: make(map[string]string), deaths: make(map[string][]time.Duration), counts: make(map[member.ID]int),
		mended: cfg.Counters.Counter("mended_views", "Exchanges of members because rings differed, or a member did not know this one."),
	}
	cfg.Counters.Func(func(put metric.Put) {
		put("gossip_refused", "Packets and connections of gossip that no member of this cluster sends; gossip_refused_by_reason_total says more.", metric.Total(m.Refused()))
	})
	empty, err := member.NewView(cfg.Self, nil, cfg.Params, nil)
	if err != nil {
		return nil, err
	}
	m.view.Store(empty)
	m.own.Waits = len(m.missed()) > 0
	return m, nil
}

// Start opens gossip.
func (m *Members) Start() (err error) {
	m.gossip, err = startGossip(&m.cfg, m.self())
	return err
}

// View returns the newest view.
func (m *Members) View() *member.View { return m.view.Load() }

// SetView is for tests: it makes a view the newest one.
func (m *Members) SetView(view *member.View) { m.view.Store(view) }

// Run keeps the view up to date until ctx ends.
func (m *Members) Run(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		m.Update()
		select {
		case <-ctx.Done():
			return
		case <-m.gossip.wake:
		case <-m.wake:
		case <-tick.C:
			m.gossip.forget(m.cfg.Clock.Now().Add(-keepDead))
		}
	}
}

// Recheck looks at all facts anew, soon.
func (m *Members) Recheck() { m.wake.Kick() }

// Update computes the view from the newest facts and, if it differs, publishes
// it and lets all else follow.
func (m *Members) Update() {
	last := m.view.Load()
	members := m.collect()
	if last.Shows(members) {
		return
	}
	view, err := member.NewView(m.cfg.Self, members, m.params(), last)
	if err != nil {
		m.cfg.Log.Error("no ring from this view, the last one stays", "error", err)
		return
	}
	m.view.Store(view)
	m.noteChanges(last, view)
	m.cfg.Changed(last, view)
	m.cfg.Pulse.Beat()
	m.moved.Kick()
	m.follow(view)
}

// params are those that this member states.
func (m *Members) params() ring.Params {
	p, err := ring.ParseParams(m.Params())
	if err != nil {
		return m.cfg.Params // which states none yet
	}
	return p
}

// Params are the parameters of the ring that this member states, as
// ring.Params.String gives them.
func (m *Members) Params() string { return m.self().Params }

// follow has this member state the parameters by which its ring is placed; where
// it is the eldest, those that all want, which the others follow.
func (m *Members) follow(view *member.View) {
	params := view.Table.Params()
	if eldest := member.Eldest(view.Members); eldest != nil && eldest.ID == m.cfg.Self {
		params = view.Agreed()
	}
	was := m.Params()
	if params.String() == was {
		return
	}
	m.cfg.Log.Info("the ring is placed by other parameters", "now", params, "before", was)
	m.cfg.Events.Add("parameters", "now", params.String(), "before", was)
	m.cfg.Go(func(context.Context) { // gossip takes a moment
		if err := m.announce(func(own *member.Meta) { own.Params = params.String() }); err != nil {
			m.cfg.Log.Error("state the parameters of the ring", "error", err)
		}
	})
}

// collect returns all members, sorted as a View has them.
func (m *Members) collect() []*member.Member {
	all := m.gossip.snapshot()
	answers, unreached := make(map[member.ID]bool), make(map[member.ID]bool)
	for _, h := range all {
		since, is := m.cfg.Unreached(h.ID)
		unreached[h.ID] = is && h.Meta.Role == member.RoleNode && h.Pinged >= since+pingedLate
		answers[h.ID] = m.cfg.Connected(h.ID) // which it is not after two seconds of silence
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := m.newestLocked(all, answers)
	m.reachedLocked(all, unreached)
	self := m.cfg.Self
	members := []*member.Member{{ID: self, Meta: m.own, Gossip: m.gossip.addr, Up: newest[self.Name] == self.Boot, Since: m.cfg.Clock.Started()}}
	known := make(map[member.ID]bool, len(all))
	for _, h := range all {
		known[h.ID] = true
		going, gone := m.gone[h.ID]
		meta := h.Meta
		told := m.told[h.ID]
		meta.State = max(meta.State, told.state) // states only go forward
		meta.Unfit = meta.Unfit || told.unfit    // and who is fit again, gossip tells
		members = append(members, &member.Member{
			ID: h.ID, Meta: meta, Gossip: h.Gossip, Since: h.Since, Gone: gone || !h.Alive, Ended: going.ended, Left: h.Left && !h.Alive,
			Up: h.Alive && !gone && !unreached[h.ID] && newest[h.ID.Name] == h.ID.Boot, Unreached: h.Alive && !gone && unreached[h.ID],
		})
	}
	m.forgetLocked(known)
	member.Sort(members)
	return members
}

// reachedLocked leaves the nodes that serve among the reached, where a node
// reaches none of them: then it is itself that is cut off, and has to leave the
// ring (isolated.go). It does not go on alone while they serve.
func (m *Members) reachedLocked(all []heard, unreached map[member.ID]bool) {
	var serving []member.ID
	for _, h := range all {
		told := m.told[h.ID]
		if _, gone := m.gone[h.ID]; gone || h.Meta.Role != member.RoleNode || !h.Alive || max(h.Meta.State, told.state) != member.StateReady || h.Meta.Unfit || told.unfit {
			continue
		}
		if !unreached[h.ID] {
			return
		}
		serving = append(serving, h.ID)
	}
	if m.own.Role == member.RoleNode && !planted.Is(planted.AloneUnreached) {
		for _, id := range serving {
			delete(unreached, id)
		}
	}
}

// newestLocked returns which boot goes by each name: none that has ended, and
// no older one in place of a newer that is merely out of reach.
func (m *Members) newestLocked(all []heard, answers map[member.ID]bool) map[string]string {
	self := m.cfg.Self
	newest := map[string]string{self.Name: cmp.Or(m.replacedBy, self).Boot}
	ready := make(map[string]string) // the newest boot that has its place on the ring
	state := func(h heard) member.State { return max(h.Meta.State, m.told[h.ID].state) }
	for _, h := range all {
		if !h.Alive || m.gone[h.ID].ended || h.ID.Name == self.Name {
			continue
		}
		newest[h.ID.Name] = max(newest[h.ID.Name], h.ID.Boot)
		if state(h) == member.StateReady {
			ready[h.ID.Name] = max(ready[h.ID.Name], h.ID.Boot)
		}
	}
	// A boot that answers on its link keeps its name: a newer one with the same
	// name is an intruder, which will find that out and leave. Unless it is
	// itself leaving, because it has found out that the newer one took its
	// place on the ring while the two could not see each other.
	for _, h := range all {
		replaced := state(h) == member.StateLeaving && ready[h.ID.Name] > h.ID.Boot
		if _, gone := m.gone[h.ID]; answers[h.ID] && h.Alive && !gone && h.ID.Name != self.Name && !replaced {
			newest[h.ID.Name] = h.ID.Boot
		}
	}
	return newest
}

// forgetLocked drops what is known of boots that gossip has forgotten.
func (m *Members) forgetLocked(known map[member.ID]bool) {
	for id := range m.gone {
		if !known[id] {
			delete(m.gone, id)
		}
	}
	for id := range m.told {
		if !known[id] {
			delete(m.told, id)
		}
	}
	for id := range m.counts {
		if !known[id] {
			delete(m.counts, id)
		}
	}
}

// noteChanges puts who came and who went into the event log.
func (m *Members) noteChanges(last, view *member.View) {
	add := func(kind string, who *member.Member) {
		m.cfg.Events.Add(kind, "member", who.Name, "boot", who.Boot, "role", who.Role)
	}
	for _, who := range view.Members {
		old := last.Member(who.ID)
		switch {
		case who.ID == m.cfg.Self:
		case who.Unreached && (old == nil || !old.Unreached):
			m.cfg.Log.Warn("gossip knows a member as alive, and nothing else comes through to it: does a firewall stand in front of its peer port?", "member", who.Name, "boot", who.Boot, "address", who.Peer)
			add("unreached", who)
		case who.Up && old == nil:
			add("joined", who)
		case who.Up && !old.Up: // a cut has healed, or a frozen process goes on
			add("healed", who)
		case !who.Up && old != nil && old.Up && (who.Left || who.State == member.StateLeaving):
			m.cfg.Log.Info("member has left", "member", who.Name, "boot", who.Boot, "role", who.Role)
			add("left", who)
		case !who.Up && old != nil && old.Up:
			m.noteDeath(who.Name)
			add("ended", who)
		case who.Up && old.State != who.State:
			m.cfg.Events.Add(who.State.String(), "member", who.Name, "boot", who.Boot)
		}
	}
}

// going is how a boot went.
type going struct {
	why   string
	ended bool // and not merely out of reach
}

// SetGone records that a boot takes part no more, as far as is seen here: its
// link broke or could not be made, and dials are refused. One that had said
// that it was leaving has left, which the next view tells.
func (m *Members) SetGone(id member.ID, why string) { m.setGone(id, going{why, false}) }

// SetEnded records that a boot's process has ended: it has closed its
// connections and refuses new ones, or its address answers as another boot.
func (m *Members) SetEnded(id member.ID, why string) { m.setGone(id, going{why, true}) }

func (m *Members) setGone(id member.ID, going going) {
	who := m.View().Member(id)
	m.mu.Lock()
	was, already := m.gone[id]
	if already && (was.ended || !going.ended) {
		m.mu.Unlock()
		return
	}
	m.gone[id] = going
	left := m.told[id].state == member.StateLeaving || who != nil && (who.State == member.StateLeaving || who.Left)
	m.mu.Unlock()
	if !left && !already {
		m.cfg.Log.Warn("member is gone", "member", id.Name, "boot", id.Boot, "why", going.why, "ended", going.ended)
		m.cfg.Events.Add("gone", "member", id.Name, "boot", id.Boot, "why", going.why)
	}
	m.Recheck()
}

// SetBack takes SetGone and SetEnded back: the boot has answered.
func (m *Members) SetBack(id member.ID) {
	m.mu.Lock()
	_, was := m.gone[id]
	delete(m.gone, id)
	m.mu.Unlock()
	if was {
		m.cfg.Log.Info("member answers again", "member", id.Name, "boot", id.Boot)
		m.Recheck()
	}
}

// hasEnded says whether a boot's process is held to have ended.
func (m *Members) hasEnded(id member.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone[id].ended
}

// told is what a boot said of itself on its link.
type told struct {
	state member.State
	unfit bool
}

// setTold records what a boot said of itself on its link.
func (m *Members) setTold(id member.ID, said told) {
	m.mu.Lock()
	said.state = max(said.state, m.told[id].state)
	news := said != m.told[id]
	if news {
		m.told[id] = said
	}
	m.mu.Unlock()
	if news {
		m.Recheck()
	}
}

// SetState changes what this member says of itself, here at once and to the
// others by gossip and on the links. Before Start it is what Start begins with.
//
// One that leaves before it has had a place on the ring has no place to leave.
// The others are not told: who is leaving was part of a cluster, so that one
// which looks for a cluster would take this member for one.
func (m *Members) SetState(s member.State) error {
	if s == member.StateLeaving && m.giveUp() {
		m.Recheck()
		return nil
	}
	return m.announce(func(own *member.Meta) {
		if !m.gaveUp {
			own.State = s
		}
	})
}

// giveUp says whether this member has had no place on the ring, and is to take
// none any more.
func (m *Members) giveUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gaveUp = m.gaveUp || m.own.State == member.StateJoining
	return m.gaveUp
}

// SetAppDown changes what this member says of the application beside it.
func (m *Members) SetAppDown(down bool) error {
	return m.announce(func(own *member.Meta) { own.AppDown = down })
}

// SetUnfit takes this member off the ring, because of what is wrong with it, or
// takes that back where why is "". It does not while some member speaks a
// version that knows of no such thing, for all must have the same ring; so it is
// to be called again and again.
func (m *Members) SetUnfit(what, why string) error {
	understood := !slices.ContainsFunc(m.View().Members, func(who *member.Member) bool {
		return who.Up && !who.Speaks(member.WireUnfit)
	})
	m.mu.Lock()
	if why == "" {
		delete(m.unfit, what)
	} else {
		m.unfit[what] = why
	}
	unfit := understood && len(m.unfit) > 0
	said := m.own.Unfit == unfit
	m.mu.Unlock()
	if said {
		return nil
	}
	return m.announce(func(own *member.Meta) { own.Unfit = unfit })
}

// Unfit says why this member owns nothing, by what is wrong; sorted, none if it
// is fit.
func (m *Members) Unfit() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Values(m.unfit))
}

func (m *Members) announce(change func(own *member.Meta)) error {
	m.mu.Lock()
	change(&m.own)
	err := m.gossip.setMeta(m.own)
	m.mu.Unlock()
	m.Recheck()
	if err == nil && m.gossip != nil {
		m.gossip.announce()
	}
	return err
}

// State is what this member says of itself.
func (m *Members) State() member.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gaveUp {
		return member.StateLeaving
	}
	return m.own.State
}

// self is all that it says.
func (m *Members) self() member.Meta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own
}

// Leave says good-bye, so that the others need not find out. Shutdown ends
// gossip.
func (m *Members) Leave() {
	if m.gossip != nil {
		m.gossip.leave()
	}
}

// Shutdown ends gossip. memberlist does not wait for its goroutines.
func (m *Members) Shutdown() {
	if m.gossip != nil {
		m.gossip.shutdown()
	}
}

// Refused counts the packets and connections of gossip that no member of this
// cluster sends, by reason.
func (m *Members) Refused() map[string]int64 {
	if m.gossip == nil {
		return nil
	}
	return m.gossip.refused.byReason()
}

// Mend asks for a full exchange of members with one whose ring differs, or that
// does not know this member yet.
func (m *Members) Mend(id member.ID) {
	select {
	case m.mends <- id:
	default: // one is due already, and the rings will be compared again
	}
}

// Mender makes these exchanges until ctx ends.
func (m *Members) Mender(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-m.mends:
			if who := m.View().Member(id); who != nil {
				m.mended.Add(1)
				if _, err := m.gossip.join([]string{who.Gossip}); err != nil {
					m.cfg.Log.Debug("exchange members", "member", id.Name, "error", err)
				}
			}
		}
	}
}

// Keeps says whether a boot that is connected from an address may stay. Only
// what gossip says counts: a boot whose host refuses this member's connections
// may be cut off one way, and its own is the last that still holds.
func (m *Members) Keeps(id member.ID, from netip.Addr) bool {
	return m.gossip.admits(id, "", from) == ""
}

// Admits says whether a boot may connect to the peer port from an address. One
// that gossip holds for dead may be frozen or cut off, and comes back by
// connecting; unless its host has said that the process has ended.
func (m *Members) Admits(id member.ID, role member.Role, from netip.Addr) member.Refusal {
	why := m.gossip.admits(id, role, from)
	if why == "" && !m.gossip.isAlive(id) && m.hasEnded(id) {
		return member.Ended
	}
	return why
}

// KnowsAddress says whether some member is at an address.
func (m *Members) KnowsAddress(from netip.Addr) bool { return m.gossip.hasAddress(from) }

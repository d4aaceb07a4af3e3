package explore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// Names are those of the members. They are chosen so that by the ring of any of
// them partition 0 belongs to the first one by name, and its copy to
// the second.
var Names = [...]string{"amy", "bob", "cam", "dan", "ella"}

const (
	maxMembers    = len(Names)
	maxPartitions = 2

	// epochStart is where the clock starts, so that no time is near 0, which
	// stands for never.
	epochStart = time.Minute
	// beatTimeout is how long the sender of a heartbeat waits for the answer.
	beatTimeout = time.Second
	// settleLimit is until when a claim may be settled: ownership's settleTime.
	settleLimit = ownership.ClaimTimeout + 250*time.Millisecond
	// askTime is how long an owner without a lease waits for answers, 300 ms
	// and some round trips, in whole ticks.
	askTime = 500 * time.Millisecond
	// gapLimit is how long a process must stand still to find that it did.
	gapLimit = 500 * time.Millisecond
	// gossipTime is how long a process must be silent to be held for dead: a
	// probe of 200 ms and then 800 ms of suspicion at least.
	gossipTime = time.Second
	// enterWait is how long a member that starts waits for all to answer.
	enterWait = time.Second
	// confirmTime is how long a write waits for its copies.
	confirmTime = 2 * time.Second
)

// Config says what there is in a World.
type Config struct {
	Members, Partitions int
	Mode                ownership.Mode
	Tick                time.Duration
	// Manual says that nothing happens by itself: a heartbeat that is due,
	// a gap that is noticed and a claim that times out are steps of their
	// own. So a Search can put other things between. Owners without a lease
	// ask at once.
	Manual bool
	// Ordered says that what one member sends another comes in the order in
	// which it was sent, as on one connection. Otherwise it comes in any order.
	Ordered bool
	// Gossip is how long a process must be silent to be held for dead,
	// gossipTime by default.
	Gossip time.Duration
}

// World is a cluster in one state.
type World struct {
	cfg   Config
	views *views
	now   time.Duration
	procs [maxMembers]*proc
	fresh uint8 // of procs: not shared with another World
	// msgs are in flight, in the order in which they were sent.
	msgs []*message
	sent int // messages so far
	// stalled has a bit for each member to which messages of another do
	// not come.
	stalled [maxMembers]uint8
	// stalledAt is when that last began for some.
	stalledAt time.Duration
	// parted has a bit for each member that another was cut off from, until
	// they have exchanged a heartbeat both ways.
	parted [maxMembers]uint8
	// writes were tried; those in must were confirmed and not lost with all who
	// had them.
	writes int
	must   [maxPartitions]uint16
	// aside are those that were confirmed while there was a cut.
	aside [maxPartitions]uint16
	// uncopied are those that were confirmed with no copy, by an owner that saw
	// nobody any more who should have one.
	uncopied [maxPartitions]uint16
	// late are those that were confirmed by a member that did not serve under a
	// lease any more.
	late [maxPartitions]uint16
	log  *strings.Builder // nil: nobody listens
}

// who is one boot of a member.
type who struct{ name, boot uint8 }

func (x who) id() member.ID { return ids[x.name][x.boot] }

func (x who) String() string { return x.id().String() }

// maxBoots is how often a member can start.
const maxBoots = 9

// ids are all boots that there can be.
var ids = func() (ids [maxMembers][maxBoots + 1]member.ID) {
	for i, name := range Names {
		for boot := range ids[i] {
			ids[i][boot] = member.ID{Name: name, Boot: fmt.Sprint(boot)}
		}
	}
	return ids
}()

// whoIs reads an ID. No ID is nobody, boot 0.
func whoIs(id member.ID) who {
	if id.Name == "" {
		return who{}
	}
	return who{id.Name[0] - 'a', id.Boot[0] - '0'} // their initials are a, b, c, d, e
}

// proc is the newest process of one member, running or not.
type proc struct {
	who
	state  member.State
	up     bool // it has started and not ended
	left   bool // it said good-bye
	frozen bool
	// stopped is when it was frozen; gap says that it goes on and has not found
	// out that it stood still.
	stopped time.Duration
	gap     bool
	started time.Duration
	ended   time.Duration // when the last boot did
	heard   uint8         // who has answered it since it started

	core *ownership.Core
	sees [maxMembers]sight
	// open are the partitions that the driver lets operations into, and busy
	// those that an operation holds, of which no sum is known.
	open, busy uint8
	// lacked says of the open ones whose consent was missing.
	lacked [maxPartitions]lack
	// opened is when it last opened one. early says that it has its lease by
	// the answer to a heartbeat that was sent before.
	opened time.Duration
	early  bool
	store  [maxPartitions]uint16 // the writes that it holds
	due    uint8                 // whom it should send a heartbeat now
	wants  bool                  // it should try to claim
	rounds []*round
	// proposal of the next Roster is under way.
	proposal *proposal
	asking   time.Duration // since when it asks for a lease, 0 if it does not
	waiting  []waiting

	encoded []byte // cache of appendTo
}

// lack is whose consent a claim that was settled did not have.
type lack uint8

const (
	ofSilent   lack = 1 << iota // a voter's that had not ended and did not answer
	ofEnded                     // a voter's that had ended without an answer
	ofMajority                  // that of most members, the claimant among them
)

// round is a claim under way. It is not changed.
type round struct {
	*ownership.Round
	began   time.Duration
	answers [][]ownership.Answer // nil: none yet
}

// proposal is a proposal under way. It is not changed.
type proposal struct {
	*ownership.Proposal
	began time.Duration
	votes []*ownership.Vote // nil: none yet
}

// waiting is a write whose writer waits for a copy.
type waiting struct {
	part  int
	set   uint16
	epoch uint64 // of the claim by which it was made
	since time.Duration
}

// New returns a World in which nothing runs.
func New(cfg Config) *World {
	cfg.Gossip = cmp.Or(cfg.Gossip, gossipTime)
	w := &World{cfg: cfg, views: newViews(cfg), now: epochStart}
	for i := range w.procs {
		w.procs[i] = &proc{who: who{name: uint8(i)}}
	}
	return w
}

// Clone returns a World that goes its own way. Processes are shared until one
// of the two changes them.
func (w *World) Clone() *World {
	x := *w
	w.fresh, x.fresh = 0, 0
	x.msgs = slices.Clone(w.msgs)
	return &x
}

// edit returns the process of a member to change it.
func (w *World) edit(i int) *proc {
	p := w.procs[i]
	if w.fresh&(1<<i) == 0 {
		q := *p
		if q.core != nil {
			q.core = p.core.Clone()
		}
		q.rounds, q.waiting = slices.Clone(p.rounds), slices.Clone(p.waiting)
		w.procs[i], p = &q, &q
		w.fresh |= 1 << i
	}
	p.encoded = nil
	return p
}

func (w *World) sayf(format string, args ...any) {
	if w.log != nil {
		fmt.Fprintf(w.log, format+"\n", args...)
	}
}

// not is the error that something cannot be done in this state.
func (w *World) not(format string, args ...any) error {
	if w.log == nil {
		return errNot
	}
	return fmt.Errorf(format+": %w", append(args, errNot)...)
}

// running says whether a process does anything at this moment.
func (p *proc) running() bool { return p.up && !p.frozen }

// members are the indexes of all members.
func (w *World) members() []int {
	all := [...]int{0, 1, 2, 3, 4}
	return all[:w.cfg.Members]
}

// linked says whether messages pass between two members, both ways.
func (w *World) linked(i, j int) bool {
	return w.stalled[i]&(1<<j) == 0 && w.stalled[j]&(1<<i) == 0
}

// talks says whether two processes can ask each other something at this moment.
func (w *World) talks(i, j int) bool {
	return w.procs[i].running() && w.procs[j].running() && w.linked(i, j)
}

// reach has a bit for each member that what i says comes to, by way of others
// that run.
func (w *World) reach(i int) uint8 {
	seen, more := uint8(0), uint8(1)<<i
	for more != seen {
		seen = more
		for _, j := range w.members() {
			if seen&(1<<j) == 0 || j != i && !w.procs[j].running() {
				continue
			}
			for _, k := range w.members() {
				if w.linked(j, k) {
					more |= 1 << k
				}
			}
		}
	}
	return seen
}

var (
	errNot     = errors.New("not now")
	errUnknown = errors.New("no such thing")
)

// Start starts a process, which joins at seed and so knows what seed knows.
func (w *World) Start(i, seed int) error {
	if w.procs[i].up || w.procs[i].boot >= maxBoots {
		return w.not("start %s", Names[i])
	}
	for _, j := range w.members() {
		w.edit(j) // boots are encoded by which is the newest
	}
	p := w.edit(i)
	*p = proc{who: who{p.name, p.boot + 1}, up: true, state: member.StateJoining, started: w.now, ended: p.ended}
	empty := w.views.of(i, [maxMembers]sight{})
	cfg := ownership.Config{Self: p.id(), Mode: w.cfg.Mode, Partitions: w.cfg.Partitions}
	if seed == i {
		cfg.Expect = 1 // it was told of nobody
	}
	p.core = ownership.New(cfg, empty)
	if seed != i {
		p.sees = w.procs[seed].sees
		for j := range p.sees {
			if p.sees[j].standing == dead {
				p.sees[j] = sight{} // gossip tells nobody new of the dead
			}
		}
	}
	w.sayf("%v starts", p.who)
	w.look(p)
	return nil
}

// mayReady says whether a process that joins may take its place on the ring:
// all others have answered it, or it has waited for long.
func (w *World) mayReady(p *proc) bool {
	if !p.running() || p.state != member.StateJoining {
		return false
	}
	for j, s := range p.sees {
		if j != int(p.name) && s.standing == up && p.heard&(1<<j) == 0 && w.now-p.started < enterWait {
			return false
		}
	}
	return true
}

// Become makes a process ready or leaving.
func (w *World) Become(i int, state member.State) error {
	if p := w.procs[i]; !p.running() || p.state >= state {
		return w.not("%s becomes %v", Names[i], state)
	}
	p := w.edit(i)
	p.state = state
	w.sayf("%s is %v", Names[i], state)
	w.look(p)
	return nil
}

// End ends a process, with a good-bye or without.
func (w *World) End(i int, bye bool) error {
	if !w.procs[i].up {
		return w.not("end %s", Names[i])
	}
	for p := range w.must {
		only := w.procs[i].store[p]
		for j, q := range w.procs {
			if j != i && q.up {
				only &^= q.store[p]
			}
		}
		w.must[p] &^= only
	}
	p := w.edit(i)
	*p = proc{who: p.who, left: bye, ended: w.now}
	w.msgs = slices.DeleteFunc(w.msgs, func(m *message) bool { return int(m.to.name) == i })
	w.part()
	w.sayf("%v ends", p.who)
	return nil
}

// Freeze stops a process, which does not know it.
func (w *World) Freeze(i int) error {
	if p := w.procs[i]; !p.running() || p.gap {
		return w.not("freeze %s", Names[i])
	}
	p := w.edit(i)
	p.frozen, p.stopped = true, w.now
	w.part()
	w.sayf("%s stands still", Names[i])
	return nil
}

// Resume lets a process go on. If it stood still for long it finds that out by
// Notice, and may read what waited for it before.
func (w *World) Resume(i int) error {
	if !w.procs[i].frozen {
		return w.not("resume %s", Names[i])
	}
	p := w.edit(i)
	p.frozen, p.gap = false, w.now-p.stopped >= gapLimit
	if p.gap {
		w.sayf("%s goes on, and has not noticed yet that it stood still", Names[i])
	} else {
		w.sayf("%s goes on, and will not notice that it stood still", Names[i])
	}
	p.stopped = 0
	return nil
}

// Notice tells a process that it stood still.
func (w *World) Notice(i int) error {
	if p := w.procs[i]; !p.gap || !p.running() {
		return w.not("notice %s", Names[i])
	}
	p := w.edit(i)
	p.gap, p.asking = false, 0
	w.sayf("%s notices that it stood still", Names[i])
	w.do(p, p.core.Resumed(w.now))
	return nil
}

// Stall holds all messages from i to j, until Release.
func (w *World) Stall(i, j int) {
	w.stalled[i] |= 1 << j
	w.stalledAt = w.now
	w.part()
}

// Release lets messages from i to j pass again. Both send a heartbeat soon.
func (w *World) Release(i, j int) {
	w.stalled[i] &^= 1 << j
	if w.cfg.Manual && w.linked(i, j) {
		w.edit(i).due |= 1 << j
		w.edit(j).due |= 1 << i
	}
}

// part notes who is cut off from whom.
func (w *World) part() {
	for _, i := range w.members() {
		reach := w.reach(i)
		for _, j := range w.members() {
			if reach&(1<<j) == 0 {
				w.parted[i] |= 1 << j
				w.parted[j] |= 1 << i
			}
		}
	}
}

// Tick lets time pass.
func (w *World) Tick() {
	w.now += w.cfg.Tick
	for _, i := range w.members() {
		w.edit(i) // its ages change
	}
	w.expire()
	w.flush()
	for _, i := range w.members() {
		if p := w.procs[i]; p.running() {
			w.do(w.edit(i), p.core.Tick(w.now))
			w.do(w.edit(i), p.core.Lapse(w.now))
			for _, j := range w.members() {
				w.Beat(i, j)
			}
		}
	}
	for _, i := range w.members() {
		if w.procs[i].running() {
			w.passed(w.procs[i])
		}
	}
}

// expire drops answers to heartbeats that nobody waits for any more.
func (w *World) expire() {
	w.msgs = slices.DeleteFunc(w.msgs, func(m *message) bool {
		return m.kind == pong && w.now-m.at > beatTimeout
	})
}

// passed does what a process does because time has passed.
func (w *World) passed(p *proc) {
	if !w.cfg.Manual && p.gap {
		_ = w.Notice(int(p.name))
	}
	if w.cfg.Manual || p.asking != 0 {
		w.ask(p)
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(x waiting) bool { return w.now-x.since >= confirmTime })
	w.copyAgain(p)
	if w.cfg.Manual {
		return
	}
	for _, r := range slices.Clone(p.rounds) {
		if w.now-r.began >= ownership.ClaimTimeout {
			w.settle(p, r)
		}
	}
	if w.mayCount(p) {
		w.count(p)
	}
}

// mayTick says whether time may pass: what a running process does at once must
// have been done before.
func (w *World) mayTick() bool {
	for _, p := range w.procs {
		if !p.running() {
			continue
		}
		if p.gap {
			return false
		}
		for _, r := range p.rounds {
			if w.now+w.cfg.Tick-r.began > settleLimit {
				return false
			}
		}
	}
	return true
}

// ask is what an owner does that has a client and no lease.
func (w *World) ask(p *proc) {
	switch {
	case p.open == 0 || p.core.Gate().Leased(w.now):
		p.asking = 0
	case p.asking == 0 && p.core.ShouldAsk(w.now):
		p.asking = w.now
	case p.asking != 0 && w.now-p.asking >= askTime:
		p.asking = 0
		w.sayf("%s was not answered by all that it asked", Names[p.name])
		w.do(p, p.core.AskFailed(w.now))
	}
}

package census

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
)

const (
	// interval is how often counts are taken, which takes some 50 µs, and
	// orphans looked at.
	interval = time.Second
	// patience is for how long an orphan waits if its last count is not known
	// first-hand: a node that has just started hears meanwhile from others how
	// many sessions there were.
	patience = time.Second
)

// Partitions is what a node serves and holds. Its methods wait for no operation.
type Partitions interface {
	// Serving says whether partition p is served here, and whether all that
	// other holders had of it is here.
	Serving(p int) (here, complete bool)
	// Sessions counts those of partition p; not ok while an operation holds it.
	Sessions(p int) (n int, ok bool)
	// Memory is what sessions take here and may take, in bytes; 0 for no limit.
	Memory() (used, limit int64)
}

// Config is what a Census needs. All of it is required, but Partitions at a
// router, which holds nothing.
type Config struct {
	Self member.ID
	View func() *member.View
	// LastHeard is when a boot last answered, as time since this process's
	// start; 0 where that is not known.
	LastHeard func(id member.ID) time.Duration
	// Beat sends a boot a heartbeat now.
	Beat       func(id member.ID)
	Partitions Partitions

	Clock  clock.Clock
	Log    *slog.Logger
	Events *events.Log
}

// Census counts sessions, and knows who is missing. It may be used from many
// goroutines.
type Census struct {
	cfg  Config
	wake wait.Wake     // soon has something
	hash atomic.Uint64 // of the books
	most atomic.Int64  // nodes on the ring at once

	mu       sync.Mutex // guards what follows
	books    *books
	told     [ring.Partitions]told
	here     [ring.Partitions]bool // served here at the last look
	mine     [ring.Partitions]bool // those of them that others are told of
	total    int                   // sessions in those
	counted  time.Duration         // when, since the process's start
	own      memory
	memories map[member.ID]memory
	totals   map[member.ID]int // sessions that a node serves, as it said last
	soon     map[member.ID]struct{}
	askers   map[member.ID]asker
	orphans  map[int]orphan
	present  map[string]*member.Member // who took part at the last look, by name
}

// orphan is a partition that was claimed here though nobody who had a copy has
// answered. It is known soon what was lost.
type orphan struct {
	holders []member.ID
	before  told // the last count, as known then
	since   time.Duration
}

// New returns a census that has counted nothing.
func New(cfg Config) *Census {
	c := &Census{
		cfg: cfg, wake: wait.NewWake(), totals: make(map[member.ID]int), soon: make(map[member.ID]struct{}), books: newBooks(), memories: make(map[member.ID]memory), askers: make(map[member.ID]asker),
		orphans: make(map[int]orphan), present: make(map[string]*member.Member),
	}
	c.hash.Store(hashOf(c.books.encode()))
	return c
}

// Run counts until ctx ends.
func (c *Census) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var paced <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.Tick()
		case <-c.wake:
			if paced == nil {
				paced = time.After(pace)
			}
		case <-paced:
			paced = nil
			c.askSoon()
		}
	}
}

// Tick does what is due. Run calls it.
func (c *Census) Tick() {
	c.settleOrphans()
	c.countOwn()
	view := c.cfg.View()
	c.change(func(b *books) news { return c.reconcile(b, view) })
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.askers, func(id member.ID, _ asker) bool { return view.Member(id) == nil })
	maps.DeleteFunc(c.memories, func(id member.ID, _ memory) bool { return view.Member(id) == nil })
	maps.DeleteFunc(c.totals, func(id member.ID, _ int) bool { return view.Member(id) == nil })
}

// Orphaned says that this node serves a partition from now on though none of
// those who had copies of it has answered. It says whether there were sessions
// in it, as far as is known, and waits for nobody.
func (c *Census) Orphaned(p int, holders []member.ID) (some bool) {
	if planted.Is(planted.LossUnseen) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orphans[p] = orphan{holders, c.told[p], c.cfg.Clock.Since()}
	c.mine[p] = false
	return c.told[p].sessions > 0
}

// settleOrphans puts into the books what was lost of partitions that are
// complete by now.
func (c *Census) settleOrphans() {
	c.mu.Lock()
	due := make(map[int]orphan)
	for p, o := range c.orphans {
		if o.before.known && !o.before.hearsay || c.cfg.Clock.Since()-o.since >= patience {
			due[p] = o
		}
	}
	c.mu.Unlock()
	found := make(map[int]int)
	for p := range due {
		here, complete := c.cfg.Partitions.Serving(p)
		n, counted := c.cfg.Partitions.Sessions(p)
		if counted && (complete || !here) { // given up already, but what was found was found
			found[p] = n
		}
	}
	if len(found) == 0 {
		return
	}
	view, now := c.cfg.View(), c.cfg.Clock.Now().UnixMilli()
	c.change(func(b *books) (n news) {
		for p, there := range found {
			o, still := c.orphans[p]
			if !still || o.since != due[p].since {
				continue // claimed anew meanwhile
			}
			delete(c.orphans, p)
			back := slices.ContainsFunc(o.holders, view.Up)
			before := o.before
			if !before.known || before.hearsay {
				before = c.told[p] // better known by now, or not at all
			}
			if before.known && int(before.sessions) > there && !back {
				n.some = b.addLoss(p, before.sessions-uint32(there), o.holders, now) || n.some
			}
		}
		return n
	})
}

// addLoss puts sessions of partition p beside those that were lost before,
// unless it was with the same holders: a node that has just started may find
// out anew what the others know.
func (b *books) addLoss(p int, sessions uint32, holders []member.ID, now int64) (news bool) {
	l := &loss{sessions: sessions, holders: slices.Clone(holders), written: later(now, 0)}
	if before := b.losses[p]; before != nil {
		if before.sessions > 0 && !slices.ContainsFunc(holders, func(id member.ID) bool { return !slices.Contains(before.holders, id) }) {
			return false
		}
		l.sessions += before.sessions
		l.written = later(now, before.written)
		for _, id := range before.holders {
			if !slices.Contains(l.holders, id) {
				l.holders = append(l.holders, id)
			}
		}
	}
	l.holders = l.holders[:min(len(l.holders), maxHolders)]
	return b.putLoss(p, l)
}

// settleLosses says that what was lost with certain holders is not lost any
// more, or known to an operator, and returns how many sessions that were.
func (b *books) settleLosses(now int64, with func(id member.ID) bool) (sessions int) {
	for p, l := range b.losses {
		if l.sessions > 0 && slices.ContainsFunc(l.holders, with) {
			sessions += int(l.sessions)
			b.putLoss(p, &loss{written: later(now, l.written)})
		}
	}
	return sessions
}

// settleAbsence says that a name is missing no more.
func (b *books) settleAbsence(now int64, name string) bool {
	a := b.absences[name]
	if a == nil || a.settled {
		return false
	}
	settled := *a
	settled.settled, settled.written = true, later(now, a.written)
	return b.putAbsence(&settled)
}

// SetView takes in who takes part now. It is called for each view, before what
// is known of members that do not take part any more is dropped.
func (c *Census) SetView(view *member.View) {
	nodes := int64(len(view.Nodes()))
	for most := c.most.Load(); nodes > most && !c.most.CompareAndSwap(most, nodes); most = c.most.Load() {
	}
	c.change(func(b *books) news { return c.reconcile(b, view) })
}

// reconcile brings the books in line with a view. It is called under mu. Who is
// missing is back once it has been heard since: a member that stood still takes
// others for alive that ended meanwhile.
func (c *Census) reconcile(b *books, view *member.View) (n news) {
	now := c.cfg.Clock.Now().UnixMilli()
	for name, was := range c.present {
		if view.Named(name) != nil {
			continue
		}
		delete(c.present, name)
		n.some = c.miss(b, view, was, now) || n.some
	}
	for _, m := range view.Members {
		ready := m.Up && m.State == member.StateReady
		if ready && m.ID != c.cfg.Self {
			c.present[m.Name] = m
		}
		a := b.absences[m.Name]
		switch {
		case a == nil || a.settled:
		case m.ID == a.id && m.HasLeft() || (ready || m.Up && m.State == member.StateLeaving) && (m.ID == c.cfg.Self || c.cfg.LastHeard(m.ID) > a.learned):
			n.some = b.settleAbsence(now, m.Name) || n.some
		case m.ID == a.id && !a.ended && view.HasEnded(m.ID):
			ended := *a
			ended.ended, ended.written = true, later(now, a.written)
			n.some = b.putAbsence(&ended) || n.some
		}
	}
	// Who has had copies, and hears that they are lost, has brought them back.
	n.found = b.settleLosses(now, func(id member.ID) bool { return id == c.cfg.Self })
	n.some = n.some || n.found > 0
	return n
}

// miss writes down that a member takes part no more, unless it has left.
func (c *Census) miss(b *books, view *member.View, was *member.Member, now int64) (news bool) {
	if is := view.Member(was.ID); is != nil && (is.HasLeft() || is.State == member.StateLeaving) {
		return false
	}
	a := &absence{id: was.ID, role: was.Role, ended: view.HasEnded(was.ID), since: now, seen: c.lastSeen(was.ID, now), written: later(now, 0)}
	if before := b.absences[was.Name]; before != nil {
		if !before.settled && before.id == was.ID {
			return false // another member has written it
		}
		a.written = later(now, before.written)
	}
	return b.putAbsence(a)
}

// Remember says who took part when the process ran that this one has its sessions
// from, over its disk, and until when. They have ended, and are missing until
// their names are back.
func (c *Census) Remember(nodes []member.ID, last time.Time) {
	c.change(func(b *books) (n news) {
		for _, id := range nodes {
			at := last.UnixMilli()
			n.some = b.putAbsence(&absence{id: id, role: member.RoleNode, ended: true, since: at, seen: at, written: later(at, 0)}) || n.some
		}
		return n
	})
}

// lastSeen is when a boot last answered, in unix ms.
func (c *Census) lastSeen(id member.ID, now int64) int64 {
	if heard := c.cfg.LastHeard(id); heard > 0 {
		return now - (c.cfg.Clock.Since() - heard).Milliseconds()
	}
	return now
}

// news is what has changed in the books.
type news struct {
	some  bool // something has
	found int  // sessions that are back
}

// change lets f change the books, under mu, and then tells what came of it.
func (c *Census) change(f func(b *books) news) {
	c.mu.Lock()
	before, _ := c.books.lost()
	n := f(c.books)
	for _, a := range c.books.absences {
		if a.learned == 0 {
			a.learned = c.cfg.Clock.Since()
		}
	}
	if n.some {
		c.hash.Store(hashOf(c.books.encode()))
	}
	lost, names := c.books.lost()
	c.mu.Unlock()
	if n.found > 0 {
		c.cfg.Log.Warn("sessions that were counted as lost are back with this node", "sessions", n.found)
		c.cfg.Events.Add("found", "sessions", n.found)
	}
	if lost > before {
		c.cfg.Log.Error("sessions are lost: no member has a copy of them. When this is known, holdfast forget takes the members' names",
			"sessions", lost-before, "together", lost, "members", names)
		c.cfg.Events.Add("lost", "sessions", lost-before, "together", lost, "members", names)
	}
}

func (c *Census) encoded() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.books.encode()
}

// Missing is a member that took part and ended without leaving.
type Missing struct {
	Name, Boot string
	Role       member.Role
	// Since is when it was missed, and LastSeen when it was last heard of.
	Since, LastSeen time.Time
	// Ended says that its process is known to have ended. Otherwise it may be
	// frozen, or cut off.
	Ended bool
}

// Missing returns who is missing, by name.
func (c *Census) Missing() (missing []Missing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.books.absences {
		if !a.settled {
			missing = append(missing, Missing{a.id.Name, a.id.Boot, a.role, time.UnixMilli(a.since).UTC(), time.UnixMilli(a.seen).UTC(), a.ended})
		}
	}
	slices.SortFunc(missing, func(a, b Missing) int { return cmp.Compare(a.Name, b.Name) })
	return missing
}

// Lost returns about how many sessions are lost, as far as no operator has said
// that this is known, and the names of the members that held them.
func (c *Census) Lost() (sessions int, with []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.books.lost()
}

// MostNodes is how many nodes were on the ring at once since this member's
// start.
func (c *Census) MostNodes() int { return int(c.most.Load()) }

var (
	// ErrUnknown is wrapped by Forget where nobody of a name is missing, and
	// nothing was lost with it.
	ErrUnknown = errors.New("no such member is missing, and nothing was lost with it")
	// ErrPresent is wrapped by Forget for a member that takes part.
	ErrPresent = errors.New("the member takes part")
)

// Forget says that an operator knows of the end of a member: it is not expected
// any more, and what was lost with it is settled. sessions is how many that
// were.
func (c *Census) Forget(name string) (sessions int, err error) {
	now, missed := c.cfg.Clock.Now().UnixMilli(), false
	c.change(func(b *books) news {
		missed = b.settleAbsence(now, name)
		sessions = b.settleLosses(now, func(id member.ID) bool { return id.Name == name })
		return news{some: missed || sessions > 0}
	})
	switch {
	case missed || sessions > 0:
		c.cfg.Log.Warn("an operator has a member forgotten", "member", name, "sessions_lost", sessions)
		c.cfg.Events.Add("forgotten", "member", name, "sessions", sessions)
		return sessions, nil
	case c.cfg.View().Named(name) != nil:
		return 0, fmt.Errorf("forget %q: %w", name, ErrPresent)
	default:
		return 0, fmt.Errorf("forget %q: %w", name, ErrUnknown)
	}
}

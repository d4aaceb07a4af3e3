package census

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/ring"
)

// held is what a node of these tests serves.
type held struct {
	here, complete map[int]bool
	sessions       map[int]int
	used, limit    int64
}

func (h *held) Serving(p int) (here, complete bool) { return h.here[p], h.here[p] && h.complete[p] }
func (h *held) Sessions(p int) (n int, ok bool)     { return h.sessions[p], true }
func (h *held) Memory() (used, limit int64)         { return h.used, h.limit }
func (h *held) serve(p, sessions int)               { h.here[p], h.complete[p], h.sessions[p] = true, true, sessions }

// one is a census and what it sees.
type one struct {
	*Census
	held    *held
	members *meshtest.Members
	events  *events.Log
	asked   []member.ID // who was sent a heartbeat
	heard   map[member.ID]time.Duration
}

// begin returns the census of a node. It is called in a bubble, whose clock it
// goes by.
func begin(t *testing.T, name string, others ...*member.Member) *one {
	t.Helper()
	o := &one{held: &held{make(map[int]bool), make(map[int]bool), make(map[int]int), 0, 0}, events: events.New(time.Now), heard: make(map[member.ID]time.Duration)}
	o.members = meshtest.NewMembers(t, membertest.ID(name, 1), meshtest.Params)
	o.Census = New(Config{
		Self: o.members.Self, View: o.members.View, Partitions: o.held,
		LastHeard: func(id member.ID) time.Duration { return o.heard[id] },
		Beat:      func(id member.ID) { o.asked = append(o.asked, id) },
		Clock:     clock.New(time.Now), Log: slog.New(slog.DiscardHandler), Events: o.events,
	})
	o.see(t, others...)
	return o
}

// see has those answer that take part, and shows the view.
func (o *one) see(t *testing.T, members ...*member.Member) {
	t.Helper()
	time.Sleep(time.Millisecond)
	for _, m := range members {
		if m.Up {
			o.heard[m.ID] = o.cfg.Clock.Since()
		}
	}
	o.SetView(o.members.See(t, members...))
}

// asks lets o send a heartbeat to p.
func (o *one) asks(t *testing.T, p *one) {
	t.Helper()
	answer, err := p.Section().Asked(o.cfg.Self, o.Section().Ask())
	require.NoError(t, err)
	require.NoError(t, o.Section().Answered(p.cfg.Self, 0, answer))
}

// looks counts twice: what was not served at the last look is not told.
func (o *one) looks() { o.Tick(); o.Tick() }

func (o *one) missing() (names []string) {
	for _, m := range o.Missing() {
		names = append(names, m.Name)
	}
	return names
}

func (o *one) told(kind string) (n int) {
	for _, ev := range o.events.Since(0) {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

func dead(name string) *member.Member {
	m := membertest.Up(name, 1)
	m.Up, m.Gone = false, true
	return m
}

func ended(name string) *member.Member {
	m := dead(name)
	m.Ended = true
	return m
}

// A partition is claimed of which nobody has a copy: what the last owner had,
// less what is found, is lost, and every member that answers hears of it.
func TestOrphanIsCountedAsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, c := begin(t, "a", membertest.Up("b", 1), membertest.Up("c", 1)), begin(t, "c", membertest.Up("b", 1), membertest.Up("a", 1))
		b := begin(t, "b", membertest.Up("a", 1), membertest.Up("c", 1))
		b.held.serve(7, 12)
		b.held.serve(8, 3)
		b.looks()
		a.asks(t, b)

		a.see(t, membertest.Up("c", 1), ended("b"))
		a.held.serve(7, 2)
		a.held.serve(8, 3)
		a.Orphaned(7, []member.ID{membertest.ID("b", 1)})
		a.Orphaned(8, []member.ID{membertest.ID("b", 1)})
		a.held.complete[7] = false
		a.looks()
		lost, _ := a.Lost()
		require.Zero(t, lost, "7 is still being fetched, and of 8 all has been found")
		a.held.complete[7] = true
		a.looks()
		lost, with := a.Lost()
		require.Equal(t, 10, lost)
		require.Equal(t, []string{"b"}, with)
		require.Equal(t, 1, a.told("lost"))
		a.looks()
		lost, _ = a.Lost()
		require.Equal(t, 10, lost, "it is counted once")

		c.asks(t, a)
		lost, with = c.Lost()
		require.Equal(t, 10, lost)
		require.Equal(t, []string{"b"}, with)
		require.Equal(t, 1, c.told("lost"), "every member tells its operators")

		// It is claimed again, and again nobody has a copy.
		c.see(t, ended("a"), ended("b"))
		c.held.serve(7, 0)
		c.Orphaned(7, []member.ID{membertest.ID("a", 1), membertest.ID("b", 1)})
		c.looks()
		lost, with = c.Lost()
		require.Equal(t, 12, lost)
		require.Equal(t, []string{"a", "b"}, with)
	})
}

// A look at a partition that comes between the claim and the word that it is an
// orphan does not take what is found for what there was.
func TestLookBeforeTheWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := begin(t, "a")
		a.hear(membertest.ID("b", 1), &report{counts: map[int]told{7: {sessions: 12, known: true}}})
		a.held.serve(7, 0)
		a.Tick()
		require.True(t, a.Orphaned(7, []member.ID{membertest.ID("b", 1)}))
		require.False(t, a.Orphaned(8, []member.ID{membertest.ID("b", 1)}), "nothing is known of it")
		a.looks()
		lost, _ := a.Lost()
		require.Equal(t, 12, lost)
	})
}

// The one who claims has just started: it waits for others to tell what there
// was. What a node tells of itself goes before what others say of it.
func TestWhoHasJustStartedHearsWhatThereWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := begin(t, "a", membertest.Up("b", 1)), begin(t, "b", membertest.Up("a", 1))
		b.held.serve(7, 12)
		b.looks()
		a.asks(t, b)
		back := begin(t, "b", membertest.Up("a", 1))
		back.held.serve(7, 0)
		back.Orphaned(7, []member.ID{membertest.ID("b", 0)})
		back.looks()
		back.asks(t, a)
		back.looks()
		lost, _ := back.Lost()
		require.Zero(t, lost, "better may come")
		time.Sleep(patience)
		back.looks()
		lost, _ = back.Lost()
		require.Equal(t, 12, lost)

		d := begin(t, "d", membertest.Up("a", 1), membertest.Up("b", 1))
		d.asks(t, b)
		b.held.sessions[7], b.held.used = 200, 200*256
		time.Sleep(fresh)
		d.asks(t, a)
		require.Equal(t, uint32(12), d.Census.told[7].sessions)
		require.False(t, d.Census.told[7].hearsay)
		d.asks(t, b)
		require.Equal(t, uint32(200), d.Census.told[7].sessions)

		unknown := begin(t, "e")
		unknown.held.serve(9, 0)
		unknown.Orphaned(9, []member.ID{membertest.ID("x", 1)})
		time.Sleep(patience)
		unknown.looks()
		lost, _ = unknown.Lost()
		require.Zero(t, lost, "nobody knows of any")
	})
}

// Counts are told every two seconds, and at once where they swing; who hears
// that asks again soon.
func TestCountsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := begin(t, "a", membertest.Up("b", 1)), begin(t, "b", membertest.Up("a", 1))
		ask := func() int {
			answer, err := b.Section().Asked(a.cfg.Self, a.Section().Ask())
			require.NoError(t, err)
			require.NoError(t, a.Section().Answered(b.cfg.Self, 0, answer))
			return len(answer)
		}
		serve := func(sessions int) {
			b.held.serve(7, sessions)
			b.held.used = int64(sessions) * 256
		}
		serve(1000)
		b.looks()
		require.NotZero(t, ask())
		require.Contains(t, a.soon, b.cfg.Self)
		a.askSoon()
		require.Equal(t, []member.ID{b.cfg.Self}, a.asked)
		require.Zero(t, ask(), "it knows")
		serve(1050)
		time.Sleep(fresh)
		require.Zero(t, ask(), "not much has changed")
		serve(1051)
		require.NotZero(t, ask())
		a.askSoon()
		require.Equal(t, uint32(1051), a.Census.told[7].sessions)
		serve(1052)
		b.Tick()
		time.Sleep(tellEvery)
		require.NotZero(t, ask())
		a.askSoon()
		require.Len(t, a.asked, 2, "one session more is no swing")
		require.False(t, swings(0, fewest, fewest), "nor are a few of none")
		require.True(t, swings(fewest+1, 0, fewest))

		time.Sleep(newcomer)
		b.hear(membertest.ID("c", 1), &report{counts: map[int]told{9: {sessions: 4, known: true}}})
		ask()
		require.False(t, a.Census.told[9].known, "each tells of what it serves, but to newcomers")
		delete(b.held.here, 7)
		b.held.serve(8, 1)
		b.looks()
		time.Sleep(tellEvery)
		ask()
		require.Equal(t, uint32(1052), a.Census.told[7].sessions, "that is for whoever serves it now to say")
		require.Equal(t, uint32(1), a.Census.told[8].sessions)
	})
}

// A holder that hears that its sessions are lost knows better.
func TestHolderThatComesBackIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := begin(t, "a", membertest.Up("b", 1)), begin(t, "b", membertest.Up("a", 1))
		b.held.serve(7, 12)
		b.looks()
		a.asks(t, b)
		a.see(t, dead("b"))
		a.held.serve(7, 0)
		a.Orphaned(7, []member.ID{membertest.ID("b", 1)})
		a.looks()
		lost, _ := a.Lost()
		require.Equal(t, 12, lost)
		require.Equal(t, []string{"b"}, a.missing())

		a.see(t, membertest.Up("b", 1))
		b.asks(t, a)
		b.Tick()
		lost, _ = b.Lost()
		require.Zero(t, lost)
		require.Equal(t, 1, b.told("found"))
		a.asks(t, b)
		lost, _ = a.Lost()
		require.Zero(t, lost)
		require.Empty(t, a.missing())

		// It is back before it was known what was lost.
		a.hear(membertest.ID("b", 1), &report{counts: map[int]told{7: {sessions: 12, known: true}}})
		a.Orphaned(7, []member.ID{membertest.ID("b", 1)})
		a.looks()
		lost, _ = a.Lost()
		require.Zero(t, lost)
	})
}

// Who ends without leaving is missing until its name is back in its place.
func TestMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		joining := func(boot int) *member.Member {
			m := membertest.Up("b", boot)
			m.State = member.StateJoining
			return m
		}
		leaving := membertest.Up("b", 1)
		leaving.State = member.StateLeaving
		left := ended("b")
		left.Left = true
		killed := ended("b")
		killed.State = member.StateLeaving
		router := ended("b")
		router.Role = member.RoleRouter
		up := membertest.Up("b", 1)
		for name, c := range map[string]struct {
			views   [][]*member.Member // one after the other
			missing []string
		}{
			"up":                               {views: [][]*member.Member{{up}}},
			"ended":                            {views: [][]*member.Member{{up}, {ended("b")}}, missing: []string{"b"}},
			"found dead, and forgotten":        {views: [][]*member.Member{{up}, {dead("b")}, {}}, missing: []string{"b"}},
			"vanished":                         {views: [][]*member.Member{{up}, {}}, missing: []string{"b"}},
			"healed":                           {views: [][]*member.Member{{up}, {dead("b")}, {up}}},
			"said good-bye":                    {views: [][]*member.Member{{up}, {left}}},
			"drained":                          {views: [][]*member.Member{{up}, {leaving}, {killed}, {}}},
			"good-bye is heard later":          {views: [][]*member.Member{{up}, {ended("b")}, {left}}},
			"never took its place":             {views: [][]*member.Member{{joining(1)}, {ended("b")}}},
			"another boot is starting":         {views: [][]*member.Member{{up}, {ended("b")}, {joining(2), ended("b")}}, missing: []string{"b"}},
			"another boot is ready":            {views: [][]*member.Member{{up}, {ended("b")}, {membertest.Up("b", 2), ended("b")}}},
			"another boot at once, that fails": {views: [][]*member.Member{{up}, {joining(2)}, {}}, missing: []string{"b"}},
		} {
			o := begin(t, "a")
			for _, view := range c.views {
				o.see(t, view...)
			}
			require.Equal(t, c.missing, o.missing(), name)
			if name == "said good-bye" || name == "drained" {
				require.Empty(t, o.books.absences, name)
			}
		}

		o := begin(t, "a", up)
		time.Sleep(time.Second)
		o.see(t, dead("b"))
		m := o.Missing()[0]
		require.Equal(t, up.Boot, m.Boot)
		require.False(t, m.Ended, "it may be frozen")
		require.True(t, m.LastSeen.Before(m.Since))
		o.see(t, ended("b"))
		require.True(t, o.Missing()[0].Ended)
		require.Equal(t, m.Since, o.Missing()[0].Since)
		require.Equal(t, 2, o.MostNodes())
	})
}

// Who is remembered from before the start is missing until the name is back, and
// may be forgotten; it is known to have ended.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := time.Now().Add(-time.Hour)
		a, c := begin(t, "a"), begin(t, "c")
		a.Remember([]member.ID{membertest.ID("b", 1), membertest.ID("d", 1)}, last)
		require.Equal(t, []string{"b", "d"}, a.missing())
		require.True(t, a.Missing()[0].Ended)
		require.True(t, a.Missing()[0].LastSeen.Equal(last.Truncate(time.Millisecond)))
		c.asks(t, a)
		require.Equal(t, []string{"b", "d"}, c.missing())
		a.see(t, membertest.Up("b", 2))
		require.Equal(t, []string{"d"}, a.missing())
		_, err := a.Forget("d")
		require.NoError(t, err)
		require.Empty(t, a.missing())
	})
}

// A member that has seen nothing of it hears who is missing, and one that saw
// it otherwise agrees in the end.
func TestMissingIsAgreedUpon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := membertest.Up("b", 1)
		a, c := begin(t, "a", up), begin(t, "c")
		a.see(t, ended("b"))
		c.asks(t, a)
		require.Equal(t, []string{"b"}, c.missing())
		require.Equal(t, a.Section().Ask(), c.Section().Ask(), "equal books have equal hashes")
		_, err := c.Forget("b")
		require.NoError(t, err)
		a.asks(t, c)
		require.Empty(t, a.missing())
		c.asks(t, a)
		require.Empty(t, c.missing())

		d := begin(t, "d", up) // which has stood still, and not noticed yet
		e := begin(t, "e", up)
		e.see(t, ended("b"))
		d.asks(t, e)
		d.Tick()
		require.Equal(t, []string{"b"}, d.missing())
		d.see(t, up) // it still answers there
		require.Empty(t, d.missing())
		e.asks(t, d)
		require.Empty(t, e.missing())
		d.see(t, ended("b"))
		e.asks(t, d)
		require.Equal(t, []string{"b"}, e.missing())
	})
}

// A node that is started under the name of one that is missing knows that the name
// is back, and says so: nobody else may be there to hear it.
func TestWhoIsMissingIsBackItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := membertest.Up("a", 0)
		b := begin(t, "b", before)
		b.see(t)
		require.Len(t, b.Missing(), 1)
		a := begin(t, "a", membertest.Up("b", 1))
		a.asks(t, b)
		a.Tick()
		require.Empty(t, a.Missing())
		b.asks(t, a)
		require.Empty(t, b.Missing())
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := begin(t, "a", membertest.Up("b", 1), membertest.Up("c", 1)), begin(t, "b", membertest.Up("a", 1))
		for p := range 4 {
			b.held.serve(p, 5)
		}
		b.looks()
		a.asks(t, b)
		_, err := a.Forget("b")
		require.ErrorIs(t, err, ErrPresent)
		_, err = a.Forget("x")
		require.ErrorIs(t, err, ErrUnknown)
		a.see(t, ended("b"), ended("c"))
		for p, holder := range []string{"b", "b", "c", "d"} {
			a.held.serve(p, 0)
			a.Orphaned(p, []member.ID{membertest.ID(holder, 1)})
		}
		a.looks()
		sessions, err := a.Forget("b")
		require.NoError(t, err)
		require.Equal(t, 10, sessions)
		require.Equal(t, []string{"c"}, a.missing())
		lost, with := a.Lost()
		require.Equal(t, 10, lost)
		require.Equal(t, []string{"c", "d"}, with)
		sessions, err = a.Forget("d")
		require.NoError(t, err, "it is not missing, but something was lost with it")
		require.Equal(t, 5, sessions)
		require.Equal(t, 2, a.told("forgotten"))
	})
}

// Memory is short if what one node holds has no room at the others.
func TestMemoryShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := membertest.Up("b", 1), membertest.Up("c", 1)
		a := begin(t, "a", b, c)
		say := func(id member.ID, used, limit int64) { a.hear(id, &report{memory: memory{used, limit}}) }
		a.held.used, a.held.limit = 60, 100
		a.Tick()
		require.Zero(t, a.MemoryShort(), "nothing is known of the others")
		say(b.ID, 60, 100)
		say(c.ID, 60, 100)
		require.Zero(t, a.MemoryShort(), "60 go into 80")
		say(c.ID, 90, 100)
		require.Equal(t, int64(10), a.MemoryShort(), "if a is lost, 60 have to go into 40 + 10; if c is, 90 into 80")
		say(b.ID, 60, 0)
		require.Zero(t, a.MemoryShort(), "b has no limit")
		say(b.ID, 60, 100)
		a.see(t, c)
		require.Zero(t, a.MemoryShort(), "of two nodes each holds everything")
	})
}

// What cannot be read is an error, and a version that says nothing is none.
func TestSectionIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := begin(t, "a")
		id := membertest.ID("b", 1)
		answer, err := a.Section().Asked(id, nil)
		require.NoError(t, err)
		require.Nil(t, answer)
		_, err = a.Section().Asked(id, []byte{1})
		require.ErrorContains(t, err, "8 are accepted")
		require.NoError(t, a.Section().Answered(id, 0, nil))
		for _, bad := range [][]byte{{1}, {0, 0, 0, 9, 1}, {0, 0, 0, 1, 1}, {0, 0, 0, 0, 1}} {
			require.Error(t, a.Section().Answered(id, 0, bad))
		}
		huge := strings.Repeat("\xff", 4)
		require.Error(t, a.Section().Answered(id, 0, []byte(huge)))
	})
}

// It counts by itself, and asks soon whose sessions swing.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := begin(t, "a", membertest.Up("b", 1))
		a.held.serve(7, 5)
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { defer close(done); a.Run(ctx) }()
		time.Sleep(3 * interval)
		a.mu.Lock()
		require.Equal(t, 5, a.total)
		a.mu.Unlock()
		a.hear(membertest.ID("b", 1), &report{counts: map[int]told{1: {sessions: fewest + 1, known: true}}})
		time.Sleep(pace)
		synctest.Wait()
		require.True(t, slices.Contains(a.asked, membertest.ID("b", 1)))
		cancel()
		<-done
	})
}

// BenchmarkCountOwn is what a look at all partitions takes.
func BenchmarkCountOwn(b *testing.B) {
	h := &held{make(map[int]bool), make(map[int]bool), make(map[int]int), 0, 0}
	for p := range ring.Partitions {
		h.serve(p, 100)
	}
	c := New(Config{Partitions: h, Clock: clock.New(time.Now)})
	for b.Loop() {
		c.countOwn()
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

package mesh

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
)

// fakeMembers are the members that a test says there are.
type fakeMembers struct {
	view *member.View

	mu    sync.Mutex // guards what follows
	gone  map[member.ID]string
	ended map[member.ID]string
	mend  []member.ID
}

func (f *fakeMembers) View() *member.View { return f.view }
func (f *fakeMembers) SetGone(id member.ID, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[id] = why
}
func (f *fakeMembers) SetEnded(id member.ID, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended[id] = why
}
func (f *fakeMembers) SetBack(member.ID) {}
func (f *fakeMembers) Mend(id member.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mend = append(f.mend, id)
}
func (f *fakeMembers) Recheck() {}
func (f *fakeMembers) Admits(member.ID, member.Role, netip.Addr) member.Refusal {
	return ""
}
func (f *fakeMembers) Keeps(member.ID, netip.Addr) bool { return true }
func (f *fakeMembers) KnowsAddress(netip.Addr) bool     { return true }

// id is the given boot of a member.
func id(name string) member.ID { return member.ID{Name: name, Boot: "000000000001"} }

// echo answers whatever it is asked with the question.
type echo struct{}

func (echo) Serve(r *peer.Request) { r.Reply(r.Payload) }

// host is a mesh that is there for a test.
type host struct {
	*Mesh
	members *fakeMembers
	group   sync.WaitGroup
	stop    func() // as a process ends
	port    net.Listener
	dial    func(ctx context.Context, address string) (net.Conn, error)
}

// begin returns a mesh that sees members, named by their addresses, and whose
// heartbeats have the given sections.
func begin(t *testing.T, name string, sections func(m *Mesh) []Section, others ...*member.Member) *host {
	t.Helper()
	self := &member.Member{ID: id(name), Meta: member.Meta{Role: member.RoleNode, State: member.StateReady}, Up: true}
	view, err := member.NewView(self.ID, append([]*member.Member{self}, others...), ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}, nil)
	require.NoError(t, err)
	h := &host{members: &fakeMembers{view: view, gone: make(map[member.ID]string), ended: make(map[member.ID]string)}}
	h.dial = func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	ctx, cancel := context.WithCancel(context.Background())
	counters := new(metric.Set)
	h.Mesh = New(ctx, Config{
		Params: func() string { return ring.Params{}.String() },
		Self:   peer.Identity{Cluster: "test", Name: name, Boot: self.Boot, Role: string(member.RoleNode), Wire: member.Wire, OldestWire: member.WireOldest},
		Dial:   func(ctx context.Context, address string) (net.Conn, error) { return h.dial(ctx, address) }, Members: h.members,
		Handler: echo{}, Sections: sections, Clock: clock.New(time.Now), Log: slog.New(slog.DiscardHandler), Pulse: new(wait.Pulse),
		Go: func(f func()) { h.group.Go(f) }, Counters: counters, NodeCounters: counters,
	})
	h.stop = func() {
		if h.port != nil {
			h.port.Close()
		}
		cancel()
		h.group.Wait()
	}
	t.Cleanup(h.stop)
	return h
}

func noSections(*Mesh) []Section { return nil }

// listen opens a mesh's peer port, and returns it as a member.
func (h *host) listen(t *testing.T) *member.Member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h.port = l
	h.group.Go(func() { h.Accept(h.ctx, l) })
	return &member.Member{ID: h.id, Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, Peer: l.Addr().String()}, Up: true}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "not within 15 s: %s", what)
	}
}

func TestSectionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		said := rapid.MapOfN(rapid.Byte(), rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 6).Draw(t, "sections")
		var b []byte
		for typ, bytes := range said {
			b = appendSection(b, typ, bytes)
		}
		got, err := readSections(b)
		require.NoError(t, err)
		require.Len(t, got, len(said))
		for typ, bytes := range said {
			require.Equal(t, bytes, got[typ][:])
		}
		for n := range b { // what is cut off is missed, or fewer sections are there
			if got, err := readSections(b[:n]); err == nil {
				require.Less(t, len(got), len(said))
			}
		}
	})
	require.Nil(t, appendSection(nil, 1, nil), "nil is no section")
	require.Len(t, appendSection(nil, 1, []byte{}), 3, "empty is one")
	_, err := readSections([]byte{1, 0, 0, 1, 0, 0})
	require.ErrorIs(t, err, errHeartbeat, "the same section twice")
}

func FuzzReadSections(f *testing.F) {
	f.Add(appendSection(appendSection(nil, 1, []byte{2}), 3, []byte("ring")))
	f.Add([]byte{1, 255, 255, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := readSections(b)
		if err != nil {
			require.ErrorIs(t, err, errHeartbeat)
			return
		}
		size := 0
		for _, said := range sections {
			size += 3 + len(said)
		}
		require.Equal(t, len(b), size, "nothing is left over")
	})
}

// Members of different versions understand each other: what one says and the
// other does not know is skipped, and what one does not say is heard as
// missing.
func TestUnknownSectionsAreSkippedAndMissingOnesHeardAsNil(t *testing.T) {
	t.Parallel()
	type heard struct {
		said []byte
		by   string
	}
	var mu sync.Mutex
	got := make(map[byte][]heard)
	tell := func(by string, typ byte, say string) Section {
		return Tell(typ, func() []byte { return []byte(say) }, func(_ member.ID, said []byte) error {
			mu.Lock()
			defer mu.Unlock()
			got[typ] = append(got[typ], heard{said, by})
			return nil
		})
	}
	old := begin(t, "old", func(*Mesh) []Section { return []Section{tell("old", 1, "one"), tell("old", 2, "two")} })
	newer := begin(t, "newer", func(*Mesh) []Section { return []Section{tell("newer", 1, "uno"), tell("newer", 3, "tre")} })
	answer, err := old.answer(newer.id, newer.question())
	require.NoError(t, err)
	require.NoError(t, newer.answered(old.id, 0, answer))
	require.Equal(t, map[byte][]heard{
		1: {{[]byte("uno"), "old"}, {[]byte("one"), "newer"}}, 2: {{nil, "old"}}, 3: {{nil, "newer"}},
	}, got)
}

// A member that says nothing of its clock or its ring is understood all the
// same, and nothing is held against it.
func TestClockAndRingMayBeMissing(t *testing.T) {
	t.Parallel()
	m := begin(t, "a", func(m *Mesh) []Section { return []Section{m.ClockSection(), m.RingSection()} })
	l := m.AddIdle(id("b"), "")
	l.setRing(m.members.view.Table.Fingerprint(), "")
	require.NoError(t, m.answered(id("b"), 0, nil))
	require.Zero(t, l.ClockOffset())
	require.Equal(t, m.members.view.Table.Fingerprint(), l.Ring(), "what it last said")
	require.ErrorIs(t, m.answered(id("b"), 0, appendSection(nil, SectionClock, []byte{1})), errHeartbeat)
}

// What another host's clock says is how far it is ahead of its member's time,
// and that ahead of ours; a version that does not say goes by its host's clock.
// Old readings, bad ones, and those of members that take no part do not count,
// nor, where somebody serves, those of members that do not.
func TestHostClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := begin(t, "a", func(m *Mesh) []Section { return []Section{m.ClockSection(), m.HostSection()} })
		b, joining, down, unfit := membertest.Up("b", 1), membertest.Up("c", 1), membertest.Up("d", 1), membertest.Up("aa", 1)
		joining.State, down.Up, unfit.Unfit = member.StateJoining, false, true
		view, err := member.NewView(m.id, []*member.Member{membertest.Up("a", 1), b, joining, down, unfit}, ring.Params{Copies: 2, VirtualNodes: 10, Load: 1.25}, nil)
		require.NoError(t, err)
		m.members.view = view
		hear := func(who *member.Member, clock, host time.Duration) {
			said := appendSection(nil, SectionClock, order.AppendUint64(nil, uint64(m.cfg.Clock.Now().Add(clock).UnixMilli())))
			if host != 0 {
				said = appendSection(said, SectionHost, order.AppendUint64(nil, uint64(host.Milliseconds())))
			}
			if m.Link(who.ID) == nil {
				m.AddIdle(who.ID, "")
			}
			require.NoError(t, m.answered(who.ID, m.cfg.Clock.Since(), said))
		}
		read := func() (ahead []time.Duration, serving bool) { return m.HostClocks() }
		ahead, serving := read()
		require.Empty(t, ahead)
		require.False(t, serving)
		hear(joining, time.Second, 0)
		hear(down, time.Minute, 0)
		hear(unfit, time.Hour, 0)
		ahead, serving = read()
		require.ElementsMatch(t, []time.Duration{time.Second, time.Hour}, ahead)
		require.False(t, serving)
		hear(b, 2*time.Second, -time.Hour)
		ahead, serving = read()
		require.Equal(t, []time.Duration{2*time.Second - time.Hour}, ahead)
		require.True(t, serving)
		time.Sleep(readingLasts + time.Second)
		m.Link(b.ID).readClock(m.cfg.Clock.Now(), 2*goodReading)
		ahead, _ = read()
		require.Empty(t, ahead)
		require.ErrorIs(t, m.answered(b.ID, 0, appendSection(nil, SectionHost, []byte{1})), errHeartbeat)

		m.cfg.HostAhead = func() time.Duration { return -3 * time.Second }
		answer, err := m.answer(b.ID, nil)
		require.NoError(t, err)
		said, err := readSections(answer)
		require.NoError(t, err)
		require.EqualValues(t, -3000, int64(order.Uint64(said[SectionHost])))
	})
}

// Links connect, calls are answered, and heartbeats bring what they say.
func TestHeartbeatsGoRound(t *testing.T) {
	t.Parallel()
	sections := func(m *Mesh) []Section { return []Section{m.ClockSection(), m.RingSection()} }
	bob := begin(t, "bob", sections)
	ada := begin(t, "ada", sections, bob.listen(t))
	ada.Sync(ada.members.view)
	l := ada.Link(bob.id)
	eventually(t, "bob's ring is known", func() bool { return l.Ring() == bob.members.view.Table.Fingerprint() })
	require.True(t, l.Connected())
	require.Less(t, l.ClockOffset().Abs(), time.Second)
	for _, way := range []interface {
		Call(ctx context.Context, typ byte, payload []byte) ([]byte, error)
	}{l, l.Bulk()} {
		answer, err := way.Call(t.Context(), TypeHolds, []byte("k"))
		require.NoError(t, err)
		require.Equal(t, "k", string(answer))
	}
	require.True(t, ada.Answers(t.Context(), bob.id, l.addr))
	require.False(t, ada.Answers(t.Context(), id("bill"), l.addr), "another process is there")
	eventually(t, "rings that differ for long are mended", func() bool {
		ada.members.mu.Lock()
		defer ada.members.mu.Unlock()
		return len(ada.members.mend) > 0
	})
}

// What a peer's clock is taken for does not suffer from an answer that waited
// for a process that stood still.
func TestClockIsReadFromShortRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := begin(t, "ada", noSections)
		l := h.AddIdle(id("bob"), "bob:83")
		read := func(ahead, roundTrip time.Duration) time.Duration {
			time.Sleep(time.Second)
			l.readClock(time.Now().Add(ahead), roundTrip)
			return l.ClockOffset()
		}
		require.Equal(t, 2*time.Second, read(time.Second, 2*time.Second), "the first, for want of a better one")
		require.Equal(t, 21*time.Millisecond, read(20*time.Millisecond, 2*time.Millisecond))
		require.Equal(t, 21*time.Millisecond, read(0, time.Second))
		require.Equal(t, 50*time.Millisecond, read(25*time.Millisecond, goodTrip))
		require.Equal(t, 100*time.Millisecond, read(50*time.Millisecond, 2*goodTrip), "as good as the last")
		require.Equal(t, 100*time.Millisecond, read(0, time.Second))
		time.Sleep(readingLasts)
		require.Equal(t, 500*time.Millisecond, read(0, time.Second), "there was none for long")
	})
}

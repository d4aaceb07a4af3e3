package absence

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

var a, b, c = membertest.ID("a", 1), membertest.ID("b", 1), membertest.ID("c", 1)

// node is an Absence whose surroundings are what the test says.
type node struct {
	*Absence
	now     time.Time
	ahead   time.Duration
	inTouch bool
	others  []member.ID
	dropped []time.Time // before which
}

var start = time.UnixMilli(1e12)

func begin() *node {
	n := &node{now: start, inTouch: true, others: []member.ID{b, c}}
	n.Absence = New(Config{
		Now: func() time.Time { return n.now }, HostAhead: func() time.Duration { return n.ahead },
		InTouch: func() bool { return n.inTouch }, Others: func() []member.ID { return n.others },
		Drop: func(before time.Time) int { n.dropped = append(n.dropped, before); return 1 },
		Log:  slog.New(slog.DiscardHandler), Events: events.New(time.Now),
	})
	return n
}

// pass lets time go by, of which the node notes each hour.
func (n *node) pass(d time.Duration) {
	for ; d > 0; d -= time.Hour {
		n.now = n.now.Add(min(d, time.Hour))
		n.Tick()
	}
}

// tells has n hear of from what that one would say with this account.
func (n *node) tells(t *testing.T, from member.ID, other *node) {
	t.Helper()
	said, err := other.Section().Asked(a, nil)
	require.NoError(t, err)
	require.NoError(t, n.Section().Answered(from, 0, said))
}

// Who was away for nearly as long as an end is remembered, and hears of a node
// that was not, drops what it had before, once.
func TestReturningNodeDropsOldCopies(t *testing.T) {
	n, other := begin(), begin()
	n.pass(2 * time.Hour)
	n.inTouch = false
	n.pass(Limit)
	require.False(t, n.Away())
	n.pass(time.Millisecond)
	require.True(t, n.Away())
	n.inTouch = true
	n.Tick()
	require.True(t, n.Away(), "that it is in touch again does not settle anything")
	other.pass(2*time.Hour + Limit + time.Minute)
	n.tells(t, b, other)
	require.Equal(t, []time.Time{start.Add(2*time.Hour + ahead)}, n.dropped)
	require.False(t, n.Away())
	n.tells(t, c, other)
	require.Len(t, n.dropped, 1)
	require.Equal(t, start, n.since, "it has now what the other one has")
}

// One that was away for less keeps all.
func TestShortAbsence(t *testing.T) {
	n, other := begin(), begin()
	n.inTouch = false
	n.pass(Limit)
	other.pass(Limit)
	n.tells(t, b, other)
	require.Empty(t, n.dropped)
	require.False(t, n.Away())
}

// Where nobody was in touch all the time, as when all were away or have started
// since, all is kept, once all have said so.
func TestNobodyKnowsBetter(t *testing.T) {
	n, away, young := begin(), begin(), begin()
	n.inTouch, away.inTouch = false, false
	n.pass(30 * time.Hour)
	away.pass(30 * time.Hour)
	young.now = start.Add(29 * time.Hour)
	young.Absence = New(young.cfg)
	n.tells(t, b, away)
	require.True(t, n.Away(), "the other one is not asked yet")
	n.tells(t, b, away)
	require.True(t, n.Away())
	n.tells(t, c, young)
	require.False(t, n.Away())
	require.Empty(t, n.dropped)
	// It has not heard of all ends since the beginning, and says so.
	away.tells(t, a, n)
	require.Empty(t, away.dropped)

	n = begin()
	n.inTouch = false
	n.pass(30 * time.Hour)
	n.others = []member.ID{b}
	require.NoError(t, n.Section().Answered(b, 0, nil), "a version that says nothing")
	require.False(t, n.Away())
	require.Empty(t, n.dropped)
	require.ErrorContains(t, n.Section().Answered(b, 0, []byte{1}), "16 are accepted")
}

// A clock that jumps is no absence.
func TestJumpOfTheHostsClock(t *testing.T) {
	n, other := begin(), begin()
	n.ahead = 48 * time.Hour
	require.True(t, n.Away(), "it may have stood still")
	n.tells(t, b, other)
	require.False(t, n.Away())
	require.Empty(t, n.dropped)

	other.now = other.now.Add(48 * time.Hour)
	n = begin()
	n.tells(t, b, other)
	require.Empty(t, n.dropped, "the jump of another one's clock")
}

// A node that has just started has what it has from those that it has joined.
func TestJoinerKnowsWhatOthersDo(t *testing.T) {
	other := begin()
	other.pass(10 * time.Hour)
	n := begin()
	n.now = other.now
	n.Absence = New(n.cfg)
	require.Equal(t, other.now, n.since)
	n.tells(t, b, other)
	require.Equal(t, start, n.since)
}

// A process that has its sessions from the one before, over its disk, was away as
// long as that one was not there.
func TestAccountGoesOnWithTheDisk(t *testing.T) {
	first, other := begin(), begin()
	first.pass(2 * time.Hour)
	other.pass(2 * time.Hour)
	account := first.Account()
	require.Equal(t, Account{InTouch: start.Add(2 * time.Hour), Since: start}, account)
	for away, drops := range map[time.Duration]bool{time.Hour: false, Limit + time.Hour: true} {
		n, there := begin(), begin()
		n.now = account.InTouch.Add(away)
		n.cfg.Before = account
		n.Absence = New(n.cfg)
		there.pass(2*time.Hour + away)
		require.Equal(t, drops, n.Away())
		n.tells(t, b, there)
		require.Equal(t, drops, len(n.dropped) == 1)
		require.False(t, n.Away())
	}
	n := begin()
	n.cfg.Before = Account{InTouch: start.Add(time.Hour), Since: start}
	n.Absence = New(n.cfg)
	require.Equal(t, Account{InTouch: start, Since: start}, n.Account(), "an account of the future is none")
}

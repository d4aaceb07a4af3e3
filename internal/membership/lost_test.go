package membership

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// seen makes what gossip says of addresses.
func seen(alive []string, dead ...string) map[string]bool {
	all := make(map[string]bool)
	for _, at := range dead {
		all[at] = false
	}
	for _, at := range alive {
		all[at] = true
	}
	return all
}

// play tries all that is due until a time, in vain, and returns when which
// address was tried.
func play(l *lost, from, to time.Duration, all map[string]bool) map[string][]time.Duration {
	tries := make(map[string][]time.Duration)
	for now := from; now < to; {
		l.see(now, all)
		for _, at := range l.due(now, 8) {
			tries[at] = append(tries[at], now)
			l.tried(now, at, false, 1)
		}
		next, ok := l.next()
		if !ok {
			break
		}
		now = max(now, next)
	}
	return tries
}

// TestLostMemberIsTriedAtOnceAndOften: a process that is started anew within a
// minute is met within 0.75 s, which is less than it waits before it founds a
// cluster of its own.
func TestLostMemberIsTriedAtOnceAndOften(t *testing.T) {
	l := newLost(0, nil)
	l.see(time.Hour, seen([]string{"a", "b"}))
	require.Empty(t, l.due(time.Hour, 8), "nobody is missing")
	_, ok := l.next()
	require.False(t, ok)

	tries := play(l, time.Hour, time.Hour+24*time.Hour, seen([]string{"a"}, "b"))
	require.Empty(t, tries["a"])
	last := time.Hour
	for _, at := range tries["b"] {
		pause := at - last
		switch since := at - time.Hour; {
		case since <= time.Second:
			require.LessOrEqual(t, pause, 150*time.Millisecond)
		case since <= time.Minute:
			require.LessOrEqual(t, pause, 750*time.Millisecond)
		default:
			require.LessOrEqual(t, pause, 90*time.Second)
		}
		last = at
	}
	require.Less(t, len(tries["b"]), 2000, "the dead of a day cost little")
	require.Greater(t, last, 24*time.Hour)
}

// TestLostAddressIsForgotten: one that has not answered for 25 hours, unless it
// is a seed.
func TestLostAddressIsForgotten(t *testing.T) {
	l := newLost(0, []string{"seed"})
	l.see(0, seen([]string{"a", "seed"}))
	l.see(time.Hour, seen(nil, "a"))
	l.see(26*time.Hour-1, nil) // gossip has forgotten it long since
	require.Contains(t, l.known, "a")
	l.see(26*time.Hour, nil)
	require.NotContains(t, l.known, "a")
	l.see(1000*time.Hour, nil)
	require.Contains(t, l.known, "seed")
	tries := play(l, 1000*time.Hour, 1001*time.Hour, nil)["seed"]
	require.Greater(t, len(tries), 3600/5, "for ever, and every few seconds")
}

// TestAliveIsNotForgotten: what counts is since when an address does not
// answer.
func TestAliveIsNotForgotten(t *testing.T) {
	l := newLost(0, nil)
	for h := range 100 {
		l.see(time.Duration(h)*time.Hour, seen([]string{"a"}))
		l.see(time.Duration(h)*time.Hour+time.Minute, seen(nil, "a"))
	}
	require.Contains(t, l.known, "a")
}

// TestLostAddressesAreBounded: the one goes first that was lost first, never a
// seed, and never one where a member is.
func TestLostAddressesAreBounded(t *testing.T) {
	l := newLost(0, []string{"seed"})
	name := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/256, i%256) }
	for i := range rememberedPeers + 10 {
		now := time.Duration(i) * time.Second
		l.see(now, seen([]string{"stays", name(i)}))
	}
	require.Len(t, l.known, rememberedPeers+1)
	for i := range rememberedPeers + 10 {
		require.Equal(t, i >= 11, l.known[name(i)] != nil, "%d", i)
	}
	require.Contains(t, l.known, "stays")
	require.Contains(t, l.known, "seed")

	l.see(time.Hour, seen([]string{"stays"}, "told of, and dead"))
	require.NotContains(t, l.known, "told of, and dead", "the dead push nobody out")
	var alive []string
	for i := range 2 * rememberedPeers {
		alive = append(alive, name(i))
	}
	l.see(2*time.Hour, seen(alive))
	require.Len(t, l.known, rememberedPeers+1, "a larger cluster than that")
}

// TestSeedsComeFirst: where more is due than can be tried at a time.
func TestSeedsComeFirst(t *testing.T) {
	l := newLost(0, []string{"seed"})
	l.see(0, seen([]string{"a", "b"}))
	l.see(1, seen(nil, "a", "b"))
	require.Equal(t, []string{"seed", "a"}, l.due(time.Second, 2))
	require.Equal(t, []string{"b"}, l.due(time.Second, 2), "those are being tried")
	require.Empty(t, l.due(time.Second, 2))
	l.tried(time.Second, "seed", false, 0)
	l.tried(time.Second, "forgotten", false, 0)
	require.Equal(t, []string{"seed"}, l.due(1100*time.Millisecond, 2))
}

// TestWhoAnswersIsNotHurried: a seed by a host's name, which no member goes by,
// and one that answers and takes no part.
func TestWhoAnswersIsNotHurried(t *testing.T) {
	l := newLost(0, []string{"seed"})
	require.Equal(t, []string{"seed"}, l.due(time.Second, 8))
	l.tried(time.Second, "seed", true, 0)
	at, ok := l.next()
	require.True(t, ok)
	require.Equal(t, 4*time.Second, at)
}

// TestLostAnyOrder: whatever happens, the table stays within its bound, keeps
// the seeds and those that are alive, and each address that is lost is tried.
func TestLostAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addresses := []string{"s1", "s2", "a", "b", "c", "d"}
		now := time.Duration(0)
		l := newLost(now, addresses[:2])
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(1, 1e13).Draw(t, "passes"))
			all := make(map[string]bool)
			for _, at := range addresses {
				switch rapid.IntRange(0, 2).Draw(t, "is") {
				case 0:
					all[at] = true
				case 1:
					all[at] = false
				}
			}
			l.see(now, all)
			for _, at := range l.due(now, rapid.IntRange(0, 4).Draw(t, "room")) {
				require.False(t, all[at], "it was lost")
				l.tried(now, at, rapid.Bool().Draw(t, "answered"), rapid.Float64Range(0, 1).Draw(t, "jitter"))
			}
			for _, at := range addresses {
				a := l.known[at]
				require.False(t, a == nil && (slices.Contains(addresses[:2], at) || all[at]), at)
				if a != nil && !a.alive {
					require.LessOrEqual(t, a.next, max(now, a.since)+rejoinPeer*3/2)
				}
			}
		}
	})
}

package events

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// running runs an event log in a bubble and ends it with the test.
func running(t *testing.T) *Log {
	l := New(time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

func drained(ch chan Event) (all []Event) {
	for {
		select {
		case ev := <-ch:
			all = append(all, ev)
		default:
			return all
		}
	}
}

func TestEventsReachSubscribersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := running(t)
		_, ch, cancel := l.Subscribe(0)
		l.Add("joined", "member", "b", "boot", 7)
		l.Add("ring")
		synctest.Wait()
		got := drained(ch)
		require.Len(t, got, 2)
		require.Equal(t, Event{ID: 1, Time: time.Now(), Kind: "joined", Data: map[string]any{"member": "b", "boot": 7}}, got[0])
		require.Equal(t, "ring", got[1].Kind)
		require.EqualValues(t, 2, got[1].ID)

		cancel()
		l.Add("after")
		synctest.Wait()
		require.Empty(t, drained(ch))
		require.Empty(t, l.subs)
	})
}

func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := running(t)
		for range 10 * keep {
			l.Add("x")
		}
		synctest.Wait()
		require.Len(t, l.kept, keep)
		require.LessOrEqual(t, cap(l.kept), 4*keep)
		past, _, cancel := l.Subscribe(0)
		defer cancel()
		require.Len(t, past, keep)
		require.EqualValues(t, 10*keep, past[keep-1].ID)
	})
}

// A subscriber that does not read holds nobody up. It misses events, and the
// ids of those that it gets later show how many.
func TestSlowSubscriberMissesEventsAndSeesTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := running(t)
		_, slow, cancelSlow := l.Subscribe(0)
		defer cancelSlow()
		_, quick, cancelQuick := l.Subscribe(0)
		defer cancelQuick()
		const sent = queue + 40
		var got []Event
		for range sent {
			l.Add("x")
			synctest.Wait()
			got = append(got, drained(quick)...)
		}
		require.Len(t, got, sent, "the quick one got all")
		require.EqualValues(t, 40, l.Missed())

		missed := drained(slow)
		require.Len(t, missed, queue)
		l.Add("y")
		synctest.Wait()
		next := drained(slow)
		require.Len(t, next, 1)
		require.EqualValues(t, 40, next[0].ID-missed[len(missed)-1].ID-1, "the gap")
	})
}

// A page that comes back with the last id that it has misses nothing and gets
// nothing twice.
func TestSubscriberThatComesBackMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := running(t)
		last := uint64(0)
		for round := range 20 {
			past, ch, cancel := l.Subscribe(last)
			for range round % 7 {
				l.Add("x")
			}
			if round%2 == 0 {
				synctest.Wait() // else it leaves before they are sent
			}
			for _, ev := range append(past, drained(ch)...) {
				require.Equal(t, last+1, ev.ID)
				last = ev.ID
			}
			cancel()
		}
		synctest.Wait()
		past, _, cancel := l.Subscribe(last)
		defer cancel()
		require.Equal(t, l.last, last+uint64(len(past)))
	})
}

func TestSince(t *testing.T) {
	t.Parallel()
	l := New(time.Now)
	l.Add("a")
	l.Add("b")
	require.Len(t, l.Since(0), 2)
	require.Equal(t, "b", l.Since(1)[0].Kind)
	require.NotNil(t, l.Since(2), "an empty list, not null")
	require.Empty(t, l.Since(2))
}

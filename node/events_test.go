package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// running runs an event log in a bubble and ends it with the test.
func running(t *testing.T) *events {
	e := newEvents(time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return e
}

func drained(ch chan event) (all []event) {
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
		e := running(t)
		_, ch, cancel := e.subscribe(0)
		e.add("joined", "member", "b", "boot", 7)
		e.add("ring")
		synctest.Wait()
		got := drained(ch)
		require.Len(t, got, 2)
		require.Equal(t, event{ID: 1, Time: time.Now(), Kind: "joined", Data: map[string]any{"member": "b", "boot": 7}}, got[0])
		require.Equal(t, "ring", got[1].Kind)
		require.EqualValues(t, 2, got[1].ID)

		cancel()
		e.add("after")
		synctest.Wait()
		require.Empty(t, drained(ch))
		require.Empty(t, e.subs)
	})
}

func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := running(t)
		for range 10 * keptEvents {
			e.add("x")
		}
		synctest.Wait()
		require.Len(t, e.kept, keptEvents)
		require.LessOrEqual(t, cap(e.kept), 4*keptEvents)
		past, _, cancel := e.subscribe(0)
		defer cancel()
		require.Len(t, past, keptEvents)
		require.EqualValues(t, 10*keptEvents, past[keptEvents-1].ID)
	})
}

// A subscriber that does not read holds nobody up. It misses events, and the
// ids of those that it gets later show how many.
func TestSlowSubscriberMissesEventsAndSeesTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := running(t)
		_, slow, cancelSlow := e.subscribe(0)
		defer cancelSlow()
		_, quick, cancelQuick := e.subscribe(0)
		defer cancelQuick()
		const sent = eventQueue + 40
		var got []event
		for range sent {
			e.add("x")
			synctest.Wait()
			got = append(got, drained(quick)...)
		}
		require.Len(t, got, sent, "the quick one got all")
		require.EqualValues(t, 40, e.missed.Load())

		missed := drained(slow)
		require.Len(t, missed, eventQueue)
		e.add("y")
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
		e := running(t)
		last := uint64(0)
		for round := range 20 {
			past, ch, cancel := e.subscribe(last)
			for range round % 7 {
				e.add("x")
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
		past, _, cancel := e.subscribe(last)
		defer cancel()
		require.Equal(t, e.last, last+uint64(len(past)))
	})
}

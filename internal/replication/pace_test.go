package replication

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// TestPace: what changes after a quiet while goes at once, and what follows it
// gathers for a moment, unless there is a reason not to.
func TestPace(t *testing.T) {
	mark := func(t *testing.T, store *session.Store, r *Replicator, keys ...string) {
		for _, key := range keys {
			put(t, store, key, "v")
			r.Mark([]string{"b"}, key)
		}
	}
	for _, tt := range []struct {
		name  string
		hurry func(t *testing.T, store *session.Store, r *Replicator)
		sent  int // records of the second batch
		after time.Duration
	}{
		{name: "nothing hurries", sent: 2, after: pace - 1},
		{name: "a writer waits", sent: 3, hurry: func(t *testing.T, store *session.Store, r *Replicator) {
			put(t, store, "awaited", "v")
			waiting(t.Context(), r, []string{"b"}, "awaited", 1)
		}},
		{name: "enough has gathered", sent: gatherKeys, hurry: func(t *testing.T, store *session.Store, r *Replicator) {
			for i := range gatherKeys - 2 {
				mark(t, store, r, fmt.Sprint(i))
			}
		}},
		{name: "somebody asks whether all is there", sent: 2, hurry: func(t *testing.T, _ *session.Store, r *Replicator) {
			require.Zero(t, r.CaughtUp([]string{"b"}, time.Now().Add(time.Second)))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *session.Store, r *Replicator) {
				link := newHeld()
				r.Attach(t.Context(), "b", link)
				time.Sleep(time.Second)

				mark(t, store, r, "first")
				first := link.next(synctest.Wait)
				require.NotNil(t, first, "at once")
				first.reply(nil, nil)
				synctest.Wait()
				time.Sleep(time.Nanosecond)
				mark(t, store, r, "second", "third")
				require.Nil(t, link.next(synctest.Wait), "too early")

				begin := time.Now()
				var batch *heldCall
				if tt.hurry != nil {
					tt.hurry(t, store, r)
					batch = link.next(synctest.Wait)
				} else {
					batch = <-link.calls
				}
				require.NotNil(t, batch)
				require.Equal(t, tt.after, time.Since(begin))
				require.Len(t, decodeAll(t, batch.payload), tt.sent)
				batch.reply(nil, nil)
			})
		})
	}
}

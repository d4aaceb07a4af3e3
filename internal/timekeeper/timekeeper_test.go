package timekeeper

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/metric"
)

// kept is a Keeper with what it looks at and what it has told.
type kept struct {
	*Keeper
	host    time.Duration
	others  []time.Duration
	serving bool
	serves  bool
	told    []string
	counts  metric.Set
	events  *events.Log
}

func newKept() *kept {
	k := &kept{others: []time.Duration{0, 0}, serves: true, serving: true, events: events.New(time.Now)}
	wall := clock.NewWall(func() time.Time { return time.Now().Add(k.host) })
	k.Keeper = New(Config{
		Wall:   wall,
		Others: func() ([]time.Duration, bool) { return k.others, k.serving },
		Serves: func() bool { return k.serves },
		Tell: func(why string) error {
			if last := len(k.told) - 1; last < 0 && why != "" || last >= 0 && (k.told[last] == "") != (why == "") {
				k.told = append(k.told, why)
			}
			return nil
		},
		Log: slog.New(slog.DiscardHandler), Events: k.events, Counters: &k.counts,
	})
	return k
}

// look looks as often as Run would for so long.
func (k *kept) look(d time.Duration) {
	for range d / every {
		time.Sleep(every)
		k.Look()
	}
}

const behind = "the clock is 3s behind those of the other members, 950ms at most is accepted"

// One reading that is off is forgiven; a member that stays off owns nothing,
// says so once, and is back when it is well within what is accepted.
func TestMemberThatIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		k.look(time.Minute)
		for range 3 {
			k.others = []time.Duration{3 * time.Second, 3 * time.Second}
			k.look(offFor - every)
			k.others = []time.Duration{0, 0}
			k.look(every)
		}
		require.Empty(t, k.told)

		k.others = []time.Duration{3 * time.Second, 3 * time.Second}
		k.look(time.Minute)
		require.Equal(t, []string{behind}, k.told)
		require.Equal(t, -3*time.Second, k.Off())
		k.others = []time.Duration{backWithin + time.Millisecond, clock.Near}
		k.look(time.Minute)
		require.Len(t, k.told, 1, "it is not well within yet")
		k.others = []time.Duration{backWithin, backWithin}
		k.look(every)
		require.Equal(t, []string{behind, ""}, k.told)
	})
}

// One that starts with a wrong clock does not serve for a second first.
func TestMemberThatStartsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		k.serves = false
		k.others = []time.Duration{3 * time.Second}
		k.Look()
		require.Equal(t, []string{behind}, k.told)

		k.serves = true // its state is ready, as it is off the ring for its clock alone
		k.look(time.Minute)
		require.Equal(t, []string{behind}, k.told, "of two that differ the one that has not served is wrong")
		k.others = []time.Duration{backWithin}
		k.look(time.Second)
		require.Equal(t, []string{behind, ""}, k.told)

		k = newKept()
		k.serves, k.serving = false, false
		k.others = []time.Duration{3 * time.Second}
		k.Look()
		require.Empty(t, k.told, "no cluster is there yet, and nobody can tell which is right")
	})
}

// Where this member alone serves, the others follow it, however many they are.
func TestWhoAloneServesIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		k.others, k.serving = []time.Duration{time.Hour, time.Hour}, false
		k.look(time.Minute)
		require.Empty(t, k.told)
		k.host = time.Hour
		k.look(time.Minute)
		require.Equal(t, time.Hour, k.Host(), "the jump is not followed")
		k.serving = true
		k.look(time.Second)
		require.Zero(t, k.Host(), "it is now")
	})
}

// A jump is said once, counted, and not followed unless it is confirmed.
func TestJumpsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		jumps := func() int64 { return k.counts.Values()["clock_jumps"] }
		k.look(time.Second)
		k.host = time.Hour
		k.look(time.Minute)
		require.EqualValues(t, 1, jumps())
		require.Equal(t, time.Hour, k.Host())
		require.Empty(t, k.told)
		k.host = 0
		k.look(time.Second)
		require.Zero(t, k.Host())
		require.EqualValues(t, 1, jumps())

		k.host, k.others = -time.Hour, []time.Duration{-time.Hour, -time.Hour}
		k.look(time.Second)
		require.EqualValues(t, 2, jumps())
		require.Zero(t, k.Host(), "it was followed")
		require.Empty(t, k.told)
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		k.others = []time.Duration{3 * time.Second, 3 * time.Second}
		running.Go(func() { k.Run(ctx) })
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		running.Wait()
		require.Equal(t, []string{behind}, k.told)
	})
}

// Whoever looks while another look tells the others waits for it without a
// lock: telling may take as long as the network does.
func TestLooksWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		telling, most := 0, 0
		k.cfg.Tell = func(string) error {
			telling++
			most = max(most, telling)
			time.Sleep(time.Second) // which ends only if nobody holds a lock meanwhile
			telling--
			return nil
		}
		began := time.Now()
		var looks sync.WaitGroup
		for range 3 {
			looks.Go(k.Look)
		}
		looks.Wait()
		require.Equal(t, 1, most)
		require.Equal(t, 3*time.Second, time.Since(began))
	})
}

package clock

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// hostClock is a host's clock that can be set.
type hostClock struct{ off time.Duration }

func (h *hostClock) now() time.Time { return time.Now().Add(h.off) }

func TestWallFollowsDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hostClock
		w := NewWall(h.now)
		for range 10 {
			h.off += Near / 2
			require.True(t, w.Now().Equal(h.now()))
			require.Zero(t, w.Keep(nil, true).Set)
			time.Sleep(time.Second)
		}
		require.Zero(t, w.Host())
	})
}

// What becomes of a jump, by what the others' clocks say before and after it.
func TestWallAndJumps(t *testing.T) {
	type others []time.Duration
	const h = time.Hour
	for _, c := range []struct {
		why     string
		jump    time.Duration
		others  others // as far ahead as this before the jump
		trusted bool
		follows bool
		off     time.Duration // of Now, after it
	}{
		{"nobody says the same", h, others{0, 0}, true, false, 0},
		{"one of two says the same", h, others{h, 0}, true, true, 0},
		{"back, as the others", -h, others{-h, -h}, true, true, 0},
		{"all others were ahead, and are closer now", h, others{h - 10, h - 10}, true, true, 10},
		{"further away", h, others{-h, -h}, true, false, h},
		{"a small one is no jump", Near, others{0, 0}, true, true, Near},
		{"one against one, and this one serves", h, others{0}, true, false, 0},
		{"one against one, and both say so", h, others{h}, true, true, 0},
		{"one against one, and this one does not serve yet", 365 * 24 * h, others{0}, false, false, 0},
		{"one against one, and the other was right before", h, others{h}, false, true, 0},
		{"a year", 365 * 24 * h, others{0, 10, -10}, true, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var host hostClock
			w := NewWall(host.now)
			time.Sleep(time.Minute)
			before := w.Now()
			host.off = c.jump
			s := w.Keep(c.others, c.trusted)
			require.Equal(t, c.off, s.Off, c.why)
			if c.follows {
				require.Equal(t, c.jump, w.Now().Sub(before), c.why)
				require.Zero(t, w.Host(), c.why)
				return
			}
			require.Zero(t, w.Now().Sub(before), c.why)
			require.Equal(t, c.jump, w.Host(), c.why)
			require.Equal(t, c.jump, s.Host, c.why)
			time.Sleep(time.Minute)
			require.Equal(t, time.Minute, w.Now().Sub(before), c.why)
			host.off = 0 // and back
			require.Equal(t, time.Minute, w.Now().Sub(before), c.why)
			require.Zero(t, w.Keep(c.others, c.trusted).Host, c.why)
		})
	}
}

// A member that starts beside one that serves is wrong where the two differ.
func TestWallThatIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWall(time.Now)
		require.Equal(t, -time.Hour, w.Keep([]time.Duration{time.Hour}, false).Off)
		require.Zero(t, w.Keep([]time.Duration{time.Hour}, true).Off)
		require.Zero(t, w.Keep([]time.Duration{time.Hour, 0}, false).Off)
	})
}

// Where nobody else is there, a jump is followed when it has lasted.
func TestWallAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var host hostClock
		w := NewWall(host.now)
		host.off = time.Hour
		for range int(aloneFollows / time.Second) {
			require.Zero(t, w.Keep(nil, true).Set)
			require.Equal(t, time.Hour, w.Host())
			time.Sleep(time.Second)
		}
		host.off = 0 // it comes back in time, and jumps once more
		require.Zero(t, w.Keep(nil, true))
		host.off = -time.Hour
		require.Zero(t, w.Keep(nil, true).Set)
		time.Sleep(aloneFollows)
		require.Equal(t, Standing{Set: -time.Hour}, w.Keep(nil, true))
		require.Zero(t, w.Keep(nil, true))
		require.True(t, w.Now().Equal(host.now()))
	})
}

// Whatever the clocks of others say, and however the host's jumps, the time
// moves only by what passes, by drift, and to where the host's clock is.
func TestWallMovesByNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var off time.Duration
		w := NewWall(func() time.Time { return time.Now().Add(off) })
		some := rapid.Custom(func(t *rapid.T) time.Duration {
			return rapid.SampledFrom([]time.Duration{0, 0, 300 * time.Millisecond, -300 * time.Millisecond, 2 * time.Second, -time.Hour}).Draw(t, "off")
		})
		for range 20 {
			off = some.Draw(t, "host")
			before := time.Until(w.Now())
			s := w.Keep(rapid.SliceOfN(some, 0, 4).Draw(t, "others"), rapid.Bool().Draw(t, "trusted"))
			after := time.Until(w.Now())
			const slack = 100 * time.Millisecond // real time passes between two readings
			moved := (after - before).Abs() > slack
			require.True(t, !moved || (after-off).Abs() < slack, "from %v to %v, the host is at %v", before, after, off)
			require.Equal(t, s.Set != 0, moved)
		}
	})
}

func BenchmarkWallNow(b *testing.B) {
	w := NewWall(nil)
	for _, c := range []struct {
		name string
		now  func() time.Time
	}{{"time.Now", time.Now}, {"Wall", w.Now}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.now()
			}
		})
	}
}

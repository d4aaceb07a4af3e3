package wait

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWakeRemembersOneKick(t *testing.T) {
	t.Parallel()
	w := NewWake()
	require.Empty(t, w)
	w.Kick()
	w.Kick()
	require.Len(t, w, 1)
	<-w
	require.Empty(t, w)
}

func TestUntilLooksAtOnceAtEachBeatAndAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		var looks atomic.Int32
		const last = 5
		begin := time.Now()
		ended := make(chan error)
		go func() {
			ended <- p.Until(t.Context(), time.Hour, func() bool { return looks.Add(1) == last })
		}()
		synctest.Wait()
		require.EqualValues(t, 1, looks.Load(), "at once")
		for i := range 2 {
			p.Beat()
			synctest.Wait()
			require.EqualValues(t, i+2, looks.Load())
		}
		require.NoError(t, <-ended)
		require.Equal(t, 2*time.Hour, time.Since(begin), "the last two without a beat")
	})
}

// What changes between the look and the wait is not missed.
func TestUntilMissesNoBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		first := true
		begin := time.Now()
		require.NoError(t, p.Until(t.Context(), time.Hour, func() bool {
			if first {
				first = false
				p.Beat()
				return false
			}
			return true
		}))
		require.Zero(t, time.Since(begin))
	})
}

func TestUntilEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Until(ctx, time.Minute, func() bool { return false }), context.DeadlineExceeded)
		require.NoError(t, p.Until(ctx, time.Minute, func() bool { return true }), "there is nothing to wait for")
	})
}

func TestEveryCallsOneAfterTheOtherUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		var calls []time.Duration
		Every(ctx, time.Second, func() {
			calls = append(calls, time.Since(begin))
			switch len(calls) {
			case 2:
				time.Sleep(5*time.Second + time.Millisecond) // a call that takes long is not made up for
			case 4:
				cancel()
			}
		})
		require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 7*time.Second + time.Millisecond, 8 * time.Second}, calls)
	})
}

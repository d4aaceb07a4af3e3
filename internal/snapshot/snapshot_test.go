package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// works is a Taker in a bubble, and what it has done.
type works struct {
	*Taker
	began   time.Time
	took    []time.Duration // since began
	shipped []string
	log     strings.Builder
	events  *events.Log
	fails   atomic.Bool
	stop    func()
}

var errLinks = errors.New("no links here")

// run runs a Taker with snapshots that take a second, until stop. They fail while fails says so.
func run(t *testing.T, every time.Duration, newest time.Time, ship func(ctx context.Context, path string) (string, error)) *works {
	w := &works{began: time.Now(), events: events.New(time.Now)}
	cfg := Config{Every: every, Newest: newest, Clock: clock.New(time.Now), Log: slog.New(slog.NewTextHandler(&w.log, nil)), Events: w.events}
	cfg.Take = func(ctx context.Context, at time.Time) (string, error) {
		w.took = append(w.took, at.Sub(w.began))
		time.Sleep(time.Second)
		if w.fails.Load() {
			return "", errLinks
		}
		return fmt.Sprint("/snapshots/", len(w.took)), nil
	}
	if ship != nil {
		cfg.Ship = func(ctx context.Context, path string) (string, error) {
			w.shipped = append(w.shipped, path)
			return ship(ctx, path)
		}
	}
	w.Taker = New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	w.stop = func() { cancel(); running.Wait() }
	return w
}

func (w *works) counted() (taken, failed int64) {
	w.Count(func(name, _ string, n int64) {
		if name == "snapshots" {
			taken = n
		} else {
			failed = n
		}
	})
	return taken, failed
}

// The first snapshot is taken at once where there is none, and the others as long
// after the one before as was asked for, over restarts too.
func TestSnapshotsAreTakenInTime(t *testing.T) {
	for _, c := range []struct {
		age   time.Duration // of the one that there is; below 0 for none
		first time.Duration
	}{
		{-1, 0}, {20 * time.Minute, 40 * time.Minute}, {5 * time.Hour, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			newest := time.Now().Add(-c.age)
			if c.age < 0 {
				newest = time.Time{}
			}
			w := run(t, time.Hour, newest, nil)
			require.Equal(t, max(0, c.age), w.Age())
			time.Sleep(c.first + 2*time.Hour + 30*time.Minute)
			w.stop()
			require.Equal(t, []time.Duration{c.first, c.first + time.Hour, c.first + 2*time.Hour}, w.took)
			require.Equal(t, 30*time.Minute, w.Age())
			taken, failed := w.counted()
			require.EqualValues(t, 3, taken)
			require.Zero(t, failed)
		})
	}
}

// A clock that was set back leaves a snapshot of the future: the next is due as if
// that were of now.
func TestSnapshotOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, time.Hour, time.Now().Add(24*time.Hour), nil)
		time.Sleep(61 * time.Minute)
		w.stop()
		require.Len(t, w.took, 1)
	})
}

// A snapshot that fails is tried anew after a minute, counted and told, and the
// age goes on growing.
func TestSnapshotsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, time.Hour, time.Time{}, nil)
		w.fails.Store(true)
		time.Sleep(150 * time.Second)
		require.Equal(t, 150*time.Second, w.Age())
		w.fails.Store(false)
		time.Sleep(90 * time.Second) // at three minutes
		w.stop()
		require.Equal(t, []time.Duration{0, time.Minute, 2 * time.Minute, 3 * time.Minute}, w.took)
		require.Equal(t, time.Minute, w.Age())
		taken, failed := w.counted()
		require.EqualValues(t, 1, taken)
		require.EqualValues(t, 3, failed)
		require.Contains(t, w.log.String(), "no links here")
		kept := w.events.Since(0)
		require.Len(t, kept, 3)
		require.Equal(t, "snapshot-failed", kept[0].Kind)
	})
}

// The next snapshot waits until the command has ended, which is stopped when that
// is due. A command that fails is told with what it said last.
func TestCommandHasUntilTheNextSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := 0
		w := run(t, time.Hour, time.Time{}, func(ctx context.Context, path string) (string, error) {
			running++
			defer func() { running-- }()
			require.Equal(t, 1, running)
			switch path {
			case "/snapshots/1":
				<-ctx.Done()
				time.Sleep(5 * time.Second)
				return "still at it", ctx.Err()
			case "/snapshots/2":
				return "disk quota exceeded", errors.New("exit status 3")
			}
			return "fine", nil
		})
		time.Sleep(3 * time.Hour)
		w.stop()
		require.Equal(t, []time.Duration{0, time.Hour + 5*time.Second, 2*time.Hour + 5*time.Second}, w.took)
		require.Len(t, w.shipped, 3)
		taken, failed := w.counted()
		require.EqualValues(t, 3, taken)
		require.EqualValues(t, 2, failed)
		for _, says := range []string{"still at it", "deadline exceeded", "disk quota exceeded", "exit status 3", "fine"} {
			require.Contains(t, w.log.String(), says)
		}
		for _, e := range w.events.Since(0) {
			require.NotContains(t, fmt.Sprint(e.Data), "quota", "what a program says is not for everybody who may read events")
		}
	})
}

// A node that stops stops the command, which is no failure.
func TestStopEndsTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, time.Hour, time.Time{}, func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		time.Sleep(time.Minute)
		w.stop()
		taken, failed := w.counted()
		require.EqualValues(t, 1, taken)
		require.Zero(t, failed)
		require.Contains(t, w.log.String(), "as this node stops")
	})
}

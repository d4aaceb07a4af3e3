// Package snapshot keeps copies of what a node has on its disk, for the day on
// which the disks of all nodes are lost, or what they have is wrong.
//
// The life of one snapshot. When it is due [Taker.Run] has it taken, which is a
// matter of some files with a second name (package disk), and then has the
// operator's command bring it to a place elsewhere ([Command]). The next one is
// not begun before that has ended. Nothing that serves sessions waits for any of
// it, and a failure is logged and counted, and tried anew.
package snapshot

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/metric"
)

// retryAfter is how soon after one that failed the next snapshot is due, if it is
// not due before.
const retryAfter = time.Minute

// Config is what a Taker needs. All of it is required but Ship and Newest.
type Config struct {
	// Every is how long after the beginning of a snapshot the next is due.
	Every time.Duration
	// Take takes a snapshot and returns its path, also with an error that says
	// that older ones could not be removed. at is the time of day.
	Take func(ctx context.Context, at time.Time) (path string, err error)
	// Ship brings a snapshot elsewhere, and returns what it said last. It ends
	// soon after its context, which does when the next snapshot is due.
	Ship func(ctx context.Context, path string) (output string, err error)
	// Newest is when the newest one was begun that there is at the start.
	Newest time.Time
	Clock  clock.Clock
	Log    *slog.Logger
	Events *events.Log
}

// Taker takes snapshots. It may be used from many goroutines.
type Taker struct {
	cfg Config
	// last is when the newest snapshot was begun, as time since the process's
	// start: below 0 for before it, and 0 for none.
	last   atomic.Int64
	taken  atomic.Int64
	failed atomic.Int64
}

// New returns a Taker that has yet to Run.
func New(cfg Config) *Taker {
	t := &Taker{cfg: cfg}
	if !cfg.Newest.IsZero() {
		t.last.Store(int64(min(-1, cfg.Newest.Sub(cfg.Clock.Now())))) // a clock that was set back makes none of the future
	}
	return t
}

// Age is how long ago the newest snapshot was begun; where there is none, how
// long ago the process was started.
func (t *Taker) Age() time.Duration { return t.cfg.Clock.Since() - time.Duration(t.last.Load()) }

// Count puts what is counted.
func (t *Taker) Count(put metric.Put) {
	put("snapshots", "Snapshots of the disk that were taken.", t.taken.Load())
	put("snapshot_failures", "Snapshots that could not be taken, and runs of -snapshot-exec that failed.", t.failed.Load())
}

// Run takes a snapshot whenever one is due, until ctx ends.
func (t *Taker) Run(ctx context.Context) {
	due := time.NewTimer(max(0, t.cfg.Every-t.Age()))
	if t.last.Load() == 0 { // there is none
		due.Reset(0)
	}
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
		begun, wait := t.cfg.Clock.Since(), t.cfg.Every
		if !t.take(ctx) {
			wait = min(wait, retryAfter)
		}
		due.Reset(max(0, wait-(t.cfg.Clock.Since()-begun)))
	}
}

// take takes one snapshot and ships it. It says whether it was taken.
func (t *Taker) take(ctx context.Context) bool {
	node := ctx
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Every)
	defer cancel()
	begun, at := t.cfg.Clock.Since(), t.cfg.Clock.Now()
	path, err := t.cfg.Take(ctx, at)
	if node.Err() != nil {
		return false
	}
	if err != nil {
		t.fail("a snapshot failed", "path", path, "error", err.Error())
	}
	if path == "" {
		return false
	}
	t.last.Store(int64(max(1, begun)))
	t.taken.Add(1)
	t.cfg.Log.Info("a snapshot is taken", "path", path, "ms", (t.cfg.Clock.Since() - begun).Milliseconds())
	if t.cfg.Ship == nil {
		return true
	}
	begun = t.cfg.Clock.Since()
	output, err := t.cfg.Ship(ctx, path)
	took := t.cfg.Clock.Since() - begun
	switch {
	case err == nil:
		t.cfg.Log.Info("a snapshot is shipped", "path", path, "ms", took.Milliseconds(), "output", output)
	case node.Err() != nil:
		t.cfg.Log.Warn("the command that ships a snapshot was stopped, as this node stops", "path", path, "error", err)
	default:
		t.fail("the command that ships a snapshot failed", "path", path, "error", err.Error(), "ms", took.Milliseconds(), "output", output)
	}
	return true
}

func (t *Taker) fail(what string, details ...any) {
	t.failed.Add(1)
	t.cfg.Log.Error(what, details...)
	t.cfg.Events.Add("snapshot-failed", details[:4]...) // without what a program has said
}

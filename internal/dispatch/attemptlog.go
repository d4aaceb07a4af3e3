package dispatch

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/session"
)

// attemptLog keeps an operation from being run by an attempt that arrives late,
// after a repetition of it has been run: a cut network delivers what it has
// held back when it heals. A repetition that has been run is not run again
// either, but answered as it was. The log knows repeated operations only, and
// is as good as always empty.
type attemptLog struct {
	size     atomic.Int32 // of ids, so that the usual case takes no lock
	unfenced atomic.Int64 // repetitions that found no room in ids

	mu  sync.Mutex // guards ids
	ids map[uint64]*attempts
}

// attempts is what the log knows of one operation.
type attempts struct {
	until time.Time
	done  *outcome // nil until a repetition has been run
}

// outcome is what became of one attempt. The answers of a batch in it are its
// own copy: each attempt brings the buffer in which they are to stand, behind
// what is there.
type outcome struct {
	rep reply
	err error
}

// to returns the outcome as the answer to another attempt.
func (o *outcome) to(w work) (reply, error) {
	rep := o.rep
	if b, ok := w.(*batchWork); ok && rep.answers != nil {
		rep.answers = append(b.dst, rep.answers...)
	}
	return rep, o.err
}

// maxFence bounds the ids kept. Beyond it attempts are let through, as they
// would be without a log.
const maxFence = 1 << 16

// raise lets no attempt of an operation pass any more that is not a repetition.
// It stands until the deadline of everything that was sent before it is over.
func (f *attemptLog) raise(a attempt.Attempt, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = make(map[uint64]*attempts)
	}
	if len(f.ids) >= maxFence {
		f.lowerLocked(now)
	}
	switch {
	case f.ids[a.ID] != nil:
	case len(f.ids) < maxFence:
		f.ids[a.ID] = &attempts{until: now.Add(attempt.Lifetime)}
	default:
		f.unfenced.Add(1)
	}
	f.size.Store(int32(len(f.ids)))
}

// stops says whether an attempt comes too late.
func (f *attemptLog) stops(a attempt.Attempt) bool {
	if f.size.Load() == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, raised := f.ids[a.ID]
	return raised
}

// lower forgets operations whose time is over.
func (f *attemptLog) lower(now time.Time) {
	if f.size.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lowerLocked(now)
	f.size.Store(int32(len(f.ids)))
}

func (f *attemptLog) lowerLocked(now time.Time) {
	for id, a := range f.ids {
		if now.After(a.until) {
			delete(f.ids, id)
		}
	}
}

// note keeps what became of a repetition, if that is final.
func (f *attemptLog) note(r *request, rep reply, err error) {
	if !r.Repeat || !r.work.writes() || again(err) || errors.Is(err, session.ErrUncertain) || errors.Is(err, session.ErrUnavailable) {
		return
	}
	if b, ok := r.work.(*batchWork); ok && rep.answers != nil {
		rep.answers = bytes.Clone(rep.answers[len(b.dst):])
	}
	rep.changed = nil // its copies are seen to, and it is the work's
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.ids[r.ID]; a != nil && a.done == nil {
		a.done = &outcome{rep, err}
	}
}

// outcome returns what became of an earlier repetition of r, nil if none is
// known of.
func (f *attemptLog) outcome(r *request) *outcome {
	if !r.Repeat || !r.work.writes() || f.size.Load() == 0 || planted.Is(planted.LateRepeat) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.ids[r.ID]; a != nil {
		return a.done
	}
	return nil
}

// TooLate says whether an operation must not be run any more: its writer has
// given it up, or a repetition of it is here already.
func (d *Dispatcher) TooLate(a attempt.Attempt) error {
	now := d.cfg.Clock.Now()
	switch {
	case now.After(a.Deadline):
		return fmt.Errorf("%w by %v", attempt.ErrTooLate, now.Sub(a.Deadline).Round(time.Millisecond))
	case a.Repeat:
		d.attempts.raise(a, now)
	case d.attempts.stops(a):
		return fmt.Errorf("%w: its repetition has come before it", attempt.ErrTooLate)
	}
	return nil
}

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
	unlogged atomic.Int64 // repetitions that found no room in ids

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

// maxOperations bounds the ids kept. Beyond it attempts are let through, as
// they would be without a log.
const maxOperations = 1 << 16

// add takes in a repetition: from here on no attempt of its operation passes
// that is not one. It stays until the deadline of everything that was sent
// before it is over.
func (l *attemptLog) add(a attempt.Attempt, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids = make(map[uint64]*attempts)
	}
	if len(l.ids) >= maxOperations {
		l.forgetLocked(now)
	}
	switch {
	case l.ids[a.ID] != nil:
	case len(l.ids) < maxOperations:
		l.ids[a.ID] = &attempts{until: now.Add(attempt.Lifetime)}
	default:
		l.unlogged.Add(1)
	}
	l.size.Store(int32(len(l.ids)))
}

// stops says whether an attempt comes too late.
func (l *attemptLog) stops(a attempt.Attempt) bool {
	if l.size.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, found := l.ids[a.ID]
	return found
}

// forget drops operations whose time is over.
func (l *attemptLog) forget(now time.Time) {
	if l.size.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetLocked(now)
	l.size.Store(int32(len(l.ids)))
}

func (l *attemptLog) forgetLocked(now time.Time) {
	for id, a := range l.ids {
		if now.After(a.until) {
			delete(l.ids, id)
		}
	}
}

// note keeps what became of a repetition, if that is final.
func (l *attemptLog) note(r *request, rep reply, err error) {
	if !r.Repeat || !r.work.writes() || again(err) || errors.Is(err, session.ErrUncertain) || errors.Is(err, session.ErrUnavailable) {
		return
	}
	if b, ok := r.work.(*batchWork); ok && rep.answers != nil {
		rep.answers = bytes.Clone(rep.answers[len(b.dst):])
	}
	rep.changed = nil // its copies are seen to, and it is the work's
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.ids[r.ID]; a != nil && a.done == nil {
		a.done = &outcome{rep, err}
	}
}

// outcome returns what became of an earlier repetition of r, nil if none is
// known of.
func (l *attemptLog) outcome(r *request) *outcome {
	if !r.Repeat || !r.work.writes() || l.size.Load() == 0 || planted.Is(planted.LateRepeat) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.ids[r.ID]; a != nil {
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
		d.attempts.add(a, now)
	case d.attempts.stops(a):
		return fmt.Errorf("%w: its repetition has come before it", attempt.ErrTooLate)
	}
	return nil
}

package dispatch

import (
	"bytes"
	"context"
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
// is as good as always empty; beside them it knows deletes that another member
// or a router has sent. One whose answer is lost is repeated, and must not end
// what somebody has begun in its place: a lock, a login.
type attemptLog struct {
	size     atomic.Int32 // of ids, and repeats of those that are repeated, so that the usual case takes no lock
	repeats  atomic.Int32
	unlogged atomic.Int64 // repetitions that found no room in ids

	mu  sync.Mutex // guards ids
	ids map[uint64]*attempts
}

// attempts is what the log knows of one operation.
type attempts struct {
	until    time.Time
	repeated bool
	running  chan struct{} // is closed when the first attempt of a delete has ended; nil for none
	done     *outcome      // nil until one has been run
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
	switch known := l.addLocked(a, now); {
	case known == nil:
		l.unlogged.Add(1)
	case !known.repeated:
		known.repeated = true
		l.repeats.Add(1)
	}
}

// addLocked returns what is known of an operation; nil if there is no room.
func (l *attemptLog) addLocked(a attempt.Attempt, now time.Time) *attempts {
	if l.ids == nil {
		l.ids = make(map[uint64]*attempts)
	}
	if len(l.ids) >= maxOperations {
		l.forgetLocked(now)
	}
	known := l.ids[a.ID]
	if known == nil && len(l.ids) < maxOperations {
		known = &attempts{until: now.Add(attempt.Lifetime)}
		l.ids[a.ID] = known
	}
	l.size.Store(int32(len(l.ids)))
	return known
}

// begin takes in the first attempt of a delete that may be repeated. ended is
// called when it has been noted.
func (l *attemptLog) begin(r *request, now time.Time) (ended func()) {
	if r.Repeat || r.ID == 0 || !r.work.deletes() {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ids) >= maxOperations/2 { // the rest is for repetitions
		l.unlogged.Add(1)
		return func() {}
	}
	known := l.addLocked(r.Attempt, now)
	if known.running != nil {
		return func() {}
	}
	running := make(chan struct{})
	known.running = running
	return func() {
		l.mu.Lock()
		known.running = nil
		l.mu.Unlock()
		close(running)
	}
}

// stops says whether an attempt comes too late.
func (l *attemptLog) stops(a attempt.Attempt) bool {
	if l.repeats.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.ids[a.ID]
	return known != nil && known.repeated
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
			if a.repeated {
				l.repeats.Add(-1)
			}
			delete(l.ids, id)
		}
	}
}

// note keeps what became of a repetition, or of a delete, if that is final.
func (l *attemptLog) note(r *request, rep reply, err error) {
	if !r.Repeat && !r.work.deletes() || !r.work.writes() || again(err) || errors.Is(err, session.ErrUncertain) || errors.Is(err, session.ErrUnavailable) {
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

// outcome returns what became of an earlier attempt of r, nil if none is known
// of. It waits for one that is under way, as long as ctx allows.
func (l *attemptLog) outcome(ctx context.Context, r *request) *outcome {
	if !r.Repeat || !r.work.writes() || l.size.Load() == 0 || planted.Is(planted.LateRepeat) {
		return nil
	}
	for {
		done, running := l.look(r.ID)
		if running == nil {
			return done
		}
		select {
		case <-running:
		case <-ctx.Done():
			return &outcome{err: fmt.Errorf("%s: an earlier attempt is under way: %w: %w", r.work.name(), session.ErrUncertain, ctx.Err())}
		}
	}
}

func (l *attemptLog) look(id uint64) (done *outcome, running <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.ids[id]; a != nil {
		return a.done, a.running
	}
	return nil, nil
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

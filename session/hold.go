package session

import (
	"sync"
	"time"
)

// holdLock is the lock of a partition. Every operation that needs it waits for
// the one that holds it, so how long it is held is measured:
//
//	defer p.mu.unlock(p.mu.lock())
//
// Under it there is no other lock but that of holds.
type holdLock struct {
	sync.RWMutex
	holds *holds
}

// started is what holds are measured from: the difference of two monotonic
// readings costs half of what a time does.
var started = time.Now()

func (l *holdLock) lock() (since time.Duration) {
	l.RWMutex.Lock()
	return time.Since(started)
}

func (l *holdLock) unlock(since time.Duration) {
	l.holds.note(since, time.Since(started))
	l.RWMutex.Unlock()
}

func (l *holdLock) rlock() (since time.Duration) {
	l.RWMutex.RLock()
	return time.Since(started)
}

func (l *holdLock) runlock(since time.Duration) {
	l.holds.note(since, time.Since(started))
	l.RWMutex.RUnlock()
}

// holds knows the longest hold of any partition in the present minute and in
// the one before: so it is that of the last minute at least, and one that was
// long ago is forgotten.
type holds struct {
	mu          sync.Mutex
	minute      time.Duration // that now is of
	now, before time.Duration
}

// brief is a hold that is not worth a note.
const brief = 100 * time.Microsecond

func (h *holds) note(since, until time.Duration) {
	if until-since < brief {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn(until)
	h.now = max(h.now, until-since)
}

// turn goes on to the minute that now is in.
func (h *holds) turn(now time.Duration) {
	minute := now.Truncate(time.Minute)
	if minute == h.minute {
		return
	}
	h.before = 0
	if minute == h.minute+time.Minute {
		h.before = h.now
	}
	h.minute, h.now = minute, 0
}

func (h *holds) longest() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn(time.Since(started))
	return max(h.now, h.before)
}

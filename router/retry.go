package router

import (
	"sync"
	"time"
)

// ejectTime is how long a member that could not be reached is passed over.
const ejectTime = time.Second

// ejections are the members that are passed over, as long as there is another
// one to go to.
type ejections struct {
	mu    sync.RWMutex         // guards until
	until map[Target]time.Time // short: of failed members, within the last second
}

func (e *ejections) add(t Target, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.until == nil {
		e.until = make(map[Target]time.Time)
	}
	for other, until := range e.until {
		if !now.Before(until) {
			delete(e.until, other)
		}
	}
	e.until[t] = now.Add(ejectTime)
}

func (e *ejections) has(t Target, now time.Time) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	until, ok := e.until[t]
	return ok && now.Before(until)
}

// The retry budget: a tenth of the requests may be sent a second time, and
// budgetFloor a second besides, so that members which fail under load do not
// get twice the load. What has built up covers all that is under way when a
// member dies. Requests of which nothing was sent cost nothing.
const (
	budgetShare = 0.1
	budgetFloor = 10.0 // a second
	budgetMost  = 1024.0
)

type budget struct {
	mu   sync.Mutex // guards the rest
	used float64    // of budgetMost, so that the zero budget is a full one
	at   time.Time  // when budgetFloor was last reckoned with
}

// earn is told of each request.
func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = max(b.used-budgetShare, 0)
}

// spend reports whether a request may be sent again.
func (b *budget) spend(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() {
		b.used = max(b.used-now.Sub(b.at).Seconds()*budgetFloor, 0)
	}
	b.at = now
	if b.used > budgetMost-1 {
		return false
	}
	b.used++
	return true
}

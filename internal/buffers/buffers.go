// Package buffers bounds the bytes that the buffers of many connections hold
// together.
//
// One connection: it opens a [Holder] of the listener's [Budget], and takes
// from it before a buffer grows. If the budget is used up, the holder of most
// is evicted, its connection closed and its bytes lent on. A holder that would
// itself hold most is refused instead. So a connection that holds little is
// served, however much others hold.
package buffers

import (
	"sync"
	"sync/atomic"
)

// Budget is how many bytes there are for all. It is safe for concurrent use.
// The zero value has no limit and counts only.
type Budget struct {
	limit int64

	used    atomic.Int64
	refused atomic.Int64
	evicted atomic.Int64

	mu      sync.Mutex // guards holders; taken before a holder's own
	holders map[*Holder]struct{}
}

// New returns a Budget of limit bytes; 0 is no limit.
func New(limit int64) *Budget { return &Budget{limit: limit} }

// Limit returns the most bytes that may be held, 0 if there is no limit.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns how many bytes are held.
func (b *Budget) Used() int64 { return b.used.Load() }

// Refused returns how often bytes were asked for and not given.
func (b *Budget) Refused() int64 { return b.refused.Load() }

// Evicted returns how many holders were evicted to make room for others.
func (b *Budget) Evicted() int64 { return b.evicted.Load() }

// Take takes n bytes that no holder stands for, and reports whether there were
// so many. It evicts nobody.
func (b *Budget) Take(n int64) bool {
	if b.take(n) {
		return true
	}
	b.refused.Add(1)
	return false
}

func (b *Budget) take(n int64) bool {
	if now := b.used.Add(n); b.limit > 0 && n > 0 && now > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// Give gives n bytes back that were taken.
func (b *Budget) Give(n int64) { b.used.Add(-n) }

// Holder is what one connection holds of a budget. It is safe for concurrent
// use.
type Holder struct {
	budget *Budget
	evict  func()

	mu   sync.Mutex // guards what follows
	held int64
	gone bool // evicted or closed: it holds nothing and gets nothing
}

// Open returns a Holder of nothing. evict ends its connection when others need
// what it holds; it must not block, and may be called by any goroutine, once.
// [Holder.Close] has to follow.
func (b *Budget) Open(evict func()) *Holder {
	h := &Holder{budget: b, evict: evict}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holders == nil {
		b.holders = make(map[*Holder]struct{})
	}
	b.holders[h] = struct{}{}
	return h
}

// Take takes n bytes more, evicting holders that have more than this one will.
// It returns false if there are none, or if this holder has been evicted: then
// it has taken nothing. A negative n gives back and always succeeds.
func (h *Holder) Take(n int64) bool {
	for {
		taken, most := h.tryTake(n)
		if taken {
			return true
		}
		if most < 0 || !h.budget.makeRoom(most) {
			h.budget.refused.Add(1)
			return false
		}
	}
}

// tryTake takes n bytes if they are there. Otherwise it returns how many bytes
// the holder would have with them, -1 if it is gone.
func (h *Holder) tryTake(n int64) (taken bool, most int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.gone:
		return n <= 0, -1
	case !h.budget.take(n):
		return false, h.held + n
	}
	h.held += n
	return true, h.held
}

// Give gives n bytes back.
func (h *Holder) Give(n int64) { h.Take(-n) }

// Held returns how many bytes the holder has.
func (h *Holder) Held() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

// Close gives back all that is held. Later calls get nothing.
func (h *Holder) Close() {
	h.budget.mu.Lock()
	delete(h.budget.holders, h)
	h.budget.mu.Unlock()
	h.release()
}

func (h *Holder) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budget.used.Add(-h.held)
	h.held, h.gone = 0, true
}

// makeRoom evicts the holder of most, if that is more than so many bytes. What
// it holds is counted as free at once, for its connection has been closed.
func (b *Budget) makeRoom(most int64) bool {
	largest := b.removeLargest(most)
	if largest == nil {
		return false
	}
	b.evicted.Add(1)
	largest.evict()
	return true
}

func (b *Budget) removeLargest(most int64) (largest *Holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for h := range b.holders {
		if held := h.Held(); held > most {
			largest, most = h, held
		}
	}
	if largest != nil {
		delete(b.holders, largest)
		largest.release()
	}
	return largest
}

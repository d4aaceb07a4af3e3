package peer

import (
	"context"
	"sync"
)

// smallRequest is what a request may have without asking the [Budget]:
// heartbeats and the like must pass when it is used up. A link has at most
// Config.Window of them.
const smallRequest = 4 << 10

// Budget is a number of bytes that the unanswered requests of many links share.
type Budget struct {
	size int

	mu   sync.Mutex // guards the fields below
	free int
	room chan struct{} // closed and replaced when bytes have come back
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int) *Budget {
	return &Budget{size: bytes, free: bytes, room: make(chan struct{})}
}

// share is what a request of so many bytes takes: all there is where it is
// larger.
func (b *Budget) share(size int) int {
	if b == nil || size <= smallRequest {
		return 0
	}
	return min(size, b.size)
}

// try takes a share, or returns a channel that is closed when it is worth
// trying again.
func (b *Budget) try(share int) (again <-chan struct{}) {
	if share == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if share > b.free {
		return b.room
	}
	b.free -= share
	return nil
}

// take waits for a share, or for ctx.
func (b *Budget) take(ctx context.Context, share int) error {
	for {
		again := b.try(share)
		if again == nil {
			return nil
		}
		select {
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// give brings a share back.
func (b *Budget) give(share int) {
	if share == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += share
	close(b.room)
	b.room = make(chan struct{})
}

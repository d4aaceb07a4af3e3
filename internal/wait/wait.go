// Package wait has the two ways in which one part of a member waits for
// another: a [Wake], for a loop that is to look at its work, and a [Pulse], for
// many that wait until something has come about. [Every] is for work that waits
// for nothing but time.
package wait

import (
	"context"
	"sync"
	"time"
)

// Wake wakes one loop. It remembers that it was kicked, not how often, so a
// kick while the loop works makes it look once more.
type Wake chan struct{}

// NewWake returns one that was not kicked.
func NewWake() Wake { return make(Wake, 1) }

// Kick wakes the loop that receives from w. It never waits.
func (w Wake) Kick() {
	select {
	case w <- struct{}{}:
	default: // it is about to look
	}
}

// Pulse tells all who wait that something has changed. The zero Pulse is ready.
type Pulse struct {
	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// Changed returns a channel that closes at the next Beat. Take it before
// looking at what may change, then wait on it.
func (p *Pulse) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// Beat says that something has changed.
func (p *Pulse) Beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Until returns nil as soon as done says true. It asks at once, after each
// Beat, and all the same every so often: what done looks at may change without
// one. It returns ctx's error when ctx ends first.
func (p *Pulse) Until(ctx context.Context, every time.Duration, done func() bool) error {
	for {
		changed := p.Changed()
		if done() {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(every):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Every calls f each time that d has passed, one call at a time, until ctx ends.
func Every(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

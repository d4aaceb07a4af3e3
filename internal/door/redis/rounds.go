package redis

import (
	"context"
	"sync"
)

// rounds has many who want the same done at once get it done together: what
// one waits for begins after it has asked, and no two run at a time.
type rounds struct {
	run func() // does it once

	mu      sync.Mutex // guards what follows
	running bool
	next    chan struct{} // closed when the round is over that has not begun; nil if nobody waits for it
}

// join waits until run has been called and has returned, or until ctx ends.
// start runs a function in a goroutine that somebody waits for.
func (r *rounds) join(ctx context.Context, start func(func())) {
	r.mu.Lock()
	if r.next == nil {
		r.next = make(chan struct{})
	}
	over := r.next
	begins := !r.running
	r.running = true
	r.mu.Unlock()
	if begins {
		start(r.loop)
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// loop runs rounds for as long as somebody waits for one.
func (r *rounds) loop() {
	for over := r.begin(); over != nil; over = r.begin() {
		r.run()
		close(over)
	}
}

func (r *rounds) begin() (over chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over, r.next = r.next, nil
	r.running = over != nil
	return over
}

package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// doorSlots is how many requests may be under way at one node's door, so that
// a frozen node holds up a few workers and not all of them.
const doorSlots = 8

// errBusy says that a door has as many requests under way as it may.
var errBusy = errors.New("all slots of the endpoint are taken")

// door is the public HTTP address of one member, with its idle connections.
type door struct {
	name    string // of the member
	address string
	router  bool

	// broken counts how often the member was killed on purpose. A request
	// during which it changes, or that began while the door was down, failed
	// by this program's doing.
	broken atomic.Int64
	down   atomic.Bool

	slots chan struct{} // nil: no bound

	mu   sync.Mutex // guards what follows
	boot int        // counts the member's processes; a connection is to one of them
	idle []*conn
}

func newDoor(name, address string, router bool) *door {
	d := &door{name: name, address: address, router: router}
	if !router {
		d.slots = make(chan struct{}, doorSlots)
	}
	return d
}

// lose notes that the member is about to be killed, and its door with it.
func (d *door) lose() {
	d.broken.Add(1)
	d.leave()
}

// leave has nothing new sent through the door, because its member is about to
// leave with a good-bye. What is under way must still be answered.
func (d *door) leave() {
	d.down.Store(true)
	d.close()
}

// open lets requests through as soon as the member listens, ready or not: a
// node that has just started must not answer falsely either. It returns then,
// or when the member's process is gone.
func (d *door) open(gone <-chan struct{}) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.DialTimeout("tcp", d.address, dialTimeout)
		if err == nil {
			c.Close()
			d.close() // what was dialled after leave leads to the process before
			d.down.Store(false)
			return
		}
		select {
		case <-gone:
			return
		case <-tick.C:
		}
	}
}

// close closes the idle connections, and the others when they have been used.
func (d *door) close() {
	d.mu.Lock()
	idle := d.idle
	d.idle = nil
	d.boot++
	d.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// send sends requests through the door over one connection, pipelined, and
// fills in their answers. ours says that the door was lost on purpose
// meanwhile, so a missing answer says nothing about a promise. It returns
// errBusy, with nothing sent, when the door has no slot free.
func (d *door) send(ctx context.Context, requests []request, answers []answer, timeout time.Duration) (ours bool, err error) {
	if d.slots != nil {
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		default:
			return false, errBusy
		}
	}
	broken, boot, down := d.broken.Load(), d.boots(), d.down.Load()
	err = d.attempt(ctx, requests, answers, timeout)
	for i := range requests {
		answers[i].routed = d.router
	}
	// A server that stops in good order may close a connection between two
	// requests that were pipelined on it, so there a good-bye counts too.
	left := len(requests) > 1 && d.boots() != boot
	return down || left || d.broken.Load() != broken, err
}

func (d *door) boots() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.boot
}

func (d *door) attempt(ctx context.Context, requests []request, answers []answer, timeout time.Duration) error {
	begun := time.Now()
	c, boot := d.take()
	if c == nil {
		var err error
		if c, err = dial(ctx, d.address); err != nil {
			for i := range requests {
				answers[i] = answer{err: err, took: time.Since(begun)}
			}
			return err
		}
	}
	err := c.exchange(ctx, requests, answers, timeout)
	if err == nil {
		d.give(c, boot)
	}
	return err
}

// keepIdle is how long an unused connection is kept: less than the members
// keep theirs, so that a request never meets a connection that its door has
// just closed for want of use. Nothing is sent twice here, so whatever a door
// breaks is seen.
const keepIdle = 30 * time.Second

func (d *door) take() (c *conn, boot int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.idle) > 0 {
		c := d.idle[len(d.idle)-1]
		d.idle = d.idle[:len(d.idle)-1]
		if time.Since(c.idle) < keepIdle {
			return c, d.boot
		}
		c.Close()
	}
	return nil, d.boot
}

func (d *door) give(c *conn, boot int) {
	c.idle = time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.last || boot != d.boot {
		c.Close()
		return
	}
	d.idle = append(d.idle, c)
}

// one sends one request.
func (d *door) one(ctx context.Context, r request, timeout time.Duration) (answer, bool) {
	var a [1]answer
	ours, err := d.send(ctx, []request{r}, a[:], timeout)
	if errors.Is(err, errBusy) {
		a[0].err = err
	}
	return a[0], ours
}

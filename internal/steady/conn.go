// Package steady ends what stands still at a server of net/http, and nothing
// that moves, however long it takes.
//
// A client that sends a body, or reads an answer, has an allowance of time to
// do nothing in, and earns it back by the bytes that move. At [MinRate] or more
// it may go on for ever; below it the allowance runs out, and the connection
// ends.
//
// One request: its connection came from [Listener], which gives each write of
// an answer its time (conn.go). [Bodies] wraps the body, so that each read has
// its time, and the writer, so that a deadline which a handler sets by
// http.ResponseController counts besides (body.go). Between two reads or
// writes, while a handler works or a stream is quiet, no time runs.
package steady

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/buffers"
)

// MinRate is the least rate in bytes per second at which something moves. It is
// that of Kestrel, the web server of ASP.NET Core, for bodies and answers.
const MinRate = 240

// earned is the time that so many bytes are worth.
func earned(n int) time.Duration { return time.Duration(n) * time.Second / MinRate }

// Listener returns l with connections that are closed when their other end
// takes nothing of what is written for patience, beside what it earns. Large
// heads of requests take from a budget, for they are kept until the request is
// answered.
func Listener(l net.Listener, patience time.Duration, heads *buffers.Budget) net.Listener {
	return &listener{l, patience, heads}
}

type listener struct {
	net.Listener
	patience time.Duration
	heads    *buffers.Budget
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	steady := &conn{Conn: c, patience: l.patience, left: l.patience}
	steady.head.budget = l.heads
	steady.head.open.Store(true)
	return steady, nil
}

// Server makes a server ready for the connections of [Listener], before it
// serves the first of its listeners. It returns how to serve one.
func Server(s *http.Server, patience time.Duration, heads *buffers.Budget) (serve func(net.Listener) error) {
	s.ConnState = connState
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	return func(l net.Listener) error { return s.Serve(Listener(l, patience, heads)) }
}

func connState(c net.Conn, state http.ConnState) {
	steady, ok := c.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		steady.head.begin()
	case http.StateClosed:
		steady.head.release()
	case http.StateHijacked: // deadlines are the hijacker's now
		steady.head.end()
		steady.head.release()
		steady.free.Store(true)
		_ = steady.Conn.SetWriteDeadline(time.Time{}) // fails only on a closed connection
	}
}

// looks is how often a write that waits is looked at within its patience.
const looks = 4

// conn is a connection whose writes end when they stand still.
type conn struct {
	net.Conn
	patience time.Duration
	free     atomic.Bool
	head     head

	left time.Duration // the writer's, of which net/http has one at a time

	mu    sync.Mutex // guards what follows, and the order in which deadlines are set
	own   time.Time  // the write deadline that the connection's user has set; zero for none
	until time.Time  // the deadline that is set for a write; zero for none
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetWriteDeadline implements net.Conn. net/http takes the deadline away behind
// each request.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.until = t, time.Time{}
	return c.Conn.SetWriteDeadline(t)
}

// bound gives a write its window. Most writes wait for nothing, so that the
// deadline is set anew only when much of it is over, or anew is asked for.
func (c *conn) bound(window time.Duration, anew bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !anew && c.until.Sub(now) >= window/2 {
		return nil
	}
	c.until = now.Add(window)
	if !c.own.IsZero() && c.own.Before(c.until) {
		return c.Conn.SetWriteDeadline(c.own)
	}
	return c.Conn.SetWriteDeadline(c.until)
}

// over says whether the deadline that the connection's user has set is over.
func (c *conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.own.IsZero() && !time.Now().Before(c.own)
}

// NetConn returns the connection itself, for callers that need more of it.
func (c *conn) NetConn() net.Conn { return c.Conn }

// abandon has the kernel forget, at the connection's end, what was written. It
// would otherwise keep that for a client that does not read.
func abandon(c net.Conn) {
	for {
		if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
			_ = tcp.SetLinger(0) // fails only on a closed connection
			return
		}
		wrapper, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		c = wrapper.NetConn()
	}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.head.open.Load() && !c.head.grow(n, c.Conn) {
		return 0, errNoRoom
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (total int, err error) {
	window := c.patience / looks
	waiting := -1 // bytes that the other end had not taken at the last look, -1 before one
	for !c.free.Load() {
		if err := c.bound(window, waiting >= 0); err != nil {
			return total, err
		}
		n, err := c.Conn.Write(p[total:])
		total += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.over() {
			c.left = min(c.patience, c.left+earned(n))
			return total, err
		}
		still := queued(c.Conn)
		taken := 0 // before the first look nobody knows what of n the other end has
		if waiting >= 0 {
			taken = waiting + n - still
		}
		if c.left = min(c.patience, c.left-window+earned(taken)); c.left <= 0 {
			abandon(c.Conn)
			return total, err
		}
		waiting = still
	}
	n, err := c.Conn.Write(p[total:])
	return total + n, err
}

// Package steady ends what stands still at a server of net/http, and nothing
// that moves, however long it takes.
//
// Whoever sends a body, or reads an answer, has an allowance of time to do
// nothing in, and earns it back by the bytes that move: at [MinRate] or more it
// goes on for ever, below it the allowance runs out, and the connection with it.
//
// One request: its connection came from [Listener], which gives each write of
// an answer its time (conn.go). [Bodies] wraps the body, so that each read has
// its time, and the writer, so that a deadline which a handler sets by
// http.ResponseController counts besides (body.go). Between two reads or
// writes, while a handler works or a stream is quiet, no time runs.
package steady

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// MinRate is the least rate in bytes per second at which something moves. It is
// that of Kestrel, the web server of ASP.NET Core, for bodies and answers.
const MinRate = 240

// earned is the time that so many bytes are worth.
func earned(n int) time.Duration { return time.Duration(n) * time.Second / MinRate }

// Listener returns l with connections that are closed when their other end
// takes nothing of what is written for patience, beside what it earns.
func Listener(l net.Listener, patience time.Duration) net.Listener {
	return &listener{l, patience}
}

type listener struct {
	net.Listener
	patience time.Duration
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, patience: l.patience, left: l.patience}, nil
}

// ConnState is for an http.Server on a Listener: it leaves the deadlines of a
// connection to whoever takes it over.
func ConnState(c net.Conn, state http.ConnState) {
	if c, ok := c.(*conn); ok && state == http.StateHijacked {
		c.free.Store(true)
		_ = c.Conn.SetWriteDeadline(time.Time{}) // fails only on a closed connection
	}
}

// looks is how often a write that waits is looked at within its patience.
const looks = 4

// conn is a connection whose writes end when they stand still.
type conn struct {
	net.Conn
	patience time.Duration
	free     atomic.Bool

	// What follows is the writer's, of which net/http has one at a time.
	left  time.Duration
	until time.Time // the write deadline that is set
}

// NetConn returns the connection itself, for whoever needs more of it.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Write implements net.Conn.
func (c *conn) Write(p []byte) (total int, err error) {
	window := c.patience / looks
	waiting := -1 // bytes that the other end had not taken at the last look, -1 before one
	for !c.free.Load() {
		// Most writes wait for nothing, so that the deadline is set anew only
		// when much of it is over.
		if now := time.Now(); waiting >= 0 || c.until.Sub(now) < window/2 {
			c.until = now.Add(window)
			if err := c.Conn.SetWriteDeadline(c.until); err != nil {
				return total, err
			}
		}
		n, err := c.Conn.Write(p[total:])
		total += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			c.left = min(c.patience, c.left+earned(n))
			return total, err
		}
		still := queued(c.Conn)
		taken := n
		if waiting >= 0 {
			taken += waiting - still
		}
		if c.left = min(c.patience, c.left-window+earned(taken)); c.left <= 0 {
			return total, err
		}
		waiting = still
	}
	n, err := c.Conn.Write(p[total:])
	return total + n, err
}

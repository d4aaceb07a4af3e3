package redis

import (
	"errors"
	"net"
)

// errBuffers is the answer to a client that would hold most of the buffers that
// there are for all.
var errBuffers = errors.New("the buffers of all connections are full and this one would hold most of them: send smaller commands, or read answers sooner")

const (
	// subscriptionCost is what a subscription takes beside its name, in bytes,
	// and patternCost what each 64 bytes of a pattern take.
	subscriptionCost = 256
	patternCost      = 2 << 10
	// watchCost is what a watched key takes beside its own bytes.
	watchCost = 64
	// idleBuffers is what a connection may keep that has nothing to say, in
	// bytes, and idleTicks how long it may keep more.
	idleBuffers = 8 << 10
	idleTicks   = 2
)

// holds is how many bytes the connection has in its buffers, without its queue.
func (c *conn) holds() int64 {
	return int64(c.in.Held() + cap(c.out.B) + c.tx.bytes + c.watchBytes + c.subs.bytes)
}

// account counts what the connection holds after a command. It returns false if
// that is too much.
func (c *conn) account() bool {
	if lent := c.lent.Load(); lent > 0 {
		c.lent.Add(-lent)
		c.holder.Give(lent)
	}
	now := c.holds()
	if now == c.counted {
		return true
	}
	if !c.holder.Take(now - c.counted) {
		return false
	}
	c.counted = now
	return true
}

// room is asked before the buffer of what is read grows, and told when it has
// shrunk.
func (c *conn) room(bytes int) bool {
	if !c.holder.Take(int64(bytes)) {
		return false
	}
	c.counted += int64(bytes)
	return true
}

// lend takes bytes for as long as the command runs that asks for them. It may
// be called by several goroutines of that command.
func (c *conn) lend(bytes int) error {
	if !c.holder.Take(int64(bytes)) {
		return errBuffers
	}
	c.lent.Add(int64(bytes))
	return nil
}

// overfull ends a connection that holds too much, and says so in place of what
// it has not been sent.
func (c *conn) overfull() {
	c.out.B = nil
	c.out.Error(faultText(errBuffers))
	c.closing = true
}

// evict ends the connection because others need what it holds.
func (c *conn) evict() {
	c.server.counters.evicted.Add(1)
	c.hangUp()
}

// wake has the connection's goroutine, which waits for its client, give back
// what it need not hold. The server's watch calls it.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.woken = true
		_ = c.net.SetReadDeadline(longAgo) // fails only if it is closed
	}
}

// wasWoken reports whether a read has failed by wake, and has reads wait again.
func (c *conn) wasWoken(err error) bool {
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || !c.woken {
		return false
	}
	c.woken = false
	return c.net.SetReadDeadline(never) == nil
}

// trim gives back what a client that says nothing need not hold.
func (c *conn) trim() {
	c.in.Trim()
	c.out.B, c.ahead = nil, nil
}

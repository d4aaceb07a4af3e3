package simulation

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// buffered is how many bytes a connection holds each way that were written and
// not read; a writer waits for room.
const buffered = 256 << 10

// stream is one direction of a connection. Everything in it is guarded by the
// network's lock.
type stream struct {
	net      *Network
	from, to *Process
	// here is the writer's address, and there the reader's.
	here, there netip.AddrPort
	back        *stream // the other direction

	chunks []chunk
	size   int
	last   time.Time // when the newest chunk arrives: they stay in order
	ended  bool      // the writer has closed; behind the chunks comes io.EOF
	endAt  time.Time
	reset  bool // the writer has crashed; nothing but an error comes
	broken error
	unread bool // the reader has closed

	cutAt        time.Time
	stalledUntil time.Time
	wake         chan struct{} // closed when anything changed; nil while nobody waits
}

type chunk struct {
	data []byte
	at   time.Time
}

func (s *stream) waitLocked() <-chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

func (s *stream) wakeLocked() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// breakLocked ends the stream here and now for whoever reads it.
func (s *stream) breakLocked(err error) {
	if s.broken == nil {
		s.broken = err
	}
	s.forgetLocked()
	s.wakeLocked()
}

// resetLocked ends the stream for its reader as soon as that can hear of it,
// and for its writer at once.
func (s *stream) resetLocked() {
	s.reset = true
	s.chunks, s.size = nil, 0
	s.endAt = s.arrivalLocked()
	s.wakeLocked()
}

// crashLocked is what the writer's host does when its process ends.
func (s *stream) crashLocked() {
	unread := len(s.back.chunks) > 0 && !s.back.chunks[0].at.After(time.Now())
	switch {
	case s.ended: // it was closed before
	case unread:
		s.resetLocked()
	default:
		s.ended, s.endAt = true, s.arrivalLocked()
		s.wakeLocked()
	}
}

// forgetLocked lets the network forget a stream from which nothing more comes.
func (s *stream) forgetLocked() {
	if s.broken != nil || s.unread {
		delete(s.net.streams, s)
	}
}

// arrivalLocked is when what is sent now arrives, if the path is open then.
func (s *stream) arrivalLocked() time.Time {
	at := time.Now().Add(s.net.pathLocked(s.from.host, s.to.host).Delay)
	if at.Before(s.last) {
		at = s.last
	}
	s.last = at
	return at
}

// readLocked takes what has arrived. Otherwise it returns when to look again
// though nothing wakes the reader, zero for never.
func (s *stream) readLocked(b []byte) (n int, again time.Time, err error) {
	switch {
	case s.unread:
		return 0, again, net.ErrClosed
	case s.to.crashed:
		return 0, again, errEnded
	case s.broken != nil:
		return 0, again, s.broken
	}
	now := time.Now()
	if s.net.pathLocked(s.from.host, s.to.host).Cut {
		return 0, again, nil
	}
	if now.Before(s.stalledUntil) {
		return 0, s.stalledUntil, nil
	}
	for n < len(b) && len(s.chunks) > 0 && !s.chunks[0].at.After(now) {
		head := &s.chunks[0]
		k := copy(b[n:], head.data)
		n += k
		if head.data = head.data[k:]; len(head.data) == 0 {
			s.chunks = s.chunks[1:]
		}
	}
	switch {
	case n > 0:
		s.size -= n
		s.wakeLocked() // there is room
		return n, again, nil
	case len(s.chunks) > 0:
		return 0, s.chunks[0].at, nil
	case (s.reset || s.ended) && now.Before(s.endAt):
		return 0, s.endAt, nil
	case s.reset:
		s.breakLocked(syscall.ECONNRESET)
		s.back.breakLocked(syscall.ECONNRESET)
		return 0, again, syscall.ECONNRESET
	case s.ended:
		return 0, again, io.EOF
	default:
		return 0, again, nil
	}
}

// writeLocked takes as much of b as there is room for.
func (s *stream) writeLocked(b []byte) (n int, err error) {
	switch {
	case s.ended:
		return 0, net.ErrClosed
	case s.from.crashed:
		return 0, errEnded
	case s.broken != nil:
		return 0, s.broken
	case s.unread:
		return 0, syscall.EPIPE
	}
	n = min(len(b), buffered-s.size)
	if n <= 0 {
		return 0, nil
	}
	s.chunks = append(s.chunks, chunk{append([]byte(nil), b[:n]...), s.arrivalLocked()})
	s.size += n
	s.wakeLocked()
	return n, nil
}

// conn is one end of a connection. It implements net.Conn.
type conn struct {
	process       *Process
	in, out       *stream
	local, remote netip.AddrPort

	// Guarded by the network's lock.
	readBy, writeBy time.Time
	closed          bool
}

func (n *Network) pairLocked(p, q *Process, here, there netip.AddrPort) (near, far *conn) {
	up := &stream{net: n, from: p, to: q, here: here, there: there}
	down := &stream{net: n, from: q, to: p, here: there, there: here, back: up}
	up.back = down
	n.streams[up], n.streams[down] = struct{}{}, struct{}{}
	return &conn{process: p, in: down, out: up, local: here, remote: there},
		&conn{process: q, in: up, out: down, local: there, remote: here}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		c.process.AwaitResume()
		c.process.net.mu.Lock()
		wake, deadline := c.in.waitLocked(), c.readBy
		n, again, err := 0, time.Time{}, error(os.ErrDeadlineExceeded)
		if c.closed || deadline.IsZero() || time.Now().Before(deadline) {
			n, again, err = c.in.readLocked(b)
		}
		c.process.net.mu.Unlock()
		if n > 0 || err != nil || len(b) == 0 {
			return n, c.wrap("read", err)
		}
		await(wake, again, deadline)
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (written int, err error) {
	for {
		c.process.AwaitResume()
		c.process.net.mu.Lock()
		wake, deadline := c.out.waitLocked(), c.writeBy
		n, err := 0, error(os.ErrDeadlineExceeded)
		if c.closed || deadline.IsZero() || time.Now().Before(deadline) {
			n, err = c.out.writeLocked(b)
		}
		c.process.net.mu.Unlock()
		b, written = b[n:], written+n
		if len(b) == 0 || err != nil {
			return written, c.wrap("write", err)
		}
		if n == 0 {
			await(wake, time.Time{}, deadline)
		}
	}
}

// await waits for the first of these; a zero time never comes.
func await(wake <-chan struct{}, times ...time.Time) {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		<-wake
		return
	}
	timer := time.NewTimer(time.Until(first))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	}
}

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Gone says whether the other end has closed the connection, or it is broken, as
// far as can be seen here by now. A router looks before it uses a kept one.
func (c *conn) Gone() bool {
	c.process.net.mu.Lock()
	defer c.process.net.mu.Unlock()
	_, _, err := c.in.readLocked(nil)
	return err != nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.process.net.mu.Lock()
	defer c.process.net.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.dropLocked()
	return nil
}

// dropLocked closes this end: the other one reads what was written,
// then io.EOF.
func (c *conn) dropLocked() {
	c.closed = true
	if !c.out.ended {
		c.out.ended, c.out.endAt = true, c.out.arrivalLocked()
	}
	c.in.unread = true
	c.in.chunks, c.in.size = nil, 0
	c.in.forgetLocked()
	c.in.wakeLocked()
	c.out.wakeLocked()
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadline(&t, &t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&t, nil) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(nil, &t) }

func (c *conn) setDeadline(read, write *time.Time) error {
	c.process.net.mu.Lock()
	defer c.process.net.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if read != nil {
		c.readBy = *read
		c.in.wakeLocked()
	}
	if write != nil {
		c.writeBy = *write
		c.out.wakeLocked()
	}
	return nil
}

package router

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// watchInterval is how often an exchange that waits for a member looks whether
// its client is still there, and so how long a request goes on after its client
// has left.
const watchInterval = time.Second

// memberConn is one connection to a member. One exchange has it at a time; in
// between the pool has it.
type memberConn struct {
	conn   net.Conn
	peek   peeker
	reader *http1.Reader
	resp   http1.Response
	body   http1.Body

	x         *exchange     // that uses it
	answerBy  time.Time     // when the wait for it is over; zero for never
	limit     time.Duration // how long it was to be
	readUntil time.Time     // the read deadline that is set
	writeBy   lazyDeadline  // of conn
	idleSince time.Time     // in the pool
	timeout   time.Duration // of a write
}

// Read implements io.Reader for the reader. Before it waits it lets the client
// have what is there, so streams are never held back.
func (c *memberConn) Read(p []byte) (int, error) {
	if err := c.x.front.flush(); err != nil {
		return 0, &clientError{err}
	}
	for {
		n, err := c.conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		now := time.Now()
		if c.expect(now); !c.answerBy.IsZero() && !now.Before(c.answerBy) {
			return 0, errNoAnswer
		}
		if c.x.front.left() {
			return 0, &clientError{errLeft}
		}
		c.watch(now)
	}
}

// expect lets the time for an answer begin when the member has the whole body.
// A body that moves may take as long as it likes: a client that is silent and a
// member that takes nothing are bounded where a piece is read and written.
func (c *memberConn) expect(now time.Time) {
	u := c.x.upload
	if u == nil || !u.started || c.answerBy.IsZero() {
		return
	}
	ended := now
	select {
	case <-u.done:
		ended = u.ended
	default:
	}
	if by := ended.Add(c.limit); by.After(c.answerBy) {
		c.answerBy = by
	}
}

// await sets until when an answer is waited for. Nothing is done for the usual
// fast answer: a deadline that was set within the last interval wakes the
// reader soon enough, and it then looks at the time itself.
func (c *memberConn) await(now time.Time, limit time.Duration) {
	c.answerBy, c.limit = time.Time{}, limit
	if limit > 0 {
		c.answerBy = now.Add(limit)
	}
	late := !c.answerBy.IsZero() && c.readUntil.After(c.answerBy)
	if late || c.readUntil.Before(now.Add(watchInterval/4)) {
		c.watch(now)
	}
}

func (c *memberConn) watch(now time.Time) {
	c.readUntil = now.Add(watchInterval)
	if !c.answerBy.IsZero() && c.answerBy.Before(c.readUntil) {
		c.readUntil = c.answerBy
	}
	// Fails only on a closed connection, as the read then will.
	_ = c.conn.SetReadDeadline(c.readUntil)
}

func (c *memberConn) write(p []byte) error {
	c.writeBy.set(c.conn, time.Now(), c.timeout)
	_, err := c.conn.Write(p)
	return err
}

func (c *memberConn) close() { _ = c.conn.Close() } // whatever it still says, nobody needs it

// lazyDeadline is a write deadline that is moved only when half of it is over:
// setting one costs as much as the rest of a small write.
type lazyDeadline struct{ until time.Time }

func (d *lazyDeadline) set(conn net.Conn, now time.Time, timeout time.Duration) {
	if d.until.Before(now.Add(timeout / 2)) {
		d.until = now.Add(timeout)
		// Fails only on a closed connection, as the write then will.
		_ = conn.SetWriteDeadline(d.until)
	}
}

var (
	errNoAnswer = &timeoutError{}
	errLeft     = errors.New("the client has left")
)

type timeoutError struct{}

func (*timeoutError) Error() string   { return "no answer in time" }
func (*timeoutError) Timeout() bool   { return true }
func (*timeoutError) Temporary() bool { return true }

// clientError is a failure on the client's side of an exchange.
type clientError struct{ cause error }

func (e *clientError) Error() string { return "client: " + e.cause.Error() }
func (e *clientError) Unwrap() error { return e.cause }

// pool makes connections to members and keeps those that are not in use.
type pool struct {
	cfg *Config

	mu     sync.Mutex // guards the rest
	idle   map[string][]*memberConn
	reaper *time.Timer // runs while anything is idle
	closed bool
}

func newPool(cfg *Config) *pool { return &pool{cfg: cfg, idle: make(map[string][]*memberConn)} }

// get returns a kept connection to a member, the one used last, or nil. A
// connection that the member has closed meanwhile is not returned, unless the
// close is still under way.
func (p *pool) get(address string) *memberConn {
	for {
		p.mu.Lock()
		list := p.idle[address]
		if len(list) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		p.idle[address] = list[:len(list)-1]
		p.mu.Unlock()
		if c.peek.look() == quiet {
			return c
		}
		c.close()
	}
}

// dial opens a connection. Its error proves that nothing was sent.
func (p *pool) dial(ctx context.Context, address string) (*memberConn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	conn, err := p.cfg.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, &dialError{err}
	}
	c := &memberConn{conn: conn, peek: newPeeker(conn), timeout: p.cfg.WriteTimeout}
	c.reader = http1.NewReader(c)
	return c, nil
}

// put keeps a connection whose last answer was read to its end.
func (p *pool) put(address string, c *memberConn) {
	c.x, c.idleSince = nil, time.Now()
	if c.reader.Buffered() > 0 || !p.keep(address, c) {
		c.close()
	}
}

func (p *pool) keep(address string, c *memberConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[address]) >= p.cfg.IdlePerMember {
		return false
	}
	p.idle[address] = append(p.idle[address], c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(p.cfg.IdleTimeout, p.reap)
	}
	return true
}

// reap closes what was not used for long.
func (p *pool) reap() {
	var old []*memberConn
	limit := time.Now().Add(-p.cfg.IdleTimeout)
	p.mu.Lock()
	for address, list := range p.idle {
		n := 0
		for n < len(list) && !list[n].idleSince.After(limit) { // the oldest come first
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(p.idle, address)
		} else {
			p.idle[address] = append(list[:0], list[n:]...)
		}
	}
	p.reaper = nil
	if len(p.idle) > 0 && !p.closed {
		p.reaper = time.AfterFunc(p.cfg.IdleTimeout/2, p.reap)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.closed, p.idle = true, make(map[string][]*memberConn)
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			c.close()
		}
	}
}

// dialError is the failure to open a connection.
type dialError struct{ cause error }

func (e *dialError) Error() string { return e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

// nothingSent reports whether err proves that the member has seen nothing of
// the request.
func nothingSent(err error) bool {
	var dial *dialError
	return errors.As(err, &dial)
}

// refused reports whether a dial was answered by "nobody is here" or "there is
// no way there". Running out of file descriptors or local ports, say, is this
// process's own trouble and proves nothing about the member.
func refused(err error) bool {
	return nothingSent(err) &&
		(errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH))
}

// silent reports whether the member did not answer in time, neither the dial
// nor the request.
func silent(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

package peer

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Link is the calling side of a connection to a peer. Its methods may be used
// from many goroutines at once.
type Link struct {
	conn   net.Conn
	peer   Identity
	cfg    Config
	in     *frameReader
	out    *writer
	ctx    context.Context // ends with the link; its cause is ErrClosed, with the reason
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup // the reading and the writing goroutine
	// Of *call. Each link has its own, since a channel must not leave its
	// synctest bubble.
	calls sync.Pool
	debt  *debt // nil without Config.StallTimeout

	mu      sync.Mutex       // guards the fields below
	pending map[uint64]*call // the calls that wait, by sequence number; nil once the link has ended
	lastSeq uint64
}

// call is where a Call waits for its reply. The goroutine that takes it out of
// Link.pending finishes it.
type call struct {
	typ   byte // of the request
	reply []byte
	err   error
	done  chan struct{} // one slot, so that finishing never waits for the caller
}

func (c *call) finish(reply []byte, err error) {
	c.reply, c.err = reply, err
	c.done <- struct{}{}
}

// Connect opens the calling side of a link over conn, which belongs to it from
// here on, whether or not it succeeds. The handshake runs under ctx; the link
// does not depend on ctx afterwards. The error is ErrRefused (wrapped, with the
// reason) when one side refuses the other, and ErrMalformed when the other side
// is no Holdfast peer.
func Connect(ctx context.Context, conn net.Conn, cfg Config) (*Link, error) {
	cfg, err := cfg.validate()
	if err != nil {
		conn.Close()
		return nil, err
	}
	in := newGreetingReader(conn)
	peer, err := handshake(ctx, conn, cfg, func() (Identity, error) { return greetServer(conn, in, cfg) })
	if err != nil {
		return nil, err
	}
	l := &Link{conn: conn, peer: peer, cfg: cfg, pending: make(map[uint64]*call)}
	if cfg.StallTimeout > 0 {
		l.debt = new(debt)
		conn = hearing{conn, l.debt}
	}
	l.in = in.grown(conn, cfg)
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.out = newWriter(l.ctx, conn, cfg)
	l.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	l.tasks.Go(func() { l.end(fmt.Errorf("%w: %w", ErrClosed, l.read())) })
	l.tasks.Go(func() { l.end(fmt.Errorf("%w: %w", ErrClosed, l.out.run())) })
	if cfg.StallTimeout > 0 {
		l.tasks.Go(l.watch)
	}
	return l, nil
}

// Peer is who is on the other side.
func (l *Link) Peer() Identity { return l.peer }

// Done is closed when the link has ended.
func (l *Link) Done() <-chan struct{} { return l.ctx.Done() }

// Err is nil while the link is open, and then why it ended: ErrClosed itself
// after Close, else ErrClosed with its cause.
func (l *Link) Err() error { return context.Cause(l.ctx) }

// Close ends the link and the calls that wait on it, with ErrClosed, and waits
// for the link's goroutines. What is still queued is not sent. It may be called
// at any time, more than once, and returns nil.
func (l *Link) Close() error {
	l.end(ErrClosed)
	l.tasks.Wait()
	return nil
}

// end closes the connection and finishes all calls with cause. Only the first
// one counts.
func (l *Link) end(cause error) {
	l.cancel(cause)
	l.conn.Close()
	l.mu.Lock()
	orphans := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, c := range orphans {
		c.finish(nil, l.Err())
	}
}

// Call sends one request of a type below FirstReserved and waits for its reply,
// which belongs to the caller. The payload is copied before Call returns.
//
// The error is *RemoteError when the handler failed the request, ErrTooLarge,
// ctx's own when it ended first (the peer is told, and may still serve the
// request; its answer will be dropped), or ErrClosed with its cause. With the
// last two comes ErrNotSent if it is certain that the peer will never see the
// request.
func (l *Link) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	if typ >= FirstReserved {
		panic(fmt.Sprintf("peer: Call with type %#x, want one below %#x", typ, FirstReserved))
	}
	if limit, _ := l.cfg.limits(typ); len(payload) > limit {
		return nil, fmt.Errorf("%w: %d bytes in a request of type %#x, want at most %d", ErrTooLarge, len(payload), typ, limit)
	}
	if err := ctx.Err(); err != nil {
		return nil, notSent(err)
	}
	c := l.calls.Get().(*call)
	c.typ = typ
	seq, ok := l.expect(c)
	if !ok {
		return nil, notSent(l.Err())
	}
	l.debt.incur(len(payload))
	if err := l.out.put(ctx, typ, seq, payload); err != nil {
		l.debt.settle()
		if !l.forget(seq) {
			<-c.done
		}
		return nil, notSent(err)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if l.forget(seq) {
			l.calls.Put(c)
			// Only if there is room now: the peer may stop its work, but need
			// not.
			_ = l.out.put(ctx, typeCancel, seq, nil)
			return nil, ctx.Err()
		}
		<-c.done // another goroutine is finishing it at this moment
	}
	reply, err := c.reply, c.err
	c.reply, c.err = nil, nil
	l.calls.Put(c)
	return reply, err
}

func notSent(reason error) error { return fmt.Errorf("%w: %w", ErrNotSent, reason) }

// expect notes c as waiting under a new sequence number. It is false when the
// link has ended.
func (l *Link) expect(c *call) (seq uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		return 0, false
	}
	l.lastSeq++
	l.pending[l.lastSeq] = c
	return l.lastSeq, true
}

// forget removes a call that no goroutine is finishing. It is false when one
// is.
func (l *Link) forget(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, waits := l.pending[seq]
	delete(l.pending, seq)
	return waits
}

// take removes and returns the call that waits under seq: nil when it has left.
// It is an error if there never was one.
func (l *Link) take(seq uint64) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq == 0 || seq > l.lastSeq {
		return nil, fmt.Errorf("%w: reply to request %d, the last one sent is %d", ErrMalformed, seq, l.lastSeq)
	}
	c := l.pending[seq]
	delete(l.pending, seq)
	return c, nil
}

// limitOf returns how many bytes a reply may have. A reply to a call that has
// left is of no use, so it may have none.
func (l *Link) limitOf(h header) (limit int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, waits := l.pending[h.seq]
	switch {
	case h.seq == 0 || h.seq > l.lastSeq:
		return 0, fmt.Errorf("%w: reply to request %d, the last one sent is %d", ErrMalformed, h.seq, l.lastSeq)
	case !waits:
		return 0, nil
	case h.typ == typeFail:
		return maxText, nil
	}
	_, limit = l.cfg.limits(c.typ)
	return limit, nil
}

// read hands the replies to the calls until the link ends, and returns why. It
// never waits for anything but the connection; see the package comment for what
// hangs on that.
func (l *Link) read() error {
	for {
		h, err := l.in.header()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if h.typ != typeReply && h.typ != typeFail {
			return fmt.Errorf("%w: type %#x from a server, want a reply (%#x) or a failure (%#x)", ErrMalformed, h.typ, typeReply, typeFail)
		}
		limit, err := l.limitOf(h)
		if err != nil {
			return err
		}
		var payload []byte
		if h.size > limit {
			err = l.in.skip(h.size)
		} else {
			payload, err = l.in.payload(h.size)
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		c, err := l.take(h.seq)
		l.debt.settle()
		switch {
		case err != nil:
			return err
		case c == nil: // its context has ended
		case h.size > limit:
			c.finish(nil, fmt.Errorf("%w: the reply to a request of type %#x has %d bytes, want at most %d", ErrTooLarge, c.typ, h.size, limit))
		case h.typ == typeFail:
			c.finish(nil, &RemoteError{Text: string(payload)})
		default:
			c.finish(payload, nil)
		}
	}
}

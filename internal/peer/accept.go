package peer

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Handler serves the requests of a peer.
type Handler interface {
	// Serve is called on the link's reading goroutine, one request at a time
	// and in their order, so it must not block: what takes longer than a
	// look-up goes to another goroutine. It answers r, once, now or later. A
	// request that is never answered keeps its place in the link's window until
	// the link ends.
	Serve(r *Request)
}

// Request is one request of a peer.
type Request struct {
	Type    byte     // below FirstReserved
	Payload []byte   // the request's own, may be kept
	From    Identity // who asks

	seq      uint64
	size     int // of the payload as it came
	server   *server
	answered atomic.Bool
	awaited  bool // it is in server.running
}

// Context ends with the link. A server whose window is full does not read, and
// so learns of its client's end only with the next answer.
func (r *Request) Context() context.Context { return r.server.ctx }

// Awaited is a context that ends when the answer is not waited for any more:
// the caller has left, the request is answered, or the link has ended. It is
// for requests that take a while. A handler that asks for it on the reading
// goroutine is certain to hear of the caller's leaving.
func (r *Request) Awaited() context.Context {
	ctx, cancel := context.WithCancel(r.server.ctx)
	r.awaited = true
	r.server.mu.Lock()
	r.server.running[r.seq] = cancel
	r.server.mu.Unlock()
	return ctx
}

// Reply answers the request. The payload is copied before Reply returns. A
// reply over its type's limit becomes a failure. It waits while the link's
// write queue is full: the peer drains that, or the link ends after
// Config.WriteTimeout. After the link's end it does nothing. Exactly one of
// Reply and Fail must be called, once; the second one panics.
func (r *Request) Reply(payload []byte) {
	if _, limit := r.server.cfg.limits(r.Type); len(payload) > limit {
		r.Fail(fmt.Errorf("reply to a request of type %#x has %d bytes, want at most %d", r.Type, len(payload), limit))
		return
	}
	r.answer(typeReply, payload)
}

// Fail answers the request with an error, of which the caller gets the text (at
// most 1,024 bytes) as a [RemoteError]. Otherwise it is like Reply.
func (r *Request) Fail(err error) { r.answer(typeFail, errorText(err)) }

func (r *Request) answer(typ byte, payload []byte) {
	if r.answered.Swap(true) {
		panic(fmt.Sprintf("peer: request of type %#x answered twice by its handler", r.Type))
	}
	if r.awaited {
		r.server.cancel(r.seq)
	}
	// Fails only when the link has ended, and then no caller waits.
	_ = r.server.out.put(r.server.ctx, typ, r.seq, payload)
	r.server.window.leave(r.size)
	r.server.cfg.Budget.give(r.server.cfg.Budget.share(r.size))
}

// server is the answering side of a connection.
type server struct {
	peer   Identity
	cfg    Config
	in     *frameReader
	out    *writer
	window *window
	ctx    context.Context // ends with the link; its cause says why

	mu      sync.Mutex                    // guards running
	running map[uint64]context.CancelFunc // of the requests that are Awaited, by sequence number
}

// cancel ends the context of a request that is Awaited, if it is still run.
func (s *server) cancel(seq uint64) {
	s.mu.Lock()
	cancel := s.running[seq]
	delete(s.running, seq)
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// Accept runs the answering side of a link over conn, which belongs to it: it
// exchanges identities, then gives each request to h until the link ends, by
// the peer, a failure or ctx. It blocks until then, waits for its goroutines
// (not for requests that h still keeps; those see the end by their contexts)
// and returns why, never nil: ErrRefused, ErrMalformed, io.EOF (the peer
// closed), the connection's error or ctx's cause, all wrapped.
func Accept(ctx context.Context, conn net.Conn, cfg Config, h Handler) error {
	cfg, err := cfg.validate()
	if err != nil {
		conn.Close()
		return err
	}
	in := newGreetingReader(conn)
	peer, err := handshake(ctx, conn, cfg, func() (Identity, error) { return greetClient(ctx, conn, in, cfg) })
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	s := &server{peer: peer, cfg: cfg, in: in.grown(conn, cfg), out: newWriter(ctx, conn, cfg), window: newWindow(cfg), ctx: ctx, running: make(map[uint64]context.CancelFunc)}

	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		conn.Close() // so that both goroutines return
	})
	var writing sync.WaitGroup
	writing.Go(func() { end(s.out.run()) })
	end(s.serve(h))
	writing.Wait()
	<-closed
	return fmt.Errorf("peer: link from %q: %w", peer.Name, context.Cause(ctx))
}

// serve gives the requests to h until the link ends, and returns why. What it
// has read but not yet given to h by then is not served, for it could not be
// answered.
func (s *server) serve(h Handler) error {
	for s.ctx.Err() == nil {
		// Requests that came together are answered together, before this waits
		// for more.
		if !s.in.ready() {
			if err := s.out.uncork(); err != nil {
				return err
			}
		}
		head, err := s.in.header()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch {
		case head.typ == typeCancel && head.size == 0:
			s.cancel(head.seq)
			continue
		case head.typ >= FirstReserved:
			return s.unexpected(head)
		}
		if limit, _ := s.cfg.limits(head.typ); head.size > limit {
			if err := s.passOver(head, limit); err != nil {
				return err
			}
			continue
		}
		if err := s.enter(head.size); err != nil {
			return err
		}
		payload, err := s.in.payload(head.size)
		if err != nil {
			s.cfg.Budget.give(s.cfg.Budget.share(head.size))
			return fmt.Errorf("read: %w", err)
		}
		s.out.cork()
		h.Serve(&Request{Type: head.typ, Payload: payload, From: s.peer, seq: head.seq, size: head.size, server: s})
	}
	return context.Cause(s.ctx)
}

// passOver answers a request that has more bytes than its type may have, and
// takes none of them into memory.
func (s *server) passOver(head header, limit int) error {
	if err := s.in.skip(head.size); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	refusal := fmt.Errorf("request of type %#x has %d bytes, want at most %d", head.typ, head.size, limit)
	return s.out.put(s.ctx, typeFail, head.seq, errorText(refusal))
}

// enter waits until there is room for a request, on the link and over all
// links.
func (s *server) enter(size int) error {
	share := s.cfg.Budget.share(size)
	if s.window.tryEnter(size) {
		if s.cfg.Budget.try(share) == nil {
			return nil
		}
	} else if err := s.waitInWindow(size); err != nil {
		return err
	}
	if err := s.out.uncork(); err != nil {
		return err
	}
	return s.cfg.Budget.take(s.ctx, share)
}

func (s *server) waitInWindow(size int) error {
	if err := s.out.uncork(); err != nil {
		return err
	}
	return s.window.enter(s.ctx, size)
}

// unexpected is the error for a frame that is no request. A refusal may come
// here: the client sees who the server is only after the server has accepted
// it.
func (s *server) unexpected(head header) error {
	if head.typ == typeRefuse {
		return hearRefusal(s.in, head)
	}
	return fmt.Errorf("%w: type %#x from a client, want one below %#x", ErrMalformed, head.typ, FirstReserved)
}

// window bounds the requests that have been read and not answered, in number
// and bytes. One request of any size may enter alone.
type window struct {
	maxRequests, maxBytes int
	room                  chan struct{} // one slot: the reading goroutine may look again

	mu       sync.Mutex // guards the fields below
	requests int
	bytes    int
	waits    bool // the reading goroutine waits, or is about to
}

func newWindow(cfg Config) *window {
	return &window{maxRequests: cfg.Window, maxBytes: cfg.MaxQueued, room: make(chan struct{}, 1)}
}

// enter waits until a request of size bytes may be read, or for ctx. Only the
// reading goroutine enters.
func (w *window) enter(ctx context.Context, size int) error {
	for !w.tryEnter(size) {
		select {
		case <-w.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (w *window) tryEnter(size int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = w.requests > 0 && (w.requests >= w.maxRequests || w.bytes+size > w.maxBytes)
	if w.waits {
		return false
	}
	w.requests++
	w.bytes += size
	return true
}

// leave gives an answered request's place back.
func (w *window) leave(size int) {
	w.mu.Lock()
	w.requests--
	w.bytes -= size
	waits := w.waits
	w.waits = false
	w.mu.Unlock()
	if waits {
		select {
		case w.room <- struct{}{}:
		// A wake is there already, left from a time when the reading goroutine
		// found room without it.
		default:
		}
	}
}

package steady

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// restTime is the patience with the rest of a body that its handler did not
	// read, and maxRest how much of it is read in bytes, so that the connection
	// can be used again, and the client comes to read the answer. Of more
	// net/http reads nothing, and closes the connection.
	restTime = 5 * time.Second
	maxRest  = 256 << 10
)

// Bodies is for the handler of a server of [Server]. It lets clients send
// nothing of a request's body for patience, beside what they earn, while next
// reads it. Then the read fails with os.ErrDeadlineExceeded.
func Bodies(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			c.head.end()
		}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		passed := *r // net/http looks at its own request's body, to see how much is left of it
		b := &body{
			ReadCloser: r.Body, length: r.ContentLength, asked: r.Header.Get("Expect") != "",
			patience: patience, left: patience, set: http.NewResponseController(w).SetReadDeadline,
		}
		b.atEnd = func() { passed.Trailer = r.Trailer } // where the reader has put it
		// net/http may read it too, before it writes the answer
		b.arm(patience)
		passed.Body = b
		next.ServeHTTP(&writer{w, b}, &passed)
		b.drain()
		b.rest()
	})
}

// body is a request's body, each read of which has its time.
type body struct {
	io.ReadCloser
	length int64                 // as the client has announced it, -1 if it has not
	asked  bool                  // the client waits to be told that the body is wanted
	set    func(time.Time) error // of the connection
	atEnd  func()

	mu       sync.Mutex // guards what follows, and the order of calls to set
	patience time.Duration
	left     time.Duration
	read     int64
	drained  bool
	own      time.Time // the handler's deadline; zero for none
	reading  bool
	ended    bool
	broken   bool // a read has failed; nothing more is expected of it
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	begun := time.Now()
	b.begin(begun)
	n, err := b.ReadCloser.Read(p)
	b.end(n, err, time.Since(begun))
	return n, err
}

func (b *body) begin(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = true
	if !b.ended {
		b.setLocked(now.Add(b.left))
	}
}

func (b *body) end(n int, err error, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.read += int64(n)
	b.left = min(b.patience, max(0, b.left-took)+earned(n))
	b.broken = b.broken || err != nil && err != io.EOF
	if err == io.EOF && !b.ended {
		b.ended = true
		b.atEnd()
		_ = b.set(time.Time{}) // net/http goes on to read, to see the client leave
	}
}

// setLocked sets the earlier of two deadlines. That fails where there is no
// connection, as in a test's recorder, and on a closed one, as the read will.
func (b *body) setLocked(until time.Time) {
	if !b.own.IsZero() && b.own.Before(until) {
		until = b.own
	}
	_ = b.set(until)
}

func (b *body) arm(within time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setLocked(time.Now().Add(within))
}

// bound sets the handler's own deadline for all reads to come, and for one that
// waits.
func (b *body) bound(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own = until
	switch {
	case b.ended: // the server's own read, which waits for the client to leave, must not end
	case b.reading:
		b.setLocked(time.Now().Add(b.left))
	default:
		b.setLocked(time.Now().Add(b.patience))
	}
}

// drain reads the rest of a small body that its handler has left, as long as it
// moves: net/http does so before it answers, and would give it one deadline.
func (b *body) drain() {
	b.mu.Lock()
	skip := b.drained || b.reading || b.ended || b.broken || b.length-b.read > maxRest || b.asked && b.read == 0
	b.drained = true
	if !skip {
		b.patience, b.left = restTime, min(b.left, restTime)
	}
	b.mu.Unlock()
	if !skip {
		_, _ = io.CopyN(io.Discard, b, maxRest) // net/http sees to what is left
	}
}

var longAgo = time.Unix(1, 0)

// rest leaves the server some time for what the handler has not read: with the
// head of the answer it reads the rest of a small body.
func (b *body) rest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.reading || b.ended:
	case b.broken:
		_ = b.set(longAgo)
	default:
		b.setLocked(time.Now().Add(restTime))
	}
}

// disarm takes the deadline away again, for it would end an answer that goes on
// for longer: the server waits for the client to leave meanwhile.
func (b *body) disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.reading && !b.ended && !b.broken && b.own.IsZero() {
		_ = b.set(time.Time{})
	}
}

// writer is the writer of a request with a body.
type writer struct {
	http.ResponseWriter
	body *body
}

// SetReadDeadline is what http.ResponseController calls.
func (w *writer) SetReadDeadline(until time.Time) error {
	w.body.bound(until)
	return nil
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.body.rest()
	defer w.body.disarm()
	return w.ResponseWriter.Write(p)
}

// Flush and Hijack are for handlers that ask for them by their interfaces.
func (w *writer) Flush() {
	_ = w.FlushError() // the interface knows no error
}

// FlushError is what http.ResponseController calls.
func (w *writer) FlushError() error {
	w.body.drain()
	w.body.rest()
	defer w.body.disarm()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController find what is not here.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

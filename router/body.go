package router

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// hold reads a small body whole, so that it can be sent again. A body that is
// too large for that, or of unknown length on its way to the application (which
// may answer while it is still coming), is left to stream; unless it is all
// here already.
func (x *exchange) hold() error {
	x.repeatable = repeatable(x.head, x.place)
	limit := x.rt.cfg.RetryBody
	n := x.head.Length
	if n == 0 {
		return nil
	}
	streams := n > int64(limit)
	patient := n >= 0 || x.place.call != callApp
	if streams || x.head.Expect && !patient {
		x.upload = &upload{}
		return nil
	}
	if x.head.Expect {
		if err := x.front.goOn(); err != nil {
			return &clientError{err}
		}
	}
	for patient || x.front.ready() {
		p, err := x.front.next()
		if err == io.EOF {
			x.holdTrailer()
			return nil
		}
		if err != nil {
			return err
		}
		if x.held = append(x.held, p...); len(x.held) > limit {
			break
		}
	}
	x.upload = &upload{head: x.held}
	x.head.Expect = false // it was told
	return nil
}

func (x *exchange) holdTrailer() {
	for _, f := range x.front.trailer() {
		if x.passesTrailer(f) {
			x.tail = http1.AppendField(x.tail, f.Name, f.Value)
		}
	}
}

// upload is a body that streams to a member while its answer is waited for and
// passed on. It can be handed to a second member only as long as none was sent
// any of it.
type upload struct {
	head    []byte // what was read before the body turned out to be too large to hold
	started bool
	read    atomic.Bool   // all of it was read, so that behind it the client's next request begins
	done    chan struct{} // closed when the goroutine has ended; the rest may be read then
	ended   time.Time     // when that was
	broken  error         // why the client's body could not be read
	failed  error         // why the member's connection took no more
}

// start begins to send. It ends with the body, or when either side's connection
// fails, and stopUpload makes one of them fail.
func (u *upload) start(x *exchange, c *memberConn) {
	u.started, u.done = true, make(chan struct{})
	go func() {
		defer close(u.done)
		if u.send(x, c); u.broken != nil || silent(u.failed) {
			// The member must not take it for a whole request, and its answer
			// is not worth waiting for.
			c.close()
		}
		u.ended = time.Now()
	}()
}

func (u *upload) send(x *exchange, c *memberConn) {
	chunked := x.head.Length < 0
	if len(u.head) > 0 {
		if u.failed = u.write(c, u.head, chunked); u.failed != nil {
			return
		}
	}
	for {
		p, err := x.front.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			u.broken = err
			return
		}
		u.read.Store(!chunked && x.front.ended())
		if u.failed = u.write(c, p, chunked); u.failed != nil {
			return
		}
	}
	u.read.Store(true)
	if chunked {
		last := []byte("0\r\n")
		for _, f := range x.front.trailer() {
			if x.passesTrailer(f) {
				last = http1.AppendField(last, f.Name, f.Value)
			}
		}
		u.failed = c.write(append(last, "\r\n"...))
	}
}

func (u *upload) write(c *memberConn, p []byte, chunked bool) error {
	if !chunked {
		return c.write(p)
	}
	c.writeBy.set(c.conn, time.Now(), c.timeout)
	pieces := net.Buffers{http1.AppendChunkSize(nil, len(p)), p, []byte("\r\n")}
	_, err := pieces.WriteTo(c.conn)
	return err
}

// complete reports whether the body was sent whole.
func (u *upload) complete() bool {
	select {
	case <-u.done:
		return u.broken == nil && u.failed == nil
	default:
		return false
	}
}

// uploadGrace is how long a body may go on after its answer has ended, or its
// member's connection.
const uploadGrace = 100 * time.Millisecond

// endUpload lets an upload end, if one has begun, after the answer did or the
// member's connection broke. A member that reads no more must not keep its
// client sending.
func (x *exchange) endUpload(c *memberConn) {
	u := x.upload
	if u == nil || u.done == nil {
		return
	}
	select {
	case <-u.done:
	case <-time.After(uploadGrace):
		c.close()
		x.front.stopBody()
		<-u.done
		u.broken = nil // if anything broke it was this
	}
}

// refuseBody answers a request whose body could not be read.
func (x *exchange) refuseBody(err error) {
	var large *http.MaxBytesError
	var malformed *http1.Error
	var client *clientError
	switch {
	case errors.As(err, &client):
		x.rt.counters.cancelled.Add(1)
		x.front.abort()
	case errors.As(err, &large):
		x.refuse(http.StatusRequestEntityTooLarge, "body-too-large", "The request body is too large",
			fmt.Sprintf("at most %d bytes are accepted", large.Limit))
	case errors.As(err, &malformed):
		x.refuse(malformed.Status, "broken-body", "The request body is malformed", malformed.Reason)
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.refuse(http.StatusRequestTimeout, "body-timeout", "The request body did not come in time", "the client has sent nothing for too long")
	default:
		x.refuse(http.StatusBadRequest, "broken-body", "The request body ended early", "the body could not be read to its end")
	}
}

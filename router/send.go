package router

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// continueTime is how long a member may take to say whether it wants a body;
// then it is sent unasked (RFC 9110, section 10.1.1).
const continueTime = time.Second

// send sends the request to one member, on a kept connection first. When that
// breaks, it was stale or the member has just died; a fresh connection tells
// which, by being refused or not. A body that streams could not be sent again,
// so it takes a fresh connection at once.
func (x *exchange) send(t Target) error {
	if x.upload == nil {
		if c := x.rt.pool.get(t.HTTP); c != nil {
			err := x.try(c, t)
			if err == nil || silent(err) || !x.repeatable || x.front.left() {
				return err
			}
			x.rt.counters.retries.Add(1)
			x.errs = append(x.errs, failedAt(t, err)) // it was sent
		}
	}
	c, err := x.rt.pool.dial(x.front.context(), t.HTTP)
	if err != nil {
		return err
	}
	return x.try(c, t)
}

// try sends the request once and reads the answer's head into x.member.
func (x *exchange) try(c *memberConn, t Target) error {
	c.x, x.member = x, c
	if err := x.attempt(c, t); err != nil {
		x.unanswered++
		c.close()
		x.endUpload(c)
		x.member = nil
		return err
	}
	return nil
}

func (x *exchange) attempt(c *memberConn, t Target) error {
	base := len(x.out)
	x.appendTry(t)
	err := c.write(x.out)
	x.out = x.out[:base]
	if err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	limit := x.rt.cfg.AppTimeout
	if x.place.call != callApp {
		limit = x.rt.cfg.AnswerTimeout
	}
	if x.upload != nil {
		if answered, err := x.askFirst(c); err != nil {
			return err
		} else if answered {
			return x.seal(c)
		}
		x.upload.start(x, c)
	}
	c.await(time.Now(), limit)
	if err := x.readAnswer(c, t); err != nil {
		return err
	}
	return x.seal(c)
}

// appendTry completes the outgoing head, and appends a body that is held.
func (x *exchange) appendTry(t Target) {
	out := x.out
	if x.guarded() {
		out = http1.AppendField(out, "Host", t.HTTP)
	} else if x.head.Host == nil {
		out = append(out, "Host: localhost\r\n"...) // HTTP/1.0 may do without, HTTP/1.1 may not
	}
	if t.App {
		for _, h := range x.rt.cfg.ToApp {
			out = http1.AppendField(out, h.Name, h.Value)
		}
	} else {
		out = x.appendForMember(out, t)
	}
	switch {
	case x.upload != nil && x.head.Length >= 0:
		out = appendLength(out, x.head.Length)
		if x.head.Expect {
			out = append(out, "Expect: 100-continue\r\n"...)
		}
	case x.upload != nil:
		out = x.appendAnnounced(out)
		if x.head.Expect {
			out = append(out, "Expect: 100-continue\r\n"...)
		}
	case len(x.tail) > 0:
		out = x.appendAnnounced(out)
	case len(x.held) > 0 || x.head.Length != 0 || hasLength(x.head):
		out = appendLength(out, int64(len(x.held)))
	}
	out = append(out, "\r\n"...)
	switch {
	case x.upload != nil:
	case len(x.tail) > 0:
		if len(x.held) > 0 {
			out = http1.AppendChunk(out, x.held)
		}
		out = append(append(append(out, "0\r\n"...), x.tail...), "\r\n"...)
	default:
		out = append(out, x.held...)
	}
	x.out = out
}

// appendAnnounced appends the framing by chunks, and which trailers the client
// has announced.
func (x *exchange) appendAnnounced(out []byte) []byte {
	for _, f := range x.head.Fields {
		if f.Kind == http1.Trailer {
			out = http1.AppendField(out, f.Name, f.Value)
		}
	}
	return append(out, "Transfer-Encoding: chunked\r\n"...)
}

func appendLength(out []byte, n int64) []byte {
	return append(strconv.AppendInt(append(out, "Content-Length: "...), n, 10), "\r\n"...)
}

// hasLength reports whether an empty body was announced: some applications
// treat a POST without a length otherwise.
func hasLength(r *http1.Request) bool {
	for _, f := range r.Fields {
		if f.Kind == http1.ContentLength {
			return true
		}
	}
	return false
}

// askFirst lets the member say whether it wants the body that the client has
// not begun to send. answered reports that it gave its answer instead.
func (x *exchange) askFirst(c *memberConn) (answered bool, err error) {
	if !x.head.Expect {
		return false, nil
	}
	c.await(time.Now(), continueTime)
	err = c.reader.ReadResponse(&c.resp, x.noBody)
	switch {
	case err == errNoAnswer:
	case err != nil:
		return false, fmt.Errorf("read answer: %w", err)
	case c.resp.Status != http.StatusContinue && c.resp.Status >= 200:
		return true, nil
	case c.resp.Status != http.StatusContinue:
		if err := x.front.inform(&c.resp); err != nil {
			return false, &clientError{err}
		}
	}
	if err := x.front.goOn(); err != nil {
		return false, &clientError{err}
	}
	return false, nil
}

// readAnswer reads the head of the final answer, and passes on what comes
// before it.
func (x *exchange) readAnswer(c *memberConn, t Target) error {
	for {
		if err := c.reader.ReadResponse(&c.resp, x.noBody); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read answer: %w", err)
		}
		switch status := c.resp.Status; {
		case status == http.StatusSwitchingProtocols && !x.websocket:
			return fmt.Errorf("read answer: %d to a request that did not ask for it", status)
		case status >= 200 || status == http.StatusSwitchingProtocols:
			return nil
		case status == http.StatusContinue: // we have sent the body already, and told the client to
		default:
			x.adorn(&c.resp, t)
			if err := x.front.inform(&c.resp); err != nil {
				return &clientError{err}
			}
		}
	}
}

// seal reads a small answer of the session API whole before the client gets any
// of it, so that a member which dies in the middle of its answer is one whose
// connection broke, and the successor can still be asked.
func (x *exchange) seal(c *memberConn) error {
	c.body.Reset(c.reader, c.resp.Length)
	x.sealed = x.sealed[:0] // of another member's answer, which was given up
	if n := c.resp.Length; x.place.call == callApp || !x.repeatable || n <= 0 || n > int64(x.rt.cfg.RetryBody) {
		return nil
	}
	for {
		p, err := c.body.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		x.sealed = append(x.sealed, p...)
	}
}

// leave gives an answer up that is not passed on. A little of it is read, so
// that its connection can be kept.
func (x *exchange) leave(t Target) {
	c := x.member
	x.member = nil
	for range 4 {
		if _, err := c.body.Next(); err == io.EOF {
			x.release(c, t)
			return
		} else if err != nil {
			break
		}
	}
	c.close()
}

// release keeps a connection for others, if both sides have said all that
// belongs to this exchange.
func (x *exchange) release(c *memberConn, t Target) {
	if c.resp.Close || c.resp.Minor == 0 || x.upload != nil && !x.upload.complete() {
		c.close()
		return
	}
	x.rt.pool.put(t.HTTP, c)
}

// answer passes the answer on that a member has given.
func (x *exchange) answer(t Target) {
	c := x.member
	x.member = nil
	if c.resp.Status == http.StatusSwitchingProtocols {
		x.tunnel(c, t)
		return
	}
	added := x.adorn(&c.resp, t)
	err := x.relay(c, added)
	if err != nil {
		c.close()
	}
	x.endUpload(c)
	if err == nil {
		x.release(c, t)
		return
	}
	if _, ok := err.(*clientError); ok {
		x.rt.counters.cancelled.Add(1)
	} else {
		x.rt.counters.broken.Add(1)
	}
	x.front.abort()
}

// relay passes head, body and trailer on. Whatever has come is sent before more
// is waited for.
func (x *exchange) relay(c *memberConn, added []http1.Field) error {
	if err := x.front.begin(&c.resp, added); err != nil {
		return &clientError{err}
	}
	if len(x.sealed) > 0 {
		if err := x.front.write(x.sealed); err != nil {
			return &clientError{err}
		}
	}
	c.await(time.Now(), 0) // a stream may pause for as long as it likes
	for {
		p, err := c.body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := x.front.write(p); err != nil {
			return &clientError{err}
		}
	}
	trailer := c.body.Trailer()
	kept := trailer[:0]
	for _, f := range trailer {
		if f.Kind == http1.Other {
			kept = append(kept, f)
		}
	}
	if err := x.front.end(kept); err != nil {
		return &clientError{err}
	}
	return nil
}

package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/http1"
	"github.com/seed-95a32959/holdfast/internal/problem"
)

// client is a connection to the router's own server: the front of its
// exchanges, one after another.
type client struct {
	rt     *Router
	conn   net.Conn
	peek   peeker
	reader *http1.Reader
	req    http1.Request
	body   http1.Body
	x      exchange

	phase     phase
	now       time.Time   // when the head began to arrive
	readUntil time.Time   // the read deadline that is set
	stopped   atomic.Bool // no more of a body is wanted
	idle      atomic.Bool // nothing is under way; Shutdown may end it
	writeBy   lazyDeadline

	out      []byte // of the answer, not sent yet
	begun    bool   // an answer was begun
	chunked  bool   // it goes in chunks
	lasting  bool   // the connection goes on after it
	silenced bool   // there must be nothing more on this connection: aborted, or taken over
}

// phase is what a client's connection is read for.
type phase int8

const (
	phaseIdle phase = iota // the next request
	phaseHead              // the rest of its head
	phaseBody
)

func newClient(rt *Router, conn net.Conn) *client {
	c := &client{rt: rt, conn: conn, peek: newPeeker(conn)}
	c.reader = http1.NewReader(c)
	c.x.rt, c.x.front = rt, c
	if addr := conn.RemoteAddr(); addr != nil {
		c.x.peer = addrOf(addr.String())
	}
	return c
}

// Read implements io.Reader for the reader, within the time that each phase
// has.
func (c *client) Read(p []byte) (int, error) {
	switch c.phase {
	case phaseIdle:
		n, err := c.conn.Read(p)
		c.now, c.phase = time.Now(), phaseHead
		c.idle.Store(false)
		return n, err
	case phaseHead: // the usual head comes in one piece and never gets here
		c.setRead(c.now.Add(c.rt.cfg.HeadTimeout))
	case phaseBody:
		c.setRead(time.Now().Add(c.rt.cfg.BodyTimeout))
		if c.stopped.Load() { // in between
			_ = c.conn.SetReadDeadline(longAgo)
		}
	}
	return c.conn.Read(p)
}

func (c *client) setRead(until time.Time) {
	if until != c.readUntil {
		c.readUntil = until
		// Fails only on a closed connection, as the read then will.
		_ = c.conn.SetReadDeadline(until)
	}
}

// serve answers one request after another.
func (c *client) serve() {
	defer c.conn.Close()
	defer func() {
		// One client's bytes must not end the others' connections.
		if cause := recover(); cause != nil {
			c.rt.cfg.Logger.Error("request ended in a panic", "panic", cause, "stack", string(debug.Stack()))
		}
	}()
	for c.await() {
		c.begun, c.chunked = false, false
		c.lasting = !c.req.Close
		c.phase = phaseBody
		c.body.Reset(c.reader, c.req.Length)
		c.x.reset(&c.req)
		c.x.run()
		if c.silenced {
			return
		}
		if !c.lasting || !c.body.Ended() || c.rt.closing.Err() != nil {
			c.linger()
			return
		}
	}
}

// await waits for the next request. false ends the connection.
func (c *client) await() bool {
	c.phase = phaseIdle
	if c.reader.Buffered() > 0 { // pipelined
		c.now, c.phase = time.Now(), phaseHead
	} else {
		now := c.now
		if now.IsZero() {
			now = time.Now()
		}
		limit := c.rt.cfg.ClientIdleTimeout
		if until := now.Add(limit); c.readUntil.Before(now.Add(limit/2)) || c.readUntil.After(until) {
			c.setRead(until)
		}
		c.idle.Store(true)
		if c.rt.closing.Err() != nil {
			return false
		}
	}
	err := c.reader.ReadRequest(&c.req)
	if err == nil {
		return true
	}
	var malformed *http1.Error
	switch {
	case errors.As(err, &malformed):
		c.rt.counters.malformed.Add(1)
		c.refuseHead(malformed.Status, malformed.Reason)
	case c.phase == phaseHead && errors.Is(err, os.ErrDeadlineExceeded) && c.reader.Buffered() > 0:
		c.refuseHead(http.StatusRequestTimeout, "the head did not come in time")
	}
	return false
}

// stopIdle ends the connection if nothing is under way on it. serve marks it
// idle before it looks whether the server closes.
func (c *client) stopIdle() {
	if c.idle.Load() {
		_ = c.conn.SetReadDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

// refuseHead answers what is no request. Where it ends is not known, so it is
// the last on its connection.
func (c *client) refuseHead(status int, reason string) {
	c.rt.counters.errors.Add(1)
	c.lasting, c.begun = false, false
	c.x.noBody = false
	slug, title := "malformed-request", "The request is malformed"
	switch status {
	case http.StatusRequestTimeout:
		slug, title = "head-timeout", "The request did not come in time"
	case http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong:
		slug, title = "head-too-large", "The request's head is too large"
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusExpectationFailed:
		slug, title = "not-supported", "The request is not supported"
	}
	c.refuse(status, slug, title, reason)
	c.linger()
}

// linger closes the sending side and reads on until the client closes too,
// pauses, or has had its time. A connection that is closed at once while bytes
// still come in is reset, and a client that still sends would then lose the
// answer that it has not read yet.
func (c *client) linger() {
	if !closeWrite(c.conn) {
		return
	}
	end := time.Now().Add(lingerMost)
	for now := time.Now(); now.Before(end); now = time.Now() {
		_ = c.conn.SetReadDeadline(now.Add(lingerPause))
		if _, err := io.CopyN(io.Discard, c.conn, lingerStep); err != nil {
			return
		}
	}
}

const (
	lingerPause = 500 * time.Millisecond // for lingerStep bytes
	lingerStep  = 8 << 10                // what io.Discard reads at once
	lingerMost  = 5 * time.Second
)

// next, ready, ended, trailer, stopBody and goOn implement front.
func (c *client) next() ([]byte, error)    { return c.body.Next() }
func (c *client) ready() bool              { return c.body.Ready() }
func (c *client) ended() bool              { return c.body.Ended() }
func (c *client) trailer() []http1.Field   { return c.body.Trailer() }
func (c *client) context() context.Context { return context.Background() }

func (c *client) stopBody() {
	c.lasting = false
	c.stopped.Store(true) // for good: it is the last request of its connection
	_ = c.conn.SetReadDeadline(longAgo)
}

func (c *client) goOn() error {
	c.out = append(c.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	return c.flush()
}

// inform implements front. HTTP/1.0 knows no interim answers.
func (c *client) inform(r *http1.Response) error {
	if c.req.Minor == 0 {
		return nil
	}
	c.appendHead(r, nil)
	c.out = append(c.out, "\r\n"...)
	return c.flush()
}

func (c *client) appendHead(r *http1.Response, added []http1.Field) {
	c.out = append(c.out, "HTTP/1.1 "...)
	c.out = append(strconv.AppendInt(c.out, int64(r.Status), 10), ' ')
	c.out = append(append(c.out, r.Reason...), "\r\n"...)
	for _, fields := range [...][]http1.Field{r.Fields, added} {
		for _, f := range fields {
			c.out = http1.AppendField(c.out, f.Name, f.Value)
		}
	}
}

// begin implements front.
func (c *client) begin(r *http1.Response, added []http1.Field) error {
	c.begun = true
	c.rt.cfg.Answered(r.Status, time.Since(c.now))
	c.appendHead(r, added)
	switch {
	case r.Status == http.StatusSwitchingProtocols:
		c.out = append(c.out, "Connection: Upgrade\r\n\r\n"...)
		return nil
	case r.Length < 0 && c.req.Minor == 0:
		c.lasting = false // the end of the connection is the end of the body
	case r.Length < 0:
		c.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if u := c.x.upload; u != nil && !u.read.Load() || c.rt.closing.Err() != nil {
		c.lasting = false // nobody may read the rest of that body
	}
	c.out = append(c.out, c.ending()...)
	return nil
}

// ending is the end of an answer's head.
func (c *client) ending() string {
	if c.lasting {
		return "\r\n"
	}
	return "Connection: close\r\n\r\n"
}

// Small pieces are gathered up to gatherMost bytes; from directLeast on,
// copying costs more than one more element in a vector.
const (
	gatherMost  = 16 << 10
	directLeast = 8 << 10
)

func (c *client) write(p []byte) error {
	if c.chunked {
		c.out = http1.AppendChunkSize(c.out, len(p))
	}
	if len(p) >= directLeast {
		return c.writeDirect(p)
	}
	c.out = append(c.out, p...)
	if c.chunked {
		c.out = append(c.out, "\r\n"...)
	}
	if len(c.out) < gatherMost {
		return nil
	}
	return c.flush()
}

// writeDirect sends what was gathered and p in one go.
func (c *client) writeDirect(p []byte) error {
	c.writeBy.set(c.conn, time.Now(), c.rt.cfg.WriteTimeout)
	pieces := net.Buffers{c.out, p}
	_, err := pieces.WriteTo(c.conn)
	c.out = c.out[:0]
	if c.chunked {
		c.out = append(c.out, "\r\n"...)
	}
	return err
}

func (c *client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.writeBy.set(c.conn, time.Now(), c.rt.cfg.WriteTimeout)
	_, err := c.conn.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > 2*gatherMost {
		c.out = nil
	}
	return err
}

func (c *client) end(trailer []http1.Field) error {
	if c.chunked {
		c.out = append(c.out, "0\r\n"...)
		for _, f := range trailer {
			c.out = http1.AppendField(c.out, f.Name, f.Value)
		}
		c.out = append(c.out, "\r\n"...)
	}
	return c.flush()
}

func (c *client) abort() {
	c.silenced = true
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // an answer without a length would otherwise look whole
	}
}

// refuse implements front. What follows a body that was not read cannot be told
// from it.
func (c *client) refuse(status int, slug, title, detail string, added ...Header) {
	if c.begun {
		c.abort()
		return
	}
	c.lasting = c.lasting && c.body.Ended() && c.rt.closing.Err() == nil
	c.rt.cfg.Answered(status, time.Since(c.now))
	body := problem.Body(status, slug, title, detail)
	out := fmt.Appendf(c.out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
		status, http.StatusText(status), time.Now().UTC().Format(http.TimeFormat), problem.ContentType, len(body))
	if retryLater(status) {
		out = append(out, "Retry-After: 1\r\n"...)
	}
	for _, h := range added {
		out = http1.AppendField(out, h.Name, h.Value)
	}
	out = append(out, c.ending()...)
	if !c.x.noBody {
		out = append(out, body...)
	}
	c.out = out
	if c.flush() != nil {
		c.lasting = false
	}
}

func (c *client) takeOver() (net.Conn, []byte, error) {
	if err := c.flush(); err != nil {
		return nil, nil, err
	}
	c.silenced = true
	_ = c.conn.SetDeadline(time.Time{}) // fails only on a closed connection, as the next use will
	return c.conn, c.reader.Take(), nil
}

// left implements front. A client that has sent a further request (pipelined)
// is still there. A client that is uploading counts as there: this cannot tell.
func (c *client) left() bool {
	if u := c.x.upload; u != nil && u.started {
		return c.peek.look() == ended // the reader is the upload's
	}
	return c.reader.Buffered() == 0 && c.peek.look() == ended
}

// addrOf returns the address at the other end of a connection, or the zero Addr
// when it has none (a Unix socket).
func addrOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

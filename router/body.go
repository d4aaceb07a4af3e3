package router

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// hold reads a small body whole, so that it can be sent again. A body that is too large for that, or of unknown length on its way to the
// application (which may answer while it is still coming), is left to stream.
func (x *exchange) hold(r *http.Request) error {
	x.repeatable = repeatable(r, x.place)
	limit := x.rt.cfg.RetryBody
	switch n := r.ContentLength; {
	case r.Body == nil || r.Body == http.NoBody || n == 0:
		return nil
	case n > int64(limit), n < 0 && x.place.call == callApp:
		x.upload = &upload{}
		return nil
	}
	body, ended, err := readUpTo(r.Body, limit)
	if err != nil {
		return err
	}
	if !ended {
		x.upload = &upload{head: body}
		return nil
	}
	x.held = body
	return nil
}

// readUpTo reads to the end, or until more than limit bytes are there. The buffer grows with what arrives, not with what was announced.
func readUpTo(r io.Reader, limit int) (body []byte, ended bool, err error) {
	body = make([]byte, 0, 512)
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, len(body) <= limit, nil
		case err != nil:
			return nil, false, fmt.Errorf("read request body: %w", err)
		case len(body) > limit:
			return body, false, nil
		case len(body) == cap(body):
			body = append(body, 0)[:len(body)]
		}
	}
}

// attach prepares the outgoing request for the body that it will get at each try.
func (x *exchange) attach(in, out *http.Request) {
	if x.upload == nil {
		// The body is here already, so there is nothing for the member to allow.
		out.Header.Del("Expect")
		out.ContentLength = int64(len(x.held))
		out.Trailer = nil
		return
	}
	x.upload.rest = out.Body
	// The server fills this very map when the body ends, before the transport writes the trailers from it.
	out.Trailer = in.Trailer
}

// load gives the request its body for one try.
func (x *exchange) load(req *http.Request) {
	switch {
	case x.upload != nil:
		req.Body = x.upload
	case len(x.held) == 0:
		req.Body = nil
	default:
		// With GetBody the transport can by itself send again what did not reach a stale connection at all, whatever the method.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.held)), nil }
		req.Body, _ = req.GetBody()
	}
}

// upload is a body that streams. It can be handed to a second member only as long as none has begun to read it.
type upload struct {
	head    []byte        // what was read before the body turned out to be too large to hold
	rest    io.ReadCloser // guarded by ReverseProxy: it fails once the handler has returned
	started atomic.Bool
	broken  atomic.Pointer[error] // why the client's body could not be read
}

func (u *upload) Read(p []byte) (int, error) {
	u.started.Store(true)
	if len(u.head) > 0 {
		n := copy(p, u.head)
		u.head = u.head[n:]
		return n, nil
	}
	n, err := u.rest.Read(p)
	if err != nil && err != io.EOF {
		u.broken.Store(&err)
	}
	return n, err
}

// Close does nothing: the transport closes the body of a dial that failed, and the next member still needs it.
func (u *upload) Close() error { return nil }

// refuseBody answers a request whose body could not be read.
func (x *exchange) refuseBody(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		x.rt.refuse(w, http.StatusRequestEntityTooLarge, "body-too-large", "The request body is too large",
			fmt.Sprintf("at most %d bytes are accepted", large.Limit))
		return
	}
	x.rt.refuse(w, http.StatusBadRequest, "broken-body", "The request body ended early", "the body could not be read to its end")
}

// seal reads a small answer of the session API whole before the client gets any of it, so that a member which dies in the middle of its
// answer is one whose connection broke, and the heir can still be asked.
func (x *exchange) seal(resp *http.Response) error {
	n := resp.ContentLength
	if x.place.call == callApp || !x.repeatable || resp.Request.Method == http.MethodHead || n <= 0 || n > int64(x.rt.cfg.RetryBody) {
		return nil
	}
	body := make([]byte, n)
	_, err := io.ReadFull(resp.Body, body)
	_ = resp.Body.Close() // its end or its error is known already
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// discard reads what a refused answer still holds, so that its connection can be kept, but not more than is worth it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
}

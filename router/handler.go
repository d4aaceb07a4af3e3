package router

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/http1"
	"github.com/seed-95a32959/holdfast/internal/problem"
)

// ServeHTTP passes a request on that another server has read: net/http, which
// knows TLS and HTTP/2.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if x := rt.adopt(w, r); x != nil {
		x.run()
	}
}

// Passage is what a node knows already of an application request that it passes
// on.
type Passage struct {
	Hop       *Hop                   // the member that has passed it on to this one; nil for none
	User      string                 // whose it is
	Made      bool                   // the user's id was made for this request
	SetCookie *http.Cookie           // for the answer; nil for none
	Lookup    func(key string) Route // in place of LookupApp, unless it is nil
}

// Forward is ServeHTTP for an application request whose caller has asked
// Arrived and the Finder already: a Finder that is asked twice would make up
// two new users.
func (rt *Router) Forward(w http.ResponseWriter, r *http.Request, p Passage) {
	if x := rt.adopt(w, r); x != nil && x.placed() {
		x.hop, x.user, x.made, x.cookie, x.lookup = p.Hop, p.User, p.Made, p.SetCookie, p.Lookup
		x.forward()
	}
}

// adopt makes an exchange of a request of net/http's, or refuses it.
func (rt *Router) adopt(w http.ResponseWriter, r *http.Request) *exchange {
	h := &handler{w: w, r: r, controller: http.NewResponseController(w), bodyTimeout: rt.cfg.BodyTimeout}
	x := &exchange{rt: rt, front: h, peer: peerOf(r), secure: r.TLS != nil}
	x.reset(headOf(r))
	if r.URL.Opaque != "" {
		x.refuse(http.StatusBadRequest, "malformed-path", "The path is malformed", "accepted is a path that begins with a slash")
		return nil
	}
	if r.Method == http.MethodConnect {
		x.refuse(http.StatusNotImplemented, "method-not-supported", "The method is not supported", "CONNECT asks for a tunnel, and this is no forward proxy")
		return nil
	}
	return x
}

// headOf writes a request's head as the bytes that it might have come as.
func headOf(r *http.Request) *http1.Request {
	target := escapedPath(r.URL)
	head := &http1.Request{Method: []byte(r.Method), Path: []byte(target), Host: []byte(r.Host)}
	if target == "" {
		target = "/"
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		// Passed on as it came: the member judges it, and nothing here depends
		// on it.
		target += "?" + r.URL.RawQuery
	}
	head.Target = []byte(target)
	head.Path = head.Target[:len(target)-len(queryOf(r.URL))]
	head.Minor = 1
	head.Length = r.ContentLength
	if r.Body == nil || r.Body == http.NoBody {
		head.Length = 0
	}
	for name, values := range r.Header {
		for _, value := range values {
			head.AddField([]byte(name), []byte(value))
		}
	}
	for name := range r.Trailer { // net/http has taken the field apart
		head.AddField([]byte("Trailer"), []byte(name))
	}
	head.Finish()
	return head
}

func queryOf(u *url.URL) string {
	if u.RawQuery != "" || u.ForceQuery {
		return "?" + u.RawQuery
	}
	return ""
}

// handler is the front of an exchange that net/http has begun.
type handler struct {
	w          http.ResponseWriter
	r          *http.Request
	controller *http.ResponseController

	buf         []byte
	whole       bool // the body was read to its end
	begun       bool
	bodyTimeout time.Duration
	readBy      time.Time   // the read deadline that is set
	stopped     atomic.Bool // no more of the body is wanted
}

func (h *handler) context() context.Context { return h.r.Context() }
func (h *handler) ready() bool              { return h.whole }
func (h *handler) ended() bool              { return h.whole }
func (h *handler) goOn() error              { return nil } // net/http does it at the first read

// left implements front. After stopBody the server takes its client for gone.
func (h *handler) left() bool { return h.r.Context().Err() != nil && !h.stopped.Load() }

func (h *handler) stopBody() {
	h.stopped.Store(true)
	_ = h.controller.SetReadDeadline(longAgo)
}

// until sets when the client must have sent more of its body; zero for never.
// It fails only where the server has no deadlines, which then are its own
// matter, or on a closed connection, as the read then will.
func (h *handler) until(t time.Time) {
	_ = h.controller.SetReadDeadline(t)
	if h.stopped.Load() { // in between
		_ = h.controller.SetReadDeadline(longAgo)
	}
}

func (h *handler) next() ([]byte, error) {
	if h.buf == nil {
		h.buf = make([]byte, 16<<10)
	}
	for !h.whole {
		// Only when half of it is over: setting a deadline for each piece would
		// be dear.
		if now := time.Now(); h.readBy.Before(now.Add(h.bodyTimeout / 2)) {
			h.readBy = now.Add(h.bodyTimeout)
			h.until(h.readBy)
		}
		n, err := h.r.Body.Read(h.buf)
		if h.whole = err == io.EOF; h.whole {
			// Without this the server would take a long wait for the answer for
			// a client that has left.
			h.until(time.Time{})
		}
		if n > 0 {
			return h.buf[:n], nil
		}
		if err != nil && !h.whole {
			return nil, err
		}
	}
	return nil, io.EOF
}

func (h *handler) trailer() (fields []http1.Field) {
	for name, values := range h.r.Trailer {
		for _, value := range values {
			fields = append(fields, http1.NewField([]byte(name), []byte(value)))
		}
	}
	return fields
}

func (h *handler) inform(r *http1.Response) error {
	header := h.w.Header()
	for _, f := range r.Fields {
		header.Add(string(f.Name), string(f.Value))
	}
	h.w.WriteHeader(r.Status)
	clear(header)
	return nil
}

func (h *handler) begin(r *http1.Response, added []http1.Field) error {
	h.begun = true
	header := h.w.Header()
	for _, fields := range [...][]http1.Field{r.Fields, added} {
		for _, f := range fields {
			header.Add(string(f.Name), string(f.Value))
		}
	}
	h.w.WriteHeader(r.Status)
	return nil
}

func (h *handler) write(p []byte) error {
	_, err := h.w.Write(p)
	return err
}

func (h *handler) flush() error {
	if !h.begun {
		return nil
	}
	return h.controller.Flush()
}

func (h *handler) end(trailer []http1.Field) error {
	for _, f := range trailer {
		h.w.Header().Add(http.TrailerPrefix+string(f.Name), string(f.Value))
	}
	return nil
}

func (h *handler) abort() { panic(http.ErrAbortHandler) }

func (h *handler) refuse(status int, slug, title, detail string, added ...Header) {
	if h.begun {
		h.abort()
	}
	for _, header := range added {
		h.w.Header().Set(header.Name, header.Value)
	}
	if retryLater(status) {
		h.w.Header().Set("Retry-After", "1")
	}
	problem.Write(h.w, status, slug, title, detail)
}

func (h *handler) takeOver() (net.Conn, []byte, error) {
	conn, buffered, err := h.controller.Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // never more than is there
	return conn, early, nil
}

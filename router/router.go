// Package router passes an HTTP request on to the member that owns its user,
// and to the successor when the owner is gone.
//
// One request in it:
//
//  1. A client's connection (client.go) reads the head by internal/http1, which
//     refuses whatever could be read in two ways. A request that net/http has
//     read (HTTP/2, or a node's own endpoint) joins here (handler.go).
//  2. Finder tells the user: from the path of the session API, the signed
//     cookie, a trusted header, or a new id with its cookie.
//  3. Lookup names the user's owner, and the successor that owns the user if
//     the owner is gone. The pin is the ring's hash; nothing is stored here.
//  4. The head is made right (header.go): hop-by-hop and Holdfast-* fields out,
//     and whatever its sender has no right to say of its client; X-Forwarded-*,
//     Holdfast-Hop and Holdfast-Key in, and a proof that a member says so
//     (hop.go). All else passes as the bytes that it came as.
//  5. A small body is read and held, so that it can be sent again (body.go). A
//     large one streams, and is sent once.
//  6. The request goes to the owner on a kept connection (send.go, member.go).
//     If that was stale and the request may be repeated, it goes there again on
//     a fresh one.
//  7. If the owner cannot be dialled nothing was sent: the request goes to the
//     successor, saying so in Holdfast-Failover, Failed is told, and for a
//     second nobody else waits for that owner (retry.go). If the connection
//     broke after sending, only a request that may be repeated goes on, within
//     a budget. One that was not answered in time goes nowhere else.
//  8. The answer streams back: what has come is sent before more is waited for.
//     A switch to WebSocket joins the two connections (tunnel.go). Nobody
//     answered: 502, and no member at all: 503, each as a problem document.
//
// Each client's connection has one goroutine, which also reads the answer; only
// a body that streams, or a WebSocket, takes a second one. The router process,
// a node that has to pass an application request on, and a node that gives one
// to its sidecar application run the same code.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/hostcheck"
)

// Target is one process of a member, or its sidecar application. The zero
// Target means none.
type Target struct {
	Name string // the member's name in the ring
	Boot string // the id of this start of it
	HTTP string // host:port of its public endpoint, or whatever Dial takes for the application
	// The target is this member's sidecar application, which gets none of the
	// headers by which members speak to each other.
	App bool
}

// Route says where a key's requests go.
type Route struct {
	Fingerprint string // of the ring that it was read from
	Owner       Target // zero when no member is ready
	Successor   Target // who owns the key if the owner is gone; zero when the owner is alone
	// owner/boot whose place Owner takes, because that owner's sidecar is down;
	// "" for none
	Absent string
}

// Header is one header field.
type Header struct{ Name, Value string }

// Config configures a Router. Zero fields have the defaults stated.
type Config struct {
	// Lookup names the owner and the successor of a key. It is called for each
	// request, and again after a member failed it, so it must neither lock nor
	// block. Required.
	Lookup func(key string) Route
	// LookupApp does the same for requests to the application. While the
	// owner's application is down it may name another member. Default Lookup.
	LookupApp func(key string) Route
	// NoAPI says that the session API is not for this router's clients: its
	// paths are answered 404.
	NoAPI bool
	// Guard says which requests of the session API are refused because a page
	// of a strange site has sent them; the application guards its own. What the
	// Guard has let pass goes to a member with the member's own name as the
	// Host. Optional.
	Guard *hostcheck.Guard
	// Any names some ready member, another one at each call, for requests that
	// have no key yet. Required.
	Any func() Target
	// Finder tells the user of a request. Required.
	Finder *Finder
	// Failed is told of every dial that was refused or found no way, so that
	// the member can leave the target out of its ring. It is not told of one
	// that timed out: silence is not death. It runs on the request's goroutine
	// before the successor is looked up, and must not block.
	Failed func(t Target)
	// Misled is told of every member that had a request passed on to another one,
	// so that the member can ask who owns what now: the next request, a stream
	// perhaps, need not go through one that may leave. Optional. It must not block.
	Misled func(t Target)
	// Fence makes the value of Holdfast-Fence, by which a member knows a
	// request that reaches it too late: after a cut or a pause, when another
	// member has carried it out since. Beside it goes Holdfast-Attempt, see
	// [ParseAttempt]. Optional. It is called for each try, and must not block.
	Fence func(key string, t Target) string
	// Hops are the keys by which this member proves to others that it has
	// passed a request on, and they to it. Default: none, and then what only
	// members may say counts from no sender.
	Hops Hops
	// ToApp is added to requests for this member's sidecar application, FromApp
	// to its answers. Optional.
	ToApp   []Header
	FromApp func() []Header
	// Answered is told of each answer that the Router's own server begins, and
	// how long after the first byte of the request. Optional; it must not
	// block.
	Answered func(status int, took time.Duration)
	// Admit is asked about each connection of a client to the Router's own
	// server, and closes those that are too many. leave is called when an
	// admitted connection has ended. Default: all are admitted.
	Admit func(conn net.Conn) (leave func(), ok bool)
	// Dial opens a connection to a member; default a net.Dialer. To be seen as
	// refused its error must wrap syscall.ECONNREFUSED, EHOSTUNREACH or
	// ENETUNREACH. A connection that is no socket, nor wraps one as with a
	// method NetConn, should have a method Gone() bool that says at once
	// whether the other end has closed it, or it is used when it is stale.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// RetryBody is the largest body, in bytes, that is held for a second try;
	// default 64 KiB. A larger one streams and is sent once.
	RetryBody int
	// DialTimeout bounds one dial; default 500 ms.
	DialTimeout time.Duration
	// AnswerTimeout bounds the wait for a member's answer to a session API
	// request; default 5 s, several times what a member itself may wait for
	// others. What was not answered in time is not sent to another member.
	AnswerTimeout time.Duration
	// AgreeTimeout bounds how long a request waits while the members do not
	// agree on who owns its key, in the middle of a take-over; default 3 s.
	AgreeTimeout time.Duration
	// AppTimeout bounds the wait for the application's answer to begin; default
	// 2 min. Once begun, it may pause for as long as it likes. As with
	// AnswerTimeout the time of a body that streams does not count.
	AppTimeout time.Duration
	// WriteTimeout bounds how long a client or a member may take nothing of
	// what is sent to it; default 30 s. It is counted in halves.
	WriteTimeout time.Duration
	// HeadTimeout bounds how long a client may take to send the head of a
	// request; default 10 s.
	HeadTimeout time.Duration
	// BodyTimeout bounds how long a client may send nothing of a body that it
	// has announced; default 60 s.
	BodyTimeout time.Duration
	// ClientIdleTimeout is how long an unused connection of a client is kept;
	// default 2 min.
	ClientIdleTimeout time.Duration
	// IdleTimeout is how long an unused connection to a member is kept; default
	// 60 s. It should be below the time after which the member closes it.
	IdleTimeout time.Duration
	// IdlePerMember is the most unused connections kept to one member;
	// default 1024.
	IdlePerMember int
	// Logger is told of requests that no member answered. Keys and users are
	// never in it. Default: nothing is logged.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Lookup == nil:
		return errors.New("router config: Lookup is nil; a function from key to Route is needed")
	case c.Any == nil:
		return errors.New("router config: Any is nil; a function naming a ready member is needed")
	case c.Finder == nil:
		return errors.New("router config: Finder is nil")
	case min(c.RetryBody, c.IdlePerMember) < 0, min(c.DialTimeout, c.AnswerTimeout, c.AgreeTimeout, c.AppTimeout, c.WriteTimeout, c.HeadTimeout, c.BodyTimeout, c.IdleTimeout, c.ClientIdleTimeout) < 0:
		return errors.New("router config: a size or timeout is negative; 0 for the default or more is accepted")
	}
	if err := c.Finder.Validate(); err != nil {
		return fmt.Errorf("router config: %w", err)
	}
	setDefault(&c.RetryBody, 64<<10)
	setDefault(&c.DialTimeout, 500*time.Millisecond)
	setDefault(&c.AnswerTimeout, 5*time.Second)
	setDefault(&c.AgreeTimeout, 3*time.Second)
	setDefault(&c.AppTimeout, 2*time.Minute)
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.HeadTimeout, 10*time.Second)
	setDefault(&c.BodyTimeout, 60*time.Second)
	setDefault(&c.IdleTimeout, 60*time.Second)
	setDefault(&c.ClientIdleTimeout, 2*time.Minute)
	setDefault(&c.IdlePerMember, 1024)
	if c.LookupApp == nil {
		c.LookupApp = c.Lookup
	}
	if c.Failed == nil {
		c.Failed = func(Target) {}
	}
	if c.Misled == nil {
		c.Misled = func(Target) {}
	}
	if c.Answered == nil {
		c.Answered = func(int, time.Duration) {}
	}
	if c.Admit == nil {
		c.Admit = func(net.Conn) (func(), bool) { return func() {}, true }
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Router passes requests on. It serves connections by itself (Serve), and it is
// an http.Handler for those of another server; both may be used from many
// goroutines.
type Router struct {
	cfg     Config
	pool    *pool
	server  server
	ejected ejections
	budget  budget
	texts   sync.Pool // of *hopText
	// Ends unused connections and upgraded ones (WebSockets), of which an
	// http.Server's Shutdown does not know.
	closing  context.Context
	close    context.CancelFunc
	counters counters
}

// New returns a Router, or an error that names the field of cfg which cannot
// work.
func New(cfg Config) (*Router, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	rt := &Router{cfg: cfg}
	rt.pool = newPool(&rt.cfg)
	rt.texts.New = func() any { return new(hopText) }
	rt.closing, rt.close = context.WithCancel(context.Background())
	return rt, nil
}

// Close closes the listeners and the unused connections, and ends the upgraded
// ones (WebSockets). Requests under way are not disturbed, and end their
// connections; Shutdown waits for them.
func (rt *Router) Close() {
	rt.close()
	rt.server.stop()
	rt.pool.close()
}

func retryLater(status int) bool {
	// A failed member is out of the ring within about a second.
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable
}

// Stats counts what a Router has done since it was made.
type Stats struct {
	Requests uint64 // all requests
	// Sent to the same member again on a fresh connection, because a kept one
	// had broken.
	Retries   uint64
	Failovers uint64 // sent to another member after one failed
	Refused   uint64 // dials that were refused or found no way
	Silent    uint64 // dials that timed out, and answers that did not come in time
	Cancelled uint64 // clients that left before their answer
	Broken    uint64 // answers that broke off in the middle, at a member
	Malformed uint64 // requests refused for their head
	Unproven  uint64 // requests whose sender claims to be a member, and does not prove it
	// Requests refused because a visitor's cookie came with them, and the
	// session is another's.
	Visitors uint64
	// Requests that got an error of the Router's own: no member, none that
	// answered, a bad request.
	Errors uint64
}

type counters struct {
	requests, retries, failovers, refused, silent, cancelled, broken, malformed, unproven, visitors, errors atomic.Uint64
}

// Stats returns the counters. They are read one by one while requests go on.
func (rt *Router) Stats() Stats {
	c := &rt.counters
	return Stats{
		Requests: c.requests.Load(), Retries: c.retries.Load(), Failovers: c.failovers.Load(), Refused: c.refused.Load(),
		Silent: c.silent.Load(), Cancelled: c.cancelled.Load(), Broken: c.broken.Load(), Malformed: c.malformed.Load(),
		Unproven: c.unproven.Load(), Visitors: c.visitors.Load(), Errors: c.errors.Load(),
	}
}

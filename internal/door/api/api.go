// Package api is the public HTTP door: sessions as resources under /v1/.
//
// One request, here shown by its file: the path is split while it is still
// escaped, so that a key may hold any printable character (route.go); the
// headers, the parameters and the body are read within their limits
// (request.go, etag.go) and a JSON object is taken apart into fields
// (objects.go); that makes one [session.Op], which [Sessions] runs where the
// key's owner is (sessions.go, users.go); what comes back is written as the
// session's representation (answer.go), and what went wrong as a problem
// document of RFC 9457 (refusal.go).
//
// The door decides nothing about ownership, copies or versions, keeps nothing
// between two requests and starts no goroutine.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/session"
)

// Sessions runs one operation where its key's owner is: here, or on another
// node after one forward. It is safe for concurrent use.
//
// Errors are those of package session, or wrap [session.ErrUnavailable] or
// [session.ErrUncertain], or are the context's. The Node and Ring of the reply
// are read with an error as well, for a 404 has an author too.
type Sessions interface {
	Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error)
}

// Config is what the door needs. A zero field means the stated default.
type Config struct {
	// Sessions runs the operations. Required.
	Sessions Sessions

	// MaxSession bounds a request body, in bytes; default 1 MiB. It is
	// checked before anything of a body with a stated length is read.
	MaxSession int

	// Bodies bounds what the bodies of all requests take together while they
	// are read: of those that take most, one is given up when a smaller one
	// needs the room. Large ones that are being carried out may take half as
	// much besides. Default: no bound over all.
	Bodies *buffers.Budget

	// MaxKey bounds a session's id, in bytes before escaping; default
	// [session.MaxKey].
	MaxKey int

	// NewID makes the id of a session created by POST, from at least 128
	// random bits. A node passes a function whose ids it owns itself, so that
	// a create needs no forward; default: 26 random characters.
	NewID func() string

	// SamePartition makes the id that a session gets by rotation: new and
	// random, in the partition of id and with the same tag, so that both ids
	// change under one lock. Required.
	SamePartition func(id string) string

	// Untold says of a request that it is not told where a rotation has moved
	// a session: it may come from whoever had the old id first. Default: none
	// is.
	Untold func(r *http.Request) bool

	// Log receives panics and errors that have no better place; default none.
	// Keys are bearer secrets and are logged as hashes only.
	Log *slog.Logger
}

const defaultMaxSession = 1 << 20

// withDefaults fills the zero fields. It panics when a required one is
// missing, which is a bug of the calling program.
func (c Config) withDefaults() Config {
	if c.Sessions == nil {
		panic("api: Config.Sessions is nil")
	}
	if c.SamePartition == nil {
		panic("api: Config.SamePartition is nil")
	}
	if c.MaxSession == 0 {
		c.MaxSession = defaultMaxSession
	}
	if c.MaxKey == 0 {
		c.MaxKey = session.MaxKey
	}
	if c.Bodies == nil {
		c.Bodies = buffers.New(0)
	}
	if c.NewID == nil {
		c.NewID = rand.Text
	}
	if c.Untold == nil {
		c.Untold = func(*http.Request) bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// New returns the handler of everything under /v1/. Any other path is
// answered 404. It must see the path as it was sent: put no handler before it
// that cleans or unescapes paths.
func New(c Config) http.Handler {
	c = c.withDefaults()
	return &door{Config: c, carrying: buffers.New(c.Bodies.Limit() / 2)}
}

type door struct {
	Config
	carrying *buffers.Budget // what large bodies take that have been read
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A session is nobody's to keep but the owner's, and an answer that
	// says "not found" must not outlive the moment either.
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	e := &exchange{door: d, w: w, r: r}
	defer e.release()
	defer e.recover()
	if err := e.serve(); err != nil {
		e.refuse(err)
	}
}

// exchange is one request on its way to its answer.
type exchange struct {
	*door
	w http.ResponseWriter
	r *http.Request

	held    *buffers.Holder // what its body takes; nil before it is read
	reading atomic.Bool     // the body may be given up
	evicted atomic.Bool     // it was
	carried int64           // what it has of the door's
	key     string          // the session's id; under /v1/users/, the user's name
	ack     session.Ack
	oneOf   []session.Stamp // If-Match with several versions, see do
	started bool            // the answer's first byte may have left
}

func (e *exchange) serve() error {
	serve, err := e.route()
	if err != nil {
		return err
	}
	if e.ack, err = readAck(e.r.Header); err != nil {
		return err
	}
	return serve(e)
}

// do runs op, and notes in the answer's header who ran it.
func (e *exchange) do(op *session.Op) (session.Reply, error) {
	if len(e.oneOf) > 0 {
		if err := e.pick(op); err != nil {
			return session.Reply{}, err
		}
	}
	reply, err := e.Sessions.Do(e.r.Context(), op, e.ack)
	e.sign(reply)
	return reply, err
}

// pick turns an If-Match of several versions into the one that the session has
// now, or into none that it can have. The owner compares again when it writes,
// so a change in between is refused and never overwritten.
func (e *exchange) pick(op *session.Op) error {
	op.IfVersion = noVersion
	reply, err := e.Sessions.Do(e.r.Context(), &session.Op{Kind: session.Get, Key: op.Key}, e.ack)
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted):
		return nil // what that means for op is the store's to say
	case err != nil:
		e.sign(reply)
		return err
	}
	if version := reply.Record.Version(); slices.Contains(e.oneOf, version) {
		op.IfVersion = version
	}
	return nil
}

// Package peer is the link between two members: requests one way, their replies
// the other, many at a time over one connection.
//
// What happens to one request:
//
//  1. [Link.Call] gives it the link's next sequence number, notes who waits for
//     that number, and appends the frame to the link's write queue. A full
//     queue makes it wait here, first come first served.
//  2. The link's one writing goroutine takes everything that has gathered in
//     the queue and sends it with one write; so the more callers there are, the
//     fewer system calls each costs.
//  3. The other side's [Accept] reads the frame and hands it to the [Handler]
//     on its reading goroutine. The handler answers there or keeps the
//     [Request] and answers later, from any goroutine and in any order: a slow
//     answer holds up no other.
//  4. [Request.Reply] appends the reply, under the request's number, to that
//     side's write queue, which works like the first.
//  5. The link's reading goroutine finds the waiting call by the number and
//     wakes it. If its context has ended meanwhile, the call has left and the
//     reply is dropped; the link stays usable.
//
// Everything is bounded. A frame over what its type may have ([Config].Limits)
// is passed over before any memory is taken for it. A queue holds
// [Config].MaxQueued bytes. A server reads at most Window requests, or
// MaxQueued bytes of them, ahead of its answers, then stops reading until one
// is answered: TCP's own flow control then fills the caller's queue, and new
// calls wait there under their contexts.
//
// # Why this cannot lock up
//
// A call waits for room in its queue, which waits for the server to read, which
// waits for an answer to be queued, which waits for the server's writer, which
// waits for the caller's reading goroutine. That goroutine never waits: it
// hands each reply to a call that has a place ready for it. The chain has an
// end, because a link carries requests in one direction only. Two members that
// call each other use two links, one dialed by each; if both directions shared
// one connection, two full servers could each be waiting for the other to read.
//
// One circle is left to the handlers: a handler may call back the member that
// asked it before it answers, and two full windows of such requests wait for
// each other. So such a call is made off the reading goroutine, under a context
// with a deadline, and best over another link whose handlers make no calls:
// forwarded requests on one link, and what serving them takes (copies, pulls)
// on another. A peer that stops reading altogether ends the link after
// [Config].WriteTimeout.
//
// The package knows nothing about sessions: it carries bytes with a type.
// Liveness is its users' concern too; they send heartbeats as calls, and bulk
// transfers over a link of their own so that a heartbeat is never behind one.
package peer

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Errors of a link. All are wrapped, with the cause, so test them with
// errors.Is.
var (
	// ErrClosed: the link has ended, by Close or because the connection broke.
	// Whether the peer saw the request is unknown unless ErrNotSent is there
	// too.
	ErrClosed = errors.New("peer: link closed")
	// ErrNotSent: no byte of the request was or will be sent, so it is safe to
	// send it elsewhere whatever it does. It comes beside the reason (ErrClosed
	// or the context's error).
	ErrNotSent = errors.New("peer: request not sent")
	// ErrRefused: one side's Config.Check turned the other away. Both sides get
	// this error with the text of Check's.
	ErrRefused = errors.New("peer: refused")
	// ErrOther: the peer says that it is not Config.Wanted, whose address it
	// has. It comes beside ErrRefused.
	ErrOther = errors.New("peer: another process has the address")
	// ErrStalled: the peer has answered nothing for Config.StallTimeout, though
	// it was asked. It comes beside ErrClosed: the link has ended.
	ErrStalled = errors.New("peer: no answer on an open connection")
	// ErrMalformed: the bytes that arrived are no frame, or not one that may
	// come here. The link has ended.
	ErrMalformed = errors.New("peer: malformed frame")
	// ErrTooLarge: the payload given to Call is over Config.MaxFrame or its
	// type's limit, and nothing was sent; or the reply is over its type's
	// limit, and was not taken. The link is fine.
	ErrTooLarge = errors.New("peer: payload too large")
)

// RemoteError is what the other side said instead of a reply: the text of the
// error given to [Request.Fail], or of the error by which its Config.Check
// refused this side.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return "peer answered: " + e.Text }

// Identity is what a member tells about itself when a link opens. Each string
// is at most 1,024 bytes.
type Identity struct {
	Cluster    string // name of the cluster
	Name       string // name in the ring
	Boot       string // random per process start: a new boot is a new, empty member
	Role       string // "node" or "router"
	Wire       int    // newest version of the payloads that it speaks, 0 to 65,535
	OldestWire int    // oldest version of them, at most Wire
	// Parameters of the ring that all members must share, as ring.Params.String
	// prints them.
	Params string
}

// Config is shared by both sides of a link. Zero fields mean the defaults.
type Config struct {
	// Self says who this member is. Required; called once for each link.
	Self func() Identity
	// Wanted is the process that Connect calls, by Name and Boot; zero for any.
	// Another process that listens there answers ErrOther to every caller, but
	// not who it is.
	Wanted Identity
	// Admit is asked by Accept, before Check, whether a peer may connect from
	// that address. A peer for which it returns an error is told that it is
	// refused and nothing else: it may be a stranger. Nil admits all.
	Admit func(peer Identity, from net.Addr) error
	// Check accepts a peer (nil) or refuses it with an error, whose text is
	// also what the peer gets. Nil accepts all.
	Check func(peer Identity) error
	// Limits says, by type, how many bytes a request and its reply have at
	// most. A longer one is not taken into memory: a request is answered by a
	// failure that says so, and the call of a reply fails; the link goes on.
	// Nil: MaxFrame for all.
	Limits func(typ byte) (request, reply int)
	// Budget bounds the bytes of unanswered requests over all links that share
	// it. Nil: no bound but that of each link.
	Budget *Budget
	// MaxFrame is the largest payload of one frame, in bytes: 64 MiB by
	// default, at most 1 GiB. A peer that announces more is disconnected, so
	// all members need the same.
	MaxFrame int
	// MaxQueued bounds the bytes waiting to be written on a link, and on the
	// server the bytes of unanswered requests: 16 MiB by default. One frame
	// that is larger passes when nothing else is there.
	MaxQueued int
	// Window bounds the unanswered requests of one link on the server, which
	// stops reading at that number: 4,096 by default.
	Window int
	// HandshakeTimeout bounds the exchange of identities: 1 s by default.
	HandshakeTimeout time.Duration
	// WriteTimeout ends a link whose peer takes none of up to 256 KiB for that
	// long: 10 s by default.
	WriteTimeout time.Duration
	// StallTimeout ends a link on which nothing arrives for that long though
	// requests are unanswered: a firewall or an address translation has
	// forgotten the connection, which TCP notices after minutes. Requests that
	// are longer than slowest carries meanwhile have as much more time. 0: no
	// such bound, for a link whose user has heartbeats.
	StallTimeout time.Duration
}

// slowest is the slowest line, in bytes a second, on which a long request is
// not taken for a stalled link: 1 Mbit/s.
const slowest = 1_000_000 / 8

const maxMaxFrame = 1 << 30

// limits returns what Limits says of a type.
func (c *Config) limits(typ byte) (request, reply int) {
	if c.Limits == nil {
		return c.MaxFrame, c.MaxFrame
	}
	request, reply = c.Limits(typ)
	return min(request, c.MaxFrame), min(reply, c.MaxFrame)
}

// validate returns c with its defaults filled in.
func (c Config) validate() (Config, error) {
	if c.Self == nil {
		return c, errors.New("peer: config: Self is nil, want a function that returns this member's identity")
	}
	sizes := []struct {
		name     string
		value    *int
		fallback int
	}{
		{"MaxFrame", &c.MaxFrame, 64 << 20},
		{"MaxQueued", &c.MaxQueued, 16 << 20},
		{"Window", &c.Window, 4096},
	}
	for _, s := range sizes {
		if *s.value < 0 {
			return c, fmt.Errorf("peer: config: %s is %d, want a positive number, or 0 for %d", s.name, *s.value, s.fallback)
		}
		if *s.value == 0 {
			*s.value = s.fallback
		}
	}
	if c.MaxFrame > maxMaxFrame {
		return c, fmt.Errorf("peer: config: MaxFrame is %d, want at most %d", c.MaxFrame, maxMaxFrame)
	}
	times := []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
	}{
		{"HandshakeTimeout", &c.HandshakeTimeout, time.Second},
		{"WriteTimeout", &c.WriteTimeout, 10 * time.Second},
		{"StallTimeout", &c.StallTimeout, 0},
	}
	for _, t := range times {
		if *t.value < 0 {
			return c, fmt.Errorf("peer: config: %s is %v, want a positive time, or 0 for %v", t.name, *t.value, t.fallback)
		}
		if *t.value == 0 {
			*t.value = t.fallback
		}
	}
	return c, nil
}

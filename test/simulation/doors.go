package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// The kinds of clients, by how they get at sessions:
//
//   - api: a program that a node is part of, by calls of the node's Sessions.
//   - http: a program that speaks HTTP to a node's public endpoint.
//   - router: one that does so to a router.
//   - redis: one that speaks the Redis protocol to a node.
//
// All but the first have a host of their own. The network between it and the
// cluster is well, so what goes wrong is what the cluster does. Each client
// knows of a call what its door has told it, and no more.
const (
	byAPI    = "api"
	byHTTP   = "http"
	byRouter = "router"
	byRedis  = "redis"
)

// client makes the calls of one worker.
type client interface {
	// means is what it asks for in place of an operation that it has no words
	// for.
	means(op *session.Op) *session.Op
	// call makes one call at a host that is up. value is what it writes, or
	// has written before (of a lock).
	call(h *Host, op *session.Op, ack session.Ack, value int) answer
	close()
}

// answer is what a client has been told.
type answer struct {
	Told
	answered bool            // whoever served it said what became of it, if only that it cannot be
	version  session.Stamp   // of the session; 0 where it is not told
	record   *session.Record // itself, which the Go API alone shows
	values   map[string]string
	keys     []string // what a list has listed
	moved    string   // the new key of a rotation
}

// Told is what the answer to a call says.
type Told struct {
	Outcome     Outcome
	Served      string // the host that has run it, if the answer says so
	Created     bool
	Degraded    bool
	Unconfirmed bool // or its door cannot say
	Nothing     bool // a delete that found no session
	// What the door does not say: whether a delete has found a session, and
	// whether an answer is degraded.
	FindUnsaid, ReachUnsaid bool
	Acked                   int // copies that have it, the owner's not counted
	Err                     string
}

// refuse and uncertain are answers that come from no node: nothing was sent, or
// nothing came back.
func refuse(err error) answer    { return answer{Told: Told{Outcome: Refused, Err: err.Error()}} }
func uncertain(err error) answer { return answer{Told: Told{Outcome: Unknown, Err: err.Error()}} }

func (c *Cluster) newClient(kind string, worker int) client {
	switch kind {
	case byHTTP, byRouter:
		return &httpClient{c.caller(worker)}
	case byRedis:
		return &redisClient{caller: c.caller(worker), copies: c.options.Copies}
	default:
		return apiClient{}
	}
}

// apiClient calls a node from within its process.
type apiClient struct{}

func (apiClient) means(op *session.Op) *session.Op { return op }
func (apiClient) close()                           {}

func (apiClient) call(h *Host, op *session.Op, ack session.Ack, _ int) answer {
	n, p := h.Node()
	if n == nil {
		return refuse(errEnded)
	}
	ctx, cancel := context.WithTimeout(p.Context(), callTimeout)
	defer cancel()
	reply, err := n.Sessions().Do(ctx, op, ack)
	p.AwaitResume()
	a := answer{record: reply.Record, moved: op.NewKey, Told: Told{
		Outcome: outcomeOf(err), Served: reply.Node, Created: reply.Created, Degraded: reply.Degraded, Unconfirmed: reply.Unconfirmed, Acked: reply.Acked,
	}}
	a.answered = a.Outcome <= Deleted || answered(err)
	if err != nil {
		a.Err = err.Error()
	}
	if p.Context().Err() != nil {
		a.Outcome, a.Err = Unknown, "the endpoint crashed"
	}
	a.Nothing = a.Outcome == OK && op.Kind == session.Delete && reply.Record == nil
	for _, rec := range reply.Records {
		a.keys = append(a.keys, rec.Key())
	}
	if reply.Record == nil {
		return a
	}
	a.version = reply.Record.Version()
	if op.Kind == session.Get {
		a.values = make(map[string]string)
		for f := range reply.Record.Fields() {
			a.values[f.Name] = session.ValueBytes(f.Value)
		}
	}
	return a
}

// answered says whether an error is an answer: that of whoever serves.
func answered(err error) bool {
	return errors.Is(err, session.ErrPrecondition) || errors.Is(err, session.ErrFull) || errors.Is(err, session.ErrBusy)
}

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, session.ErrNotFound):
		return Missing
	case errors.Is(err, session.ErrDeleted):
		return Deleted
	case errors.Is(err, session.ErrUncertain), errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, session.ErrUnavailable), errors.Is(err, context.Canceled):
		return Unknown
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrPrecondition), errors.Is(err, session.ErrFull):
		return Refused
	default:
		return Unknown
	}
}

// caller is the process of a client on a host of its own, and the connection
// that it keeps.
type caller struct {
	history *History
	process *Process
	kept    *conn
	to      netip.AddrPort
	server  *Process // at the other end
}

// caller boots one for a worker.
func (c *Cluster) caller(worker int) *caller {
	return &caller{history: c.history, process: c.Net.Boot(netip.AddrFrom4([4]byte{10, 0, 1, byte(worker + 1)}))}
}

func (c *caller) close() {
	c.drop()
	c.process.Crash()
}

// drop ends the connection, after which nothing more is read of it.
func (c *caller) drop() {
	if c.kept != nil {
		_ = c.kept.Close() // it may be closed
	}
	c.kept = nil
}

// open returns a connection to a port of a host, and whether it is a new one.
// One to a process that has ended is none: a client sees it close.
func (c *caller) open(h *Host, port int) (at *conn, fresh bool, err error) {
	_, server := h.Node()
	to := netip.AddrPortFrom(h.Address, uint16(port))
	until := time.Now().Add(callTimeout)
	if c.kept == nil || c.to != to || c.server != server {
		c.drop()
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		dialled, err := c.process.dial(ctx, to)
		if err != nil {
			return nil, false, fmt.Errorf("dial: %w", err)
		}
		c.kept, c.to, c.server, fresh = dialled.(*conn), to, server, true
	}
	return c.kept, fresh, c.kept.SetDeadline(until)
}

// unread says that a request on a kept connection has met its end: the server
// had closed it, and has read nothing of what was sent.
func unread(err error) bool { return errors.Is(err, syscall.EPIPE) }

// broke is the answer to a call whose connection has ended or is silent.
func (c *caller) broke(err error) answer {
	c.drop()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if unread(err) {
		return refuse(err)
	}
	return uncertain(err)
}

// riddle notes an answer that no client could make sense of, or one that
// should not be given to what was asked.
func (c *caller) riddle(op *session.Op, text string) answer {
	c.history.Break("%s of %s: an answer without a meaning: %s", op.Kind, op.Key, text)
	return answer{Told: Told{Outcome: Unknown, Err: text}}
}

// ackOf is what a call waits for that does not say.
func ackOf(ack session.Ack) session.Ack { return cmp.Or(ack, session.AckAsync) }

// lockKey says whether a key is that of a lock, which is a string and no hash.
func lockKey(key string) bool { return strings.HasPrefix(key, locks) }

package redis

import (
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

// never is no deadline.
var never time.Time

var connectionVerbs = []verb{
	{name: "ping", arity: -1, flags: fast | subscriber | anyDatabase, run: (*conn).ping},
	{name: "echo", arity: 2, flags: fast | loading | stale, run: func(c *conn, args [][]byte) { c.out.Bulk(args[1]) }},
	{name: "quit", arity: -1, flags: noScript | loading | stale | fast | noAuth | subscriber | atOnce | anyDatabase, run: (*conn).quit},
	{name: "reset", arity: 1, flags: noScript | loading | stale | fast | noAuth | subscriber | atOnce | anyDatabase, run: (*conn).reset},
	{name: "select", arity: 2, flags: loading | stale | fast | anyDatabase, run: (*conn).choose},
	{name: "readonly", arity: 1, flags: loading | stale | fast, run: ok},
	{name: "readwrite", arity: 1, flags: loading | stale | fast, run: ok},
	{name: "asking", arity: 1, flags: fast, run: ok},
	{name: "time", arity: 1, flags: loading | stale | fast, run: (*conn).time},
}

func ok(c *conn, _ [][]byte) { c.out.OK() }

func (c *conn) ping(args [][]byte) {
	switch {
	case len(args) > 2:
		c.fail(wrongArity("ping"))
	case c.out.Proto == 2 && c.subs.count() > 0:
		c.out.Array(2)
		c.out.BulkString("pong")
		if len(args) == 2 {
			c.out.Bulk(args[1])
			return
		}
		c.out.BulkString("")
	case len(args) == 2:
		c.out.Bulk(args[1])
	default:
		c.out.Simple("PONG")
	}
}

func (c *conn) quit([][]byte) {
	c.out.OK()
	c.closing = true
}

// reset makes the connection as it was when it began.
func (c *conn) reset([][]byte) {
	c.discard()
	c.unsubscribeAll()
	c.setProto(2)
	c.replies, c.foreign = replyOn, false
	c.show(func(p *public) { p.name = "" })
	if c.server.cfg.Password != "" {
		if c.authenticated.Swap(false) { // a stranger gets no further time by it
			c.stranger.Store(c.server.ticks.Load())
		}
		c.in.SetLimits(resp.Anonymous())
	}
	c.out.Simple("RESET")
}

// choose is SELECT 0. As in Redis Cluster there is no other database, and what
// asks for one has left.
func (c *conn) choose([][]byte) {
	c.foreign = false
	c.out.OK()
}

const errForeign refusal = "ERR this connection has asked for another database than 0, and there is none: SELECT 0 first; until then only SELECT, PING, QUIT, RESET, AUTH and HELLO are taken"

// leaves reports whether a command is a SELECT of another database than 0.
func (o order) leaves() bool {
	return o.verb != nil && o.verb.name == "select" && string(o.args[1]) != "0"
}

// stray notes that a SELECT of another database was refused. Many a program
// does not look at the answer and goes on with what it wants done there, a
// FLUSHDB perhaps. So nothing that it sends reaches the sessions until it has
// come back, and a transaction that it has begun is forgotten.
func (c *conn) stray() {
	c.foreign = true
	c.discard()
}

// errDatabase is the answer to a SELECT of another database, as Redis words it.
func errDatabase(n []byte) refusal {
	if _, isInt := resp.ParseInt(n); !isInt {
		return errInteger
	}
	return "ERR DB index is out of range"
}

func (c *conn) time([][]byte) {
	now := time.Now()
	c.out.Array(2)
	c.out.BulkString(itoa(now.Unix()))
	c.out.BulkString(itoa(int64(now.Nanosecond() / 1000)))
}

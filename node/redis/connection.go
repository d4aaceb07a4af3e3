package redis

import (
	"time"

	"github.com/seed-95a32959/holdfast/resp"
)

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

var connectionVerbs = []verb{
	{name: "ping", arity: -1, flags: fast | subscriber, run: (*conn).ping},
	{name: "echo", arity: 2, flags: fast | loading | stale, run: func(c *conn, args [][]byte) { c.out.Bulk(args[1]) }},
	{name: "quit", arity: -1, flags: noScript | loading | stale | fast | noAuth | subscriber | atOnce, run: (*conn).quit},
	{name: "reset", arity: 1, flags: noScript | loading | stale | fast | noAuth | subscriber | atOnce, run: (*conn).reset},
	{name: "select", arity: 2, flags: loading | stale | fast, run: (*conn).choose},
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
	c.replies = replyOn
	c.show(func(p *public) { p.name = "" })
	if c.server.cfg.Password != "" {
		c.authenticated.Store(false)
		c.in.SetLimits(resp.Anonymous())
	}
	c.out.Simple("RESET")
}

// choose is SELECT: as in Redis Cluster there is database 0 and no other.
func (c *conn) choose(args [][]byte) {
	switch n, isInt := resp.ParseInt(args[1]); {
	case !isInt:
		c.fail(errInteger)
	case n != 0:
		c.fail("ERR DB index is out of range")
	default:
		c.out.OK()
	}
}

func (c *conn) time([][]byte) {
	now := time.Now()
	c.out.Array(2)
	c.out.BulkString(itoa(now.Unix()))
	c.out.BulkString(itoa(int64(now.Nanosecond() / 1000)))
}

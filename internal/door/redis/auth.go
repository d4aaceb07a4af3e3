package redis

import (
	"crypto/sha256"
	"crypto/subtle"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// redisVersion is that of the Redis whose answers the door gives. Clients
// choose commands by it.
const redisVersion = "7.0.15"

const (
	errWrongPass refusal = "WRONGPASS invalid username-password pair or user is disabled."
	errGuesses   refusal = "ERR too many wrong passwords have come from your address, try again in some seconds"
	errNoPass    refusal = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errHello     refusal = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
)

var authVerbs = []verb{
	{name: "auth", arity: -2, flags: noScript | loading | stale | fast | noAuth | anyDatabase, run: (*conn).auth},
	{name: "hello", arity: -1, flags: noScript | loading | stale | fast | noAuth | anyDatabase, run: (*conn).hello},
}

func (c *conn) auth(args [][]byte) {
	var no refusal
	switch {
	case len(args) > 3:
		no = errSyntax
	case len(args) == 2 && c.server.cfg.Password == "":
		no = errNoPass
	case len(args) == 2:
		no = c.login([]byte("default"), args[1])
	default:
		no = c.login(args[1], args[2])
	}
	if no != none {
		c.fail(no)
		return
	}
	c.out.OK()
}

// login checks a password in a time that says nothing of how much of it is
// right. Without a password set every one is, as in Redis.
func (c *conn) login(user, password []byte) refusal {
	if c.server.cfg.Password != "" && !c.mayGuess() {
		c.closing = true
		return errGuesses
	}
	want, got := sha256.Sum256([]byte(c.server.cfg.Password)), sha256.Sum256(password)
	same := subtle.ConstantTimeCompare(want[:], got[:]) == 1
	if string(user) != "default" || !same && c.server.cfg.Password != "" {
		c.server.counters.wrongPasswords.Add(1)
		c.server.guesses.failed(c.origin, time.Now())
		return errWrongPass
	}
	c.admitted()
	return none
}

// mayGuess lets an attempt wait that comes after wrong ones from its address.
// It returns false if the attempt is not to be looked at.
func (c *conn) mayGuess() bool {
	wait, ok := c.server.guesses.attempt(c.origin, time.Now())
	if !ok {
		c.server.counters.unseenPasswords.Add(1)
		return false
	}
	if wait == 0 {
		return true
	}
	select {
	case <-time.After(wait):
		return true
	case <-c.ctx.Done():
		return false
	}
}

// hello chooses the protocol, and may log in and name the client on the way.
func (c *conn) hello(args [][]byte) {
	proto := int64(c.out.Proto)
	options := args[1:]
	if len(options) > 0 {
		var isInt bool
		if proto, isInt = resp.ParseInt(options[0]); !isInt {
			c.fail("ERR Protocol version is not an integer or out of range")
			return
		}
		if proto != 2 && proto != 3 {
			c.fail("NOPROTO unsupported protocol version")
			return
		}
		options = options[1:]
	}
	if no := c.helloOptions(options); no != none {
		c.fail(no)
		return
	}
	if !c.authenticated.Load() {
		c.fail(errHello)
		return
	}
	c.setProto(int(proto))
	c.out.Map(7)
	for _, entry := range [][2]string{{"server", "redis"}, {"version", redisVersion}} {
		c.out.BulkString(entry[0])
		c.out.BulkString(entry[1])
	}
	c.out.BulkString("proto")
	c.out.Int(proto)
	c.out.BulkString("id")
	c.out.Int(c.id)
	for _, entry := range [][2]string{{"mode", "cluster"}, {"role", "master"}} {
		c.out.BulkString(entry[0])
		c.out.BulkString(entry[1])
	}
	c.out.BulkString("modules")
	c.out.Array(0)
}

func (c *conn) helloOptions(options [][]byte) refusal {
	for len(options) > 0 {
		switch {
		case is(options[0], "auth") && len(options) >= 3:
			if no := c.login(options[1], options[2]); no != none {
				return no
			}
			options = options[3:]
		case is(options[0], "setname") && len(options) >= 2:
			if no := c.setName(options[1]); no != none {
				return no
			}
			options = options[2:]
		default:
			return refusal("ERR Syntax error in HELLO option '" + string(options[0]) + "'")
		}
	}
	return none
}

func (c *conn) setProto(proto int) {
	c.out.Proto = proto
	c.show(func(p *public) { p.proto = proto })
	if q := c.subs.queue; q != nil {
		q.setProto(proto)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

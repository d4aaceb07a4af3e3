package redis

import (
	"fmt"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

var clientVerbs = []verb{
	{name: "client|id", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.out.Int(c.id) }},
	{name: "client|getname", arity: 2, flags: loading | stale, run: (*conn).clientGetName},
	{name: "client|setname", arity: 3, flags: loading | stale, run: (*conn).clientSetName},
	{name: "client|setinfo", arity: 4, flags: loading | stale, run: (*conn).clientSetInfo},
	{name: "client|info", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.out.Verbatim("txt", c.describe()+"\n") }},
	{name: "client|list", arity: -2, flags: loading | stale, run: (*conn).clientList},
	{name: "client|kill", arity: -3, flags: loading | stale, run: (*conn).clientKill},
	{name: "client|reply", arity: 3, flags: loading | stale, run: (*conn).clientReply},
	{name: "client|no-evict", arity: 3, flags: loading | stale, run: (*conn).clientSwitch},
	{name: "client|no-touch", arity: 3, flags: loading | stale, run: (*conn).clientSwitch},
	{name: "client|unblock", arity: -3, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.out.Int(0) }},
	{name: "client|getredir", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.out.Int(-1) }},
	{name: "client|trackinginfo", arity: 2, flags: loading | stale, run: (*conn).clientTrackingInfo},
	{name: "client|tracking", arity: -3, flags: loading | stale, run: (*conn).clientTracking},
	{name: "client|caching", arity: 3, flags: loading | stale, run: func(c *conn, _ [][]byte) {
		c.fail("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	}},
}

func (c *conn) clientGetName([][]byte) {
	if name := c.shown().name; name != "" {
		c.out.BulkString(name)
		return
	}
	c.out.Null()
}

func (c *conn) clientSetName(args [][]byte) {
	if no := c.setName(args[2]); no != none {
		c.fail(no)
		return
	}
	c.out.OK()
}

// plain says whether a word can stand in CLIENT LIST.
func plain(b []byte) bool {
	for _, ch := range b {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return true
}

// maxClientName bounds what a client says of itself, in bytes: CLIENT LIST says
// it of all.
const maxClientName = 256

const errClientName refusal = "ERR names and versions of clients may have 256 bytes"

func (c *conn) setName(name []byte) refusal {
	if len(name) > maxClientName {
		return errClientName
	}
	if !plain(name) {
		return "ERR Client names cannot contain spaces, newlines or special characters."
	}
	c.show(func(p *public) { p.name = string(name) })
	return none
}

func (c *conn) clientSetInfo(args [][]byte) {
	option := lower(args[2])
	switch {
	case option != "lib-name" && option != "lib-ver":
		c.fail(refusal("ERR Unrecognized option '" + clip(args[2], 128) + "'"))
	case len(args[3]) > maxClientName:
		c.fail(errClientName)
	case !plain(args[3]):
		c.fail(refusal("ERR " + option + " cannot contain spaces, newlines or special characters."))
	default:
		c.show(func(p *public) {
			if option == "lib-name" {
				p.library = string(args[3])
			} else {
				p.version = string(args[3])
			}
		})
		c.out.OK()
	}
}

// clientSwitch takes settings that change nothing here.
func (c *conn) clientSwitch(args [][]byte) {
	if !is(args[2], "on") && !is(args[2], "off") {
		c.fail(errSyntax)
		return
	}
	c.out.OK()
}

func (c *conn) clientReply(args [][]byte) {
	switch lower(args[2]) {
	case "on":
		c.replies = replyOn
		c.out.OK()
	case "off":
		c.replies = replyOff
	case "skip":
		if c.replies != replyOff {
			c.replies = replySkip
		}
	default:
		c.fail(errSyntax)
	}
}

// clientTracking refuses: a client that was promised to be told of changes and
// is not would serve what is out of date.
func (c *conn) clientTracking(args [][]byte) {
	switch {
	case is(args[2], "off"):
		c.out.OK()
	case is(args[2], "on"):
		c.fail("ERR client side caching is not supported, disable it in the client")
	default:
		c.fail(errSyntax)
	}
}

func (c *conn) clientTrackingInfo([][]byte) {
	c.out.Map(3)
	c.out.BulkString("flags")
	c.out.Set(1)
	c.out.BulkString("off")
	c.out.BulkString("redirect")
	c.out.Int(-1)
	c.out.BulkString("prefixes")
	c.out.Array(0)
}

func (c *conn) clientList(args [][]byte) {
	wanted, no := listFilter(args[2:])
	if no != none {
		c.fail(no)
		return
	}
	if !c.server.lists.enter(c.ctx) {
		return
	}
	defer c.server.lists.leave()
	var list strings.Builder
	for _, other := range c.server.all() {
		if wanted(other) {
			list.WriteString(other.describe() + "\n")
		}
	}
	c.out.Verbatim("txt", list.String())
}

// listFilter reads TYPE and ID.
func listFilter(options [][]byte) (func(*conn) bool, refusal) {
	switch {
	case len(options) == 0:
		return func(*conn) bool { return true }, none
	case is(options[0], "type") && len(options) == 2:
		return typeFilter(options[1])
	case is(options[0], "id") && len(options) > 1:
		ids := make(map[int64]bool)
		for _, arg := range options[1:] {
			id, isInt := resp.ParseInt(arg)
			if !isInt {
				return nil, "ERR Invalid client ID"
			}
			ids[id] = true
		}
		return func(c *conn) bool { return ids[c.id] }, none
	default:
		return nil, errSyntax
	}
}

func typeFilter(arg []byte) (func(*conn) bool, refusal) {
	switch lower(arg) {
	case "normal":
		return func(c *conn) bool { return !c.subscribed.Load() }, none
	case "pubsub":
		return func(c *conn) bool { return c.subscribed.Load() }, none
	case "master", "replica", "slave":
		return func(*conn) bool { return false }, none
	default:
		return nil, refusal("ERR Unknown client type '" + clip(arg, 128) + "'")
	}
}

// describe is the connection's line in CLIENT LIST.
func (c *conn) describe() string {
	p, now := c.shown(), c.server.ticks.Load()
	flags := "N"
	if c.subscribed.Load() {
		flags = "P"
	}
	if p.queued >= 0 {
		flags = strings.TrimPrefix(flags, "N") + "x"
	}
	line := fmt.Sprintf("id=%d addr=%s laddr=%s fd=-1 name=%s age=%d idle=%d flags=%s db=0 sub=%d psub=%d ssub=0 multi=%d"+
		" qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=%d events=r cmd=%s user=default redir=-1 resp=%d",
		c.id, c.net.RemoteAddr(), c.net.LocalAddr(), p.name, now-c.born, now-c.active.Load(), flags,
		p.channels, p.patterns, p.queued, c.holder.Held(), p.last, p.proto)
	if p.library != "" || p.version != "" {
		line += " lib-name=" + p.library + " lib-ver=" + p.version
	}
	return line
}

// clientKill closes connections by address, or by ID, ADDR, LADDR, TYPE, USER
// and SKIPME together.
func (c *conn) clientKill(args [][]byte) {
	if len(args) == 3 {
		if c.kill(func(o *conn) bool { return o.net.RemoteAddr().String() == string(args[2]) }) == 0 {
			c.fail("ERR No such client")
			return
		}
		c.out.OK()
		return
	}
	filters, no := c.killFilters(args[2:])
	if no != none {
		c.fail(no)
		return
	}
	c.out.Int(c.kill(func(o *conn) bool {
		for _, fits := range filters {
			if !fits(o) {
				return false
			}
		}
		return true
	}))
}

// killFilters reads pairs of a filter and its value. Of one filter the last
// value counts, as in Redis.
func (c *conn) killFilters(options [][]byte) (filters map[string]func(*conn) bool, no refusal) {
	if len(options)%2 != 0 {
		return nil, errSyntax
	}
	filters = make(map[string]func(*conn) bool)
	skipMe := true
	for ; len(options) > 0; options = options[2:] {
		value := string(options[1])
		var fits func(*conn) bool
		name := lower(options[0])
		switch name {
		case "id":
			id, isInt := resp.ParseInt(options[1])
			if !isInt || id < 1 {
				return nil, "ERR client-id should be greater than 0"
			}
			fits = func(o *conn) bool { return o.id == id }
		case "addr":
			fits = func(o *conn) bool { return o.net.RemoteAddr().String() == value }
		case "laddr":
			fits = func(o *conn) bool { return o.net.LocalAddr().String() == value }
		case "type":
			if fits, no = typeFilter(options[1]); no != none {
				return nil, no
			}
		case "user":
			if value != "default" {
				return nil, refusal("ERR No such user '" + clip(options[1], 128) + "'")
			}
		case "skipme":
			if skipMe = is(options[1], "yes"); !skipMe && !is(options[1], "no") {
				return nil, errSyntax
			}
		default:
			return nil, errSyntax
		}
		if fits != nil {
			filters[name] = fits
		}
	}
	if skipMe {
		filters["skipme"] = func(o *conn) bool { return o != c }
	}
	return filters, none
}

// kill closes the connections that fit. It looks at all of them, as CLIENT LIST
// does, and neither is done by more than one client at a time: some words of
// thousands of clients must not keep all processors busy.
func (c *conn) kill(fits func(*conn) bool) (killed int64) {
	if !c.server.lists.enter(c.ctx) {
		return 0
	}
	defer c.server.lists.leave()
	for _, other := range c.server.all() {
		if !fits(other) {
			continue
		}
		killed++
		if other == c {
			c.closing = true // after the answer
			continue
		}
		other.close("CLIENT KILL")
	}
	return killed
}

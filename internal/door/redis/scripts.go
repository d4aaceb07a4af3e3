package redis

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

// script is one that session libraries send, and the command that does the
// same. There is no Lua here: a text that is not known is not run.
type script struct {
	text string
	// command and args are what is run instead: of each argument, whether it is
	// a key or not and which, or a fixed word.
	command string
	args    []scriptArg
}

type scriptArg struct {
	word string // as it is, unless empty
	argv int    // ARGV[argv], from 1
}

// Locks of phpredis and Laravel, Laravel's Cache::add, and the session and
// cache of ASP.NET Core, the last in the form for servers before Redis 4 too.
var knownScripts = []script{
	{
		text:    `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`,
		command: "holdfast.delifeq", args: []scriptArg{{argv: 1}},
	},
	{
		text:    `return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])`,
		command: "holdfast.setexnx", args: []scriptArg{{argv: 2}, {argv: 1}},
	},
	{
		text: `redis.call('HSET', KEYS[1], 'absexp', ARGV[1], 'sldexp', ARGV[2], 'data', ARGV[4])
			if ARGV[3] ~= '-1' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end return 1`,
		command: "holdfast.hsetex", args: aspNetArgs,
	},
	{
		text: `redis.call('HMSET', KEYS[1], 'absexp', ARGV[1], 'sldexp', ARGV[2], 'data', ARGV[4])
			if ARGV[3] ~= '-1' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end return 1`,
		command: "holdfast.hsetex", args: aspNetArgs,
	},
}

var aspNetArgs = []scriptArg{
	{argv: 3}, {word: "absexp"}, {argv: 1}, {word: "sldexp"}, {argv: 2}, {word: "data"}, {argv: 4},
}

// normal is a text without what does not change its meaning: all spaces, and
// which quotes are used. None of the known texts has a space in quotes.
func normal(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), ""), "'", `"`)
}

// scripts are those that have been sent, by the SHA1 of the text as it was
// sent.
type scripts struct {
	known map[string]*script // by normal text

	mu   sync.RWMutex // guards sent
	sent map[string]*script
}

// maxScripts bounds the spellings of the known texts that are remembered.
const maxScripts = 1000

func (s *scripts) init() {
	s.known = make(map[string]*script)
	for i := range knownScripts {
		s.known[normal(knownScripts[i].text)] = &knownScripts[i]
	}
	s.flush()
}

// flush forgets what was sent, except the texts that are known beforehand:
// phpredis begins with EVALSHA.
func (s *scripts) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = make(map[string]*script)
	s.sent[digest(knownScripts[0].text)] = &knownScripts[0]
}

func digest(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// load remembers a text, if it is known.
func (s *scripts) load(text string) (sha string, known *script) {
	if known = s.known[normal(text)]; known == nil {
		return "", nil
	}
	sha = digest(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) < maxScripts {
		s.sent[sha] = known
	}
	return sha, known
}

func (s *scripts) find(sha []byte) *script {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sent[strings.ToLower(string(sha))]
}

const (
	errNoScript     refusal = "NOSCRIPT No matching script. Please use EVAL."
	errNoLua        refusal = "NOSCRIPT this server runs no Lua, only the scripts of known session libraries"
	errScriptKeys   refusal = "ERR Number of keys can't be greater than number of args"
	errScriptMinus  refusal = "ERR Number of keys can't be negative"
	errScriptShort  refusal = "ERR the script needs one key and more arguments than it was given"
	errScriptNumber         = errInteger
)

var scriptVerbs = []verb{
	{name: "eval", arity: -3, flags: noScript | stale, run: (*conn).eval},
	{name: "evalsha", arity: -3, flags: noScript | stale, run: (*conn).eval},
	{name: "script|load", arity: 3, flags: noScript | stale, run: (*conn).scriptLoad},
	{name: "script|exists", arity: -3, flags: noScript, run: (*conn).scriptExists},
	{name: "script|flush", arity: -2, flags: noScript, run: (*conn).scriptFlush},
}

func (c *conn) eval(args [][]byte) {
	o, no := c.rewritten(order{args: args, verb: verbs[lower(args[0])]})
	if no != none {
		c.fail(no)
		return
	}
	c.keyed(o.spec, o.args)
}

func isScript(v *verb) bool { return v != nil && (v.name == "eval" || v.name == "evalsha") }

// rewritten makes a script the command that does the same, and leaves every
// other order as it is.
func (c *conn) rewritten(o order) (order, refusal) {
	if !isScript(o.verb) {
		return o, none
	}
	var s *script
	absent := errNoScript
	if o.verb.name == "evalsha" {
		s = c.server.scripts.find(o.args[1])
	} else {
		_, s = c.server.scripts.load(string(o.args[1]))
		absent = errNoLua
	}
	n, isInt := resp.ParseInt(o.args[2])
	switch {
	case !isInt:
		return o, errScriptNumber
	case n > int64(len(o.args)-3):
		return o, errScriptKeys
	case n < 0:
		return o, errScriptMinus
	case s == nil:
		return o, absent
	case n != 1:
		return o, errScriptShort
	}
	args, ok := s.fill(o.args[3], o.args[4:])
	if !ok {
		return o, errScriptShort
	}
	return order{args: args, spec: command.Lookup([]byte(s.command))}, none
}

// fill makes the arguments of a script's command.
func (s *script) fill(key []byte, argv [][]byte) (args [][]byte, ok bool) {
	args = append(args, []byte(s.command), key)
	for _, a := range s.args {
		switch {
		case a.word != "":
			args = append(args, []byte(a.word))
		case a.argv > len(argv):
			return nil, false
		default:
			args = append(args, argv[a.argv-1])
		}
	}
	return args, true
}

func (c *conn) scriptLoad(args [][]byte) {
	sha, known := c.server.scripts.load(string(args[2]))
	if known == nil {
		c.fail(errNoLua)
		return
	}
	c.out.BulkString(sha)
}

func (c *conn) scriptExists(args [][]byte) {
	c.out.Array(len(args) - 2)
	for _, sha := range args[2:] {
		if c.server.scripts.find(sha) != nil {
			c.out.Int(1)
		} else {
			c.out.Int(0)
		}
	}
}

func (c *conn) scriptFlush(args [][]byte) {
	if len(args) > 3 || len(args) == 3 && !is(args[2], "async") && !is(args[2], "sync") {
		c.fail("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
		return
	}
	c.server.scripts.flush()
	c.out.OK()
}

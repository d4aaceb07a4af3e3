package redis

import (
	"cmp"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/command"
)

// verb is a command that the door runs itself, or one word of a command such as
// CLIENT that has several.
type verb struct {
	name  string // in lower case; of a word, as in "client|setname"
	arity int    // as in [command.Spec]
	flags flag
	run   func(c *conn, args [][]byte)
	words map[string]*verb // of a command that has several; run is nil then
	keys  [3]int           // first, last and step, as in [command.Spec]
}

// flag says where a verb may be used.
type flag uint16

const (
	noAuth     flag = 1 << iota // before AUTH
	noMulti                     // not between MULTI and EXEC
	atOnce                      // between MULTI and EXEC it is run, not queued
	subscriber                  // of protocol 2, after SUBSCRIBE
	reads                       // readonly: of the keys
	writes                      // write: to the keys
	fast
	pubsub
	noScript
	loading
	stale
	anyDatabase // after a SELECT that was refused
	wipes       // all sessions: wants Config.AllowFlush
)

// redisNames are the flags that COMMAND shows, in Redis's order.
var redisNames = []struct {
	flag flag
	name string
}{
	{writes, "write"}, {reads, "readonly"}, {pubsub, "pubsub"}, {noScript, "noscript"}, {loading, "loading"}, {stale, "stale"}, {fast, "fast"},
	{noAuth, "no_auth"},
}

func (v *verb) is(f flag) bool { return v.flags&f != 0 }

func (v *verb) fits(args int) bool { return args == v.arity || v.arity < 0 && args >= -v.arity }

// order is a command that has been looked up: one on keys, or one of the door.
type order struct {
	args [][]byte
	spec *command.Spec
	verb *verb
}

// refusal is an answer to a command that is not run.
type refusal string

const none refusal = ""

const (
	errSyntax     refusal = "ERR syntax error"
	errInteger    refusal = "ERR value is not an integer or out of range"
	errNoAuth     refusal = "NOAUTH Authentication required."
	errCrossSlot  refusal = "CROSSSLOT Keys in request don't hash to the same slot"
	errNotInMulti refusal = "ERR Command not allowed inside a transaction"
)

// dispatch answers one command. The usual one, on keys and with nothing in its
// way, takes the short way.
func (c *conn) dispatch(args [][]byte) {
	if spec := command.Lookup(args[0]); spec != nil && c.unhindered() && spec.Fits(len(args)) && !spec.Internal {
		c.keyed(spec, args)
		return
	}
	o, no := c.lookup(args)
	if no == none {
		no = c.allowed(o)
	}
	if o.leaves() {
		c.stray()
		no = cmp.Or(no, errDatabase(o.args[1]))
	}
	switch {
	case no != none:
		c.tx.spoil()
		c.fail(no)
	case c.tx.open && (o.verb == nil || !o.verb.is(atOnce)):
		c.queue(o)
	default:
		c.execute(o)
	}
}

// unhindered says that nothing about the connection keeps a command on keys
// from being run.
func (c *conn) unhindered() bool {
	return !c.tx.open && !c.foreign && c.subs.count() == 0 && c.authenticated.Load()
}

func (c *conn) fail(no refusal) { c.out.Error(string(no)) }

// execute runs a command that is allowed to.
func (c *conn) execute(o order) {
	if o.spec != nil {
		c.keyed(o.spec, o.args)
		return
	}
	o.verb.run(c, o.args)
}

// lookup finds what args name, and checks how many they are.
func (c *conn) lookup(args [][]byte) (order, refusal) {
	if spec := command.Lookup(args[0]); spec != nil && !spec.Internal {
		if !spec.Fits(len(args)) {
			return order{}, wrongArity(spec.Name)
		}
		return order{args: args, spec: spec}, none
	}
	v := verbs[lower(args[0])]
	if v == nil {
		return order{}, unknown(args)
	}
	if v.words != nil && len(args) > 1 {
		word := v.words[lower(args[1])]
		if word == nil {
			return order{}, refusal("ERR unknown subcommand '" + clip(args[1], 128) + "'. Try " + strings.ToUpper(v.name) + " HELP.")
		}
		v = word
	}
	if !v.fits(len(args)) || v.run == nil {
		return order{}, wrongArity(v.name)
	}
	return order{args: args, verb: v}, none
}

func wrongArity(name string) refusal {
	return refusal("ERR wrong number of arguments for '" + name + "' command")
}

// unknown quotes what was sent, as far as Redis does.
func unknown(args [][]byte) refusal {
	const most = 128
	var quoted strings.Builder
	for _, arg := range args[1:] {
		if quoted.Len() >= most {
			break
		}
		quoted.WriteString("'" + clip(arg, most-quoted.Len()) + "' ")
	}
	return refusal("ERR unknown command '" + clip(args[0], most) + "', with args beginning with: " + quoted.String())
}

func clip(b []byte, most int) string { return string(b[:min(len(b), most)]) }

// allowed says whether the connection may run a command as it is now.
func (c *conn) allowed(o order) refusal {
	var flags flag
	name := ""
	if o.verb != nil {
		flags, name = o.verb.flags, o.verb.name
	} else {
		name = o.spec.Name
	}
	switch {
	case !c.authenticated.Load() && flags&noAuth == 0:
		return errNoAuth
	case c.foreign && flags&anyDatabase == 0:
		return errForeign
	case flags&wipes != 0 && !c.server.cfg.AllowFlush:
		return errNoFlush
	case c.tx.open && flags&noMulti != 0:
		return errNotInMulti
	case c.out.Proto == 2 && c.subs.count() > 0 && flags&subscriber == 0:
		return refusal("ERR Can't execute '" + name + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	}
	return none
}

// lower is for names, which are short: none is longer than what it returns.
func lower(b []byte) string {
	const longest = 32
	if len(b) > longest {
		return string(b[:longest+1])
	}
	return strings.ToLower(string(b))
}

// is says whether arg is a word, which is given in lower case.
func is(arg []byte, word string) bool {
	return len(arg) == len(word) && strings.EqualFold(string(arg), word)
}

package redis

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/glob"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

var commandVerbs = []verb{
	// Alone among the commands with words, this is one without a word too.
	{name: "command", arity: -1, flags: loading | stale, run: (*conn).commandAll, words: map[string]*verb{}},
	{name: "command|count", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.out.Int(int64(len(entries()))) }},
	{name: "command|list", arity: -2, flags: loading | stale, run: (*conn).commandList},
	{name: "command|info", arity: -2, flags: loading | stale, run: (*conn).commandInfo},
	{name: "command|docs", arity: -2, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.out.Map(0) }},
	{name: "command|getkeys", arity: -4, flags: loading | stale, run: (*conn).commandGetKeys},
}

// entry is what COMMAND says of one command.
type entry struct {
	name       string
	arity      int
	flags      []string
	keys       [3]int // first, last, step
	categories []string
	words      []entry
}

// entries returns all commands that a client may send, by name. They are made
// once, as is what COMMAND answers: it is long, and asked for in two words.
var entries = sync.OnceValue(func() map[string]entry {
	all := make(map[string]entry)
	for _, s := range command.All() {
		all[s.Name] = specEntry(s)
	}
	for name, v := range verbs {
		all[name] = verbEntry(v)
	}
	return all
})

// allCommands is the answer to COMMAND in protocol 2 and 3.
var allCommands = [2]func() []byte{
	sync.OnceValue(func() []byte { return answerCommand(2) }),
	sync.OnceValue(func() []byte { return answerCommand(3) }),
}

func answerCommand(proto int) []byte {
	c := conn{out: resp.Reply{Proto: proto}}
	all := entries()
	c.out.Array(len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c.entry(all[name])
	}
	return c.out.B
}

func specEntry(s *command.Spec) entry {
	return entry{
		name: s.Name, arity: s.Arity, flags: s.Flags.Strings(), keys: [3]int{s.FirstKey, s.LastKey, s.Step},
		categories: categories(s.Flags.Has(command.Write), s.Flags.Has(command.ReadOnly), s.Flags.Has(command.Fast)),
	}
}

func verbEntry(v *verb) entry {
	e := entry{name: v.name, arity: v.arity, keys: v.keys, categories: categories(v.is(writes), v.is(reads), v.is(fast))}
	for _, f := range redisNames {
		if v.is(f.flag) {
			e.flags = append(e.flags, f.name)
		}
	}
	for _, word := range slices.Sorted(maps.Keys(v.words)) {
		e.words = append(e.words, verbEntry(v.words[word]))
	}
	return e
}

// categories are those of Redis's access lists that follow from the flags.
func categories(write, read, fast bool) (list []string) {
	if write {
		list = append(list, "@write")
	}
	if read {
		list = append(list, "@read")
	}
	if fast {
		return append(list, "@fast")
	}
	return append(list, "@slow")
}

func (c *conn) entry(e entry) {
	c.out.Array(10)
	c.out.BulkString(e.name)
	c.out.Int(int64(e.arity))
	c.statuses(e.flags)
	for _, n := range e.keys {
		c.out.Int(int64(n))
	}
	c.statuses(e.categories)
	c.out.Array(0) // tips
	c.keySpecs(e)
	c.out.Array(len(e.words))
	for _, word := range e.words {
		c.entry(word)
	}
}

func (c *conn) statuses(list []string) {
	c.out.Set(len(list))
	for _, s := range list {
		c.out.Simple(s)
	}
}

// keySpecs says where the keys are once more, in the form of Redis 7.
func (c *conn) keySpecs(e entry) {
	if e.keys[0] == 0 {
		c.out.Array(0)
		return
	}
	access := "RO"
	if slices.Contains(e.flags, "write") {
		access = "RW"
	}
	last := e.keys[1]
	if last > 0 {
		last -= e.keys[0] // counted from the first key
	}
	c.out.Array(1)
	c.out.Map(3)
	c.out.BulkString("flags")
	c.statuses([]string{access})
	c.out.BulkString("begin_search")
	c.out.Map(2)
	c.out.BulkString("type")
	c.out.BulkString("index")
	c.out.BulkString("spec")
	c.out.Map(1)
	c.out.BulkString("index")
	c.out.Int(int64(e.keys[0]))
	c.out.BulkString("find_keys")
	c.out.Map(2)
	c.out.BulkString("type")
	c.out.BulkString("range")
	c.out.BulkString("spec")
	c.out.Map(3)
	for _, n := range []struct {
		name string
		n    int
	}{{"lastkey", last}, {"keystep", e.keys[2]}, {"limit", 0}} {
		c.out.BulkString(n.name)
		c.out.Int(int64(n.n))
	}
}

func (c *conn) commandAll([][]byte) {
	c.out.B = append(c.out.B, allCommands[c.out.Proto-2]()...)
}

// maxInfos bounds the names of one COMMAND INFO. There are fewer commands, and
// what is said of one is many times its name.
const maxInfos = 512

func (c *conn) commandInfo(args [][]byte) {
	if len(args) == 2 {
		c.commandAll(args)
		return
	}
	if len(args)-2 > maxInfos {
		c.fail(refusal(fmt.Sprintf("ERR COMMAND INFO takes %d names at most", maxInfos)))
		return
	}
	all := entries()
	c.out.Array(len(args) - 2)
	for _, name := range args[2:] {
		if e, known := all[lower(name)]; known {
			c.entry(e)
		} else {
			c.out.Null()
		}
	}
}

// commandList lists names, all or those that fit FILTERBY. There are no modules
// to filter by.
func (c *conn) commandList(args [][]byte) {
	keep := func(entry) bool { return true }
	if len(args) > 2 {
		if len(args) != 5 || !is(args[2], "filterby") {
			c.fail(errSyntax)
			return
		}
		value := string(args[4])
		switch lower(args[3]) {
		case "pattern":
			pattern, err := glob.Compile(strings.ToLower(value))
			if err != nil {
				c.fault(err)
				return
			}
			keep = func(e entry) bool { return pattern.Match(e.name) }
		case "aclcat":
			keep = func(e entry) bool { return slices.Contains(e.categories, "@"+strings.ToLower(value)) }
		case "module":
			keep = func(entry) bool { return false }
		default:
			c.fail(errSyntax)
			return
		}
	}
	var names []string
	for name, e := range entries() {
		if keep(e) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	c.bulks(names)
}

func (c *conn) commandGetKeys(args [][]byte) {
	o, no := c.lookup(args[2:])
	switch {
	case no != none && command.Lookup(args[2]) == nil && verbs[lower(args[2])] == nil:
		c.fail("ERR Invalid command specified")
		return
	case no != none:
		c.fail("ERR Invalid number of arguments specified for command")
		return
	}
	keys, no := keysOf(o)
	if no != none {
		c.fail(no)
		return
	}
	c.out.Array(len(keys))
	for _, key := range keys {
		c.out.Bulk(key)
	}
}

// keysOf returns the keys of a command, of a script's those that it is given.
func keysOf(o order) (keys [][]byte, no refusal) {
	const errKeyless refusal = "ERR The command has no key arguments"
	switch {
	case o.spec != nil:
		var err error
		if keys, err = o.spec.Keys(o.args); err != nil {
			return nil, "ERR Invalid number of arguments specified for command"
		}
		return keys, none
	case isScript(o.verb):
		n, isInt := resp.ParseInt(o.args[2])
		if !isInt || n < 1 || n > int64(len(o.args)-3) {
			return nil, errKeyless
		}
		return o.args[3 : 3+n], none
	case o.verb.keys[0] > 0:
		return o.args[o.verb.keys[0]:], none
	default:
		return nil, errKeyless
	}
}

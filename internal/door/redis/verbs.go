package redis

import (
	"maps"
	"slices"
	"strings"
)

// verbs are the door's own commands by name. It is filled once, for some of
// them list it.
var verbs map[string]*verb

func init() {
	verbs = make(map[string]*verb)
	for _, group := range [][]verb{
		connectionVerbs, authVerbs, clientVerbs, commandVerbs, configVerbs, infoVerbs,
		clusterVerbs, keyspaceVerbs, transactionVerbs, pubsubVerbs, scriptVerbs,
	} {
		for _, v := range group {
			add(&v)
		}
	}
}

// add files a verb under its name, or under its command's if it is a word.
func add(v *verb) {
	container, word, isWord := strings.Cut(v.name, "|")
	if !isWord {
		verbs[v.name] = v
		return
	}
	parent := verbs[container]
	if parent == nil {
		parent = &verb{name: container, arity: -2, words: map[string]*verb{}}
		parent.words["help"] = &verb{name: container + "|help", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) { c.help(parent) }}
		verbs[container] = parent
	}
	parent.words[word] = v
	if v.is(noAuth) {
		parent.flags |= noAuth
	}
}

// help lists the words of a command, as it is found in Redis by those who look
// for it, and no more.
func (c *conn) help(v *verb) {
	words := slices.Sorted(maps.Keys(v.words))
	c.out.Array(len(words) + 1)
	c.out.Simple(strings.ToUpper(v.name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, w := range words {
		c.out.Simple(strings.ToUpper(w))
	}
}

package command

import (
	"errors"
	"slices"
	"strings"
)

// Spec describes one command: what COMMAND answers and how to find its keys.
type Spec struct {
	Name  string // in lower case
	Arity int    // arguments with the name; below 0: at least that many
	Flags Flags
	// FirstKey and LastKey are positions among the arguments, the name's being
	// 0; a LastKey below 0 counts from the end. Step is the distance between
	// two keys.
	FirstKey, LastKey, Step int

	Keyed    bool // runs at the owner of its keys
	Internal bool // the door's own, not a client's
}

// Fits reports whether the command takes this many arguments, its name counted.
func (s *Spec) Fits(args int) bool {
	return args == s.Arity || s.Arity < 0 && args >= -s.Arity
}

// errKeys is how Redis refuses to tell the keys of too few arguments.
var errKeys = errors.New("ERR Invalid number of arguments specified for command")

// Keys returns the keys among a command's arguments.
func (s *Spec) Keys(args [][]byte) ([][]byte, error) {
	last := s.LastKey
	if last < 0 {
		last += len(args)
	}
	if s.FirstKey == 0 || s.FirstKey >= len(args) || last >= len(args) {
		return nil, errKeys
	}
	keys := make([][]byte, 0, (last-s.FirstKey)/s.Step+1)
	for i := s.FirstKey; i <= last; i += s.Step {
		keys = append(keys, args[i])
	}
	return keys, nil
}

// maxName is the length of the longest name.
const maxName = 32

// Lookup returns the command of that name, in any case; nil if there is none.
// It allocates nothing.
func Lookup(name []byte) *Spec {
	var lower [maxName]byte
	if len(name) > maxName {
		return nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return byName[string(lower[:len(name)])]
}

// All returns the commands that clients may send, by name.
func All() []*Spec { return all }

var byName, all = index()

func index() (map[string]*Spec, []*Spec) {
	m := make(map[string]*Spec, len(table))
	var list []*Spec
	for i := range table {
		s := &table[i]
		m[s.Name] = s
		s.Internal = strings.Contains(s.Name, ".")
		if !s.Internal {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *Spec) int { return strings.Compare(a.Name, b.Name) })
	return m, list
}

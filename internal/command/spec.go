package command

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Flags say what kind of command one is.
type Flags uint16

// The flags of a command. The first ones have names in Redis.
const (
	Write Flags = 1 << iota
	ReadOnly
	DenyOOM // may need memory
	Fast

	// idempotent: run twice it leaves what it leaves when run once, so it can
	// be sent again when no answer came. Its answer may differ then in what it
	// counts (DEL: 0 instead of 1).
	idempotent
	// overwrites: it does not look at what it writes over.
	overwrites
	// waits: it may delete, or decide who has a lock, and so wait for a copy.
	waits
	// timed: it deletes where its second argument is a time that has passed.
	timed
	// renews: it gives a key another end, and waits for a copy if that is a
	// lock.
	renews
	// restores: it writes a payload, over what is there if an option says so.
	restores
)

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Strings returns the names of the flags as COMMAND shows them.
func (f Flags) Strings() []string {
	var names []string
	for i, name := range []string{"write", "readonly", "denyoom", "fast"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Spec is one command.
type Spec struct {
	Name  string // lower case
	Arity int    // number of arguments with the name; -n means n or more
	Flags Flags
	// FirstKey, LastKey and Step say which arguments are keys. LastKey is
	// counted from the end if it is below 0.
	FirstKey, LastKey, Step int
	Keyed                   bool // it has keys
	Internal                bool // the endpoint's own, not a client's
	// As is the name under which a client's command goes to the owner, if it is
	// another: between nodes the client's own name means what it meant in an
	// earlier version.
	As string

	run func(c *call) error
	// An option of these, after the arguments that must be there, makes the
	// command one that cannot be run again: its condition may be true the
	// first time and false the second.
	conditions []string
}

// Lookup returns the command of this name in any case, nil if there is none. It
// allocates nothing.
func Lookup(name []byte) *Spec {
	var lower [maxName]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return specs[string(lower[:len(name)])]
}

// All returns the commands that clients know, in order of name.
func All() []*Spec {
	var all []*Spec
	for _, s := range specs {
		if !s.Internal {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *Spec) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Fits reports whether the command takes this many arguments, its name counted.
func (s *Spec) Fits(args int) bool {
	return args == s.Arity || s.Arity < 0 && args >= -s.Arity
}

// Keys returns the keys among args, of which the first is the command's name.
func (s *Spec) Keys(args [][]byte) ([][]byte, error) {
	if !s.Keyed {
		return nil, nil
	}
	last := s.LastKey
	if last < 0 {
		last += len(args)
	}
	if !s.Fits(len(args)) || last < s.FirstKey || last >= len(args) {
		return nil, fmt.Errorf("%s: %d arguments, its arity is %d", s.Name, len(args), s.Arity)
	}
	if s.Step == 1 {
		return args[s.FirstKey : last+1], nil
	}
	var keys [][]byte
	for i := s.FirstKey; i <= last; i += s.Step {
		keys = append(keys, args[i])
	}
	return keys, nil
}

// repeatable says whether the command may be run again when it is not known
// whether it has been run.
func (s *Spec) repeatable(args [][]byte) bool {
	if !s.Flags.Has(Write) {
		return true
	}
	if !s.Flags.Has(idempotent) {
		return false
	}
	return !s.conditional(args)
}

// conditional says whether one of the options is there.
func (s *Spec) conditional(args [][]byte) bool {
	return len(s.conditions) > 0 && has(args, abs(s.Arity), s.conditions...)
}

// has says whether one of these words is among the arguments from one on.
func has(args [][]byte, from int, words ...string) bool {
	for _, arg := range args[min(len(args), from):] {
		for _, word := range words {
			if is(arg, word) {
				return true
			}
		}
	}
	return false
}

// looks says whether it matters to the command what was there. RESTORE replaces
// it if it is told to, and with NOREVIVE it brings what an import has found.
func (s *Spec) looks(args [][]byte) bool {
	if s.Flags.Has(restores) {
		return !has(args, 4, "replace", "norevive")
	}
	return !s.Flags.Has(overwrites) || s.conditional(args) || has(args, abs(s.Arity), "keepttl")
}

// mayWait says whether the command may have to wait for a copy.
func (s *Spec) mayWait(args [][]byte) bool {
	switch {
	case s.Flags.Has(waits):
		return true
	case s.Flags.Has(timed) && len(args) > 2:
		return len(args[2]) > 0 && (args[2][0] == '-' || args[2][0] == '0')
	default:
		return s.Flags.Has(Write) && s.conditional(args)
	}
}

func abs(n int) int { return max(n, -n) }

// is says whether arg is this word, which is given in lower case.
func is(arg []byte, word string) bool {
	return len(arg) == len(word) && bytes.EqualFold(arg, []byte(word))
}

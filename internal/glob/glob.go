// Package glob matches names by the patterns of Redis's KEYS, SCAN and
// PSUBSCRIBE.
package glob

import (
	"fmt"
	"math/bits"
)

// MaxPattern is the longest pattern that is taken, in bytes.
const MaxPattern = 1 << 10

// LengthError refuses a pattern of so many bytes.
type LengthError int

func (e LengthError) Error() string {
	return fmt.Sprintf("pattern of %d bytes is too long, %d are taken", int(e), MaxPattern)
}

// Pattern is a pattern that has been read: * stands for any bytes, ? for one,
// [a-z0] for one of these, [^a] for any other, and \x for x itself.
//
// It is a machine of one state for each byte that it asks for and one at the
// end, and is in several of them at once: one bit each. Every byte of a name
// moves all of them by one, so a name costs its length times the 64th part of
// the pattern's, whatever stars there are (Baeza-Yates and Gonnet, A New
// Approach to Text Searching, 1992).
type Pattern struct {
	words int      // of 64 states
	end   int      // the state in which all has been matched
	next  []uint64 // by byte: the states that it leads to from the one before
	stays []uint64 // the states that any byte leaves as they are: before a *
}

// Compile reads a pattern. The error of one that is too long is a
// [LengthError]; there is no other.
func Compile(pattern string) (*Pattern, error) {
	if len(pattern) > MaxPattern {
		return nil, LengthError(len(pattern))
	}
	tokens, stars := read(pattern)
	words := len(tokens)/64 + 1
	p := &Pattern{words: words, end: len(tokens), next: make([]uint64, 256*words), stays: make([]uint64, words)}
	for i, t := range tokens {
		state := i + 1
		for w, members := range t {
			for ; members != 0; members &= members - 1 {
				c := 64*w + bits.TrailingZeros64(members)
				p.next[c*words+state/64] |= 1 << (state % 64)
			}
		}
	}
	for _, state := range stars {
		p.stays[state/64] |= 1 << (state % 64)
	}
	return p, nil
}

// Match reports whether the pattern fits all of s.
func (p *Pattern) Match(s string) bool {
	if len(s) < p.end {
		return false
	}
	if p.words > 1 {
		return p.matchLong(s)
	}
	now, stays, end := uint64(1), p.stays[0], uint64(1)<<p.end
	for i := range len(s) {
		if now = now<<1&p.next[s[i]] | now&stays; now == 0 {
			return false
		}
		if now&stays&end != 0 { // whatever follows
			return true
		}
	}
	return now&end != 0
}

// matchLong is Match for more states than a word has bits.
func (p *Pattern) matchLong(s string) bool {
	var states [MaxPattern/64 + 1]uint64
	now := states[:p.words]
	now[0] = 1
	for i := range len(s) {
		next := p.next[int(s[i])*p.words:][:p.words]
		carry, any := uint64(0), uint64(0)
		for w, state := range now {
			now[w] = (state<<1|carry)&next[w] | state&p.stays[w]
			carry = state >> 63
			any |= now[w]
		}
		if any == 0 {
			return false
		}
	}
	return now[p.end/64]>>(p.end%64)&1 != 0
}

// Match reports whether pattern fits all of s. One that is too long fits
// nothing. A caller that matches more than one name compiles the pattern.
func Match(pattern, s string) bool {
	p, err := Compile(pattern)
	return err == nil && p.Match(s)
}

// set is one of bytes.
type set [4]uint64

func (s *set) add(c byte) { s[c/64] |= 1 << (c % 64) }

func (s *set) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// read takes a pattern apart: what it asks for, byte by byte, and before which
// of these, or after the last, it has a *.
func read(pattern string) (tokens []set, stars []int) {
	for len(pattern) > 0 {
		var t set
		n := 1
		switch {
		case pattern[0] == '*':
			stars, pattern = append(stars, len(tokens)), pattern[1:]
			continue
		case pattern[0] == '?':
			t.invert()
		case pattern[0] == '[':
			n = class(pattern, &t)
		case pattern[0] == '\\' && len(pattern) > 1:
			n = 2
			t.add(pattern[1])
		default:
			t.add(pattern[0])
		}
		tokens, pattern = append(tokens, t), pattern[n:]
	}
	return tokens, stars
}

// class reads [...] and returns its length. One that is not closed ends with
// the pattern, as in Redis.
func class(pattern string, t *set) (n int) {
	n = 1
	not := n < len(pattern) && pattern[n] == '^'
	if not {
		n++
	}
	for n < len(pattern) && pattern[n] != ']' {
		switch rest := pattern[n:]; {
		case rest[0] == '\\' && len(rest) > 1:
			t.add(rest[1])
			n += 2
		case len(rest) > 2 && rest[1] == '-':
			for c := int(min(rest[0], rest[2])); c <= int(max(rest[0], rest[2])); c++ {
				t.add(byte(c))
			}
			n += 3
		default:
			t.add(rest[0])
			n++
		}
	}
	if not {
		t.invert()
	}
	return min(n+1, len(pattern))
}

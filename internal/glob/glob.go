// Package glob matches names by the patterns of Redis's KEYS, SCAN and
// PSUBSCRIBE.
package glob

// Match reports whether pattern fits all of s: * stands for any bytes, ? for
// one, [a-z0] for one of these, [^a] for any other, and \x for x itself. It
// takes time in proportion to the two lengths multiplied, at most: a * that has
// matched is never tried again at an earlier place once a later * has matched.
func Match(pattern, s string) bool {
	retry, from := -1, 0 // where to go on after the last *, and where in s it ended
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			retry, from = p, i
			continue
		}
		if p < len(pattern) {
			if n, ok := one(pattern[p:], s[i]); ok {
				p, i = p+n, i+1
				continue
			}
		}
		if retry < 0 {
			return false
		}
		from++
		p, i = retry, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one matches c with what the pattern begins with, which is not a *, and
// returns the length of that.
func one(pattern string, c byte) (n int, ok bool) {
	switch {
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '[':
		return class(pattern, c)
	case pattern[0] == '\\' && len(pattern) > 1:
		return 2, pattern[1] == c
	default:
		return 1, pattern[0] == c
	}
}

// class matches c with [...]. One that is not closed ends with the pattern, as
// in Redis.
func class(pattern string, c byte) (n int, ok bool) {
	n = 1
	not := n < len(pattern) && pattern[n] == '^'
	if not {
		n++
	}
	for n < len(pattern) && pattern[n] != ']' {
		switch rest := pattern[n:]; {
		case rest[0] == '\\' && len(rest) > 1:
			ok = ok || rest[1] == c
			n += 2
		case len(rest) > 2 && rest[1] == '-':
			low, high := min(rest[0], rest[2]), max(rest[0], rest[2])
			ok = ok || low <= c && c <= high
			n += 3
		default:
			ok = ok || rest[0] == c
			n++
		}
	}
	return min(n+1, len(pattern)), ok != not
}

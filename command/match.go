package command

// Match reports whether s fits pattern by the rules of KEYS: * is any bytes, ?
// one byte, [a-c] one of these, [^a-c] none of these, and \ takes the next byte
// for itself. It takes time in proportion to the product of the lengths at most.
func Match(pattern, s []byte) bool {
	// After a star that turns out to have taken too little, matching goes on
	// from there with one byte more; only the last star ever has to.
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, i
				p++
				continue
			}
			if ok, next := one(pattern, p, s[i]); ok {
				p, i = next, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one matches one byte with what pattern has at p, and returns where it goes on.
func one(pattern []byte, p int, b byte) (ok bool, next int) {
	switch pattern[p] {
	case '?':
		return true, p + 1
	case '[':
		return class(pattern, p+1, b)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return pattern[p] == b, p + 1
}

// class matches one byte with the set that begins at p, after the bracket. One
// that is not closed ends with the pattern, as in Redis.
func class(pattern []byte, p int, b byte) (ok bool, next int) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			ok = ok || pattern[p] == b
		case p+2 < len(pattern) && pattern[p+1] == '-':
			from, to := pattern[p], pattern[p+2]
			if from > to {
				from, to = to, from
			}
			p += 2
			ok = ok || from <= b && b <= to
		default:
			ok = ok || pattern[p] == b
		}
	}
	return ok != not, min(p+1, len(pattern))
}

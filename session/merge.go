package session

import "github.com/seed-95a32959/holdfast/internal/planted"

// Merge returns the state of a session that has seen all that a and b have: the
// least upper bound of the two. It is commutative, associative and idempotent,
// so copies that have seen the same writes are equal, whatever the order and
// however often they came. It returns a itself, not a copy, when b adds
// nothing; nil stands for knowing nothing. See the package comment for the
// lattice.
func Merge(a, b *Record) *Record {
	switch {
	case b == nil || a == b:
		return a
	case a == nil:
		return b
	case a.key != b.key:
		panic("session: merge of two different sessions")
	case planted.Is(planted.LaterWriteWins) && a.dead != b.dead:
		return pick(a, b, a.newest() > b.newest())
	case a.rank != b.rank:
		return pick(a, b, a.rank > b.rank)
	case a.dead && b.dead && a.expiry.At == b.expiry.At:
		return pick(a, b, a.body >= b.body) // of one delete; who knows where it leads
	case a.dead && b.dead:
		return pick(a, b, a.expiry.At > b.expiry.At)
	case a.dead || b.dead:
		return pick(a, b, a.dead)
	}
	return mergeLive(a, b)
}

func pick(a, b *Record, first bool) *Record {
	if first {
		return a
	}
	return b
}

// mergeLive merges two versions of one incarnation field by field.
func mergeLive(a, b *Record) *Record {
	base := max(a.base, b.base)
	expiry := a.expiry
	if expiry.compare(b.expiry) < 0 && !planted.Is(planted.ExpiryNotMerged) {
		expiry = b.expiry
	}
	var array [16]Field
	fields, sameA, sameB := mergeFields(array[:0], a, b, base)
	if sameA && base == a.base && expiry == a.expiry {
		return a
	}
	if sameB && base == b.base && expiry == b.expiry {
		return b
	}
	return newSession(a.key, a.rank, base, expiry, fields)
}

// mergeFields appends to dst, in order of name, the later version of each field
// of a and b that is not older than base. It also reports whether these are
// exactly a's fields, and exactly b's.
func mergeFields(dst []Field, a, b *Record, base Stamp) (fields []Field, sameA, sameB bool) {
	sameA, sameB = true, true
	left, right := cursor{body: a.body, base: a.base}, cursor{body: b.body, base: b.base}
	left.next()
	right.next()
	for left.ok || right.ok {
		var f Field
		var fromA, fromB bool // f is what a has, what b has
		switch {
		case !right.ok || left.ok && left.field.Name < right.field.Name:
			f, fromA = left.field, true
			left.next()
		case !left.ok || right.field.Name < left.field.Name:
			f, fromB = right.field, true
			right.next()
		default:
			order := left.field.compare(right.field)
			f, fromA, fromB = left.field, order >= 0, order <= 0
			if order < 0 {
				f = right.field
			}
			left.next()
			right.next()
		}
		if f.Stamp < base { // then the side that had it is not what comes out
			sameA, sameB = sameA && !fromA, sameB && !fromB
			continue
		}
		sameA, sameB = sameA && fromA, sameB && fromB
		dst = append(dst, f)
	}
	return dst, sameA, sameB
}

// cursor walks the packed fields of a record.
type cursor struct {
	body  string // from behind field on
	base  Stamp
	field Field
	ok    bool   // field is one; false at the end
	here  string // from field on
}

func (c *cursor) next() {
	c.here = c.body
	if c.ok = c.body != ""; c.ok {
		c.field, c.body, _ = splitField(c.body, c.base)
	}
}

// start is the body from the field on that the cursor is at.
func (c *cursor) start() string { return c.here }

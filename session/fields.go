package session

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

// shape is what the limits are held against: what a session has of fields,
// removed ones too, for they take memory as well.
type shape struct {
	fields   int // all
	shown    int // present, and not reserved
	size     int // bytes of names and values, without reserved ones
	reserved int // bytes of names and values of reserved ones
	newest   Stamp
}

// add counts one field, or with sign -1 takes it out. It does not take out its
// stamp.
func (s *shape) add(f *Field, sign int) {
	s.fields += sign
	n := sign * (len(f.Name) + len(f.Value))
	if Reserved(f.Name) {
		s.reserved += n
	} else {
		s.size += n
		if !f.Absent {
			s.shown += sign
		}
	}
	s.newest = max(s.newest, f.Stamp)
}

// shapeOf is the shape of a record.
func shapeOf(r *Record) (s shape) {
	for f := range r.All() {
		s.add(&f, 1)
	}
	return s
}

// maxReserved bounds the reserved fields, which do not count as the client's.
const maxReserved = 1 << 10

// checkShape holds a session against the limits.
func (c *Config) checkShape(kind Kind, s shape) error {
	switch {
	case s.size > c.MaxSession:
		return fmt.Errorf("%s: %w: %d bytes, at most %d", kind, ErrTooLarge, s.size, c.MaxSession)
	case s.fields > c.MaxFields:
		return fmt.Errorf("%s: %w: %d fields, at most %d", kind, ErrTooLarge, s.fields, c.MaxFields)
	case s.reserved > maxReserved:
		return fmt.Errorf("%s: %w: %d bytes in reserved fields, at most %d", kind, ErrTooLarge, s.reserved, maxReserved)
	}
	return nil
}

// checkSize is checkShape of fields that are not in a record yet.
func (c *Config) checkSize(kind Kind, fields []Field) error {
	var s shape
	for i := range fields {
		s.add(&fields[i], 1)
	}
	return c.checkShape(kind, s)
}

// overlay returns old with set, which is in order of name, over its fields, and
// the shape of that. Removed fields count, for they take memory too. Before
// they make a session too large, it is written anew as a whole, of this stamp:
// its base passes them. The price is that a parallel patch elsewhere does not
// survive.
func (c *Config) overlay(old *Record, set []Field, stamp Stamp, expiry Expiry) (*Record, shape, error) {
	text, s := overlay(old, set)
	if c.checkShape(Patch, s) == nil {
		return newRecord(text, len(old.key), old.rank, old.base, expiry, s.newest), s, nil
	}
	all := Record{body: text[len(old.key):], base: old.base}
	var fields []Field
	s = shape{}
	for f := range all.Fields() {
		f.Stamp = stamp
		s.add(&f, 1)
		fields = append(fields, f)
	}
	if err := c.checkShape(Patch, s); err != nil {
		return nil, s, err
	}
	return newSession(old.key, old.rank, stamp, expiry, fields), s, nil
}

// overlay returns the key and the packed fields of rec with those of set, which
// is in order of name and not older than rec's base, over them. What stands
// between two fields of set is copied as it is.
func overlay(rec *Record, set []Field) (text string, s shape) {
	size := len(rec.key) + len(rec.body)
	for i := range set {
		size += packedLen(&set[i], rec.base)
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(rec.key)
	cur := cursor{body: rec.body, base: rec.base}
	from := rec.body // what is not copied yet
	cur.next()
	for i := range set {
		f := &set[i]
		at := cur.start()
		for cur.ok && cur.field.Name < f.Name {
			s.add(&cur.field, 1)
			cur.next()
			at = cur.start()
		}
		b.WriteString(from[:len(from)-len(at)])
		from = at
		if cur.ok && cur.field.Name == f.Name {
			cur.next()
			from = cur.start()
		}
		writeField(&b, f, rec.base)
		s.add(f, 1)
	}
	for ; cur.ok; cur.next() {
		s.add(&cur.field, 1)
	}
	b.WriteString(from)
	return b.String(), s
}

// writeField packs one field.
func writeField(b *strings.Builder, f *Field, base Stamp) {
	var array [binary.MaxVarintLen64]byte
	b.Write(binary.AppendUvarint(array[:0], nameWord(f)))
	b.WriteString(f.Name)
	b.Write(binary.AppendUvarint(array[:0], uint64(f.Stamp-base)))
	if !f.Absent {
		b.Write(binary.AppendUvarint(array[:0], uint64(len(f.Value))))
		b.WriteString(f.Value)
	}
}

// walk is about what one pass over the fields costs, in the units of
// [Tx.Spend], if they are short; and a copy of them costs less.
func (r *Record) walk() int {
	if r == nil {
		return 1
	}
	return 1 + len(r.body)/16
}

// appendIndex appends where each field begins in the body.
func (r *Record) appendIndex(dst []uint32) []uint32 {
	for rest := r.body; rest != ""; {
		dst = append(dst, uint32(len(r.body)-len(rest)))
		_, rest, _ = splitField(rest, r.base)
	}
	return dst
}

// field returns the named field, maybe a removed one.
func (r *Record) field(name string) (f Field, ok bool) {
	for f := range r.All() {
		if f.Name == name {
			return f, true
		}
		if f.Name > name {
			break
		}
	}
	return Field{}, false
}

// fieldIn is field with the index of the record.
func (r *Record) fieldIn(index []uint32, name string) (f Field, ok bool) {
	at := func(i int) string { return r.body[index[i]:] }
	i := sort.Search(len(index), func(i int) bool {
		rest := reader[string]{rest: at(i)}
		return rest.take(int(rest.uvarint()>>1)) >= name
	})
	if i == len(index) {
		return Field{}, false
	}
	if f, _, _ = splitField(at(i), r.base); f.Name != name {
		return Field{}, false
	}
	return f, true
}

// ending returns the record with another end.
func (r *Record) ending(expiry Expiry) *Record {
	rec := *r
	rec.expiry = expiry
	rec.hash = rec.digest()
	return &rec
}

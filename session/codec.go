package session

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// A record is written as
//
//	format<<4 | flags u8 (1 = tombstone, 3 = one that leads on) | rank u64 |
//	live:      base-rank | at | idle | deadline | expiry stamp-rank |
//	tombstone: at |
//	key length | body length (not of a plain tombstone) | key | body
//
// The body of a tombstone that leads on is the key that a rotation moved the
// session to. That of a session are its fields in order of name, each once:
//
//	name length<<1 | absent, name, stamp-base, and if present: value length, value
//
// The format's number is that of the form behind it, the same on the wire and on
// disks: it grows by one if ever a reader of this one could not read on. Who has
// another one writes this one to members whose wire version knows no other.
//
// Numbers but the first two are unsigned varints in their shortest form, so a
// record has one encoding only, and its hash stands for it. The hash of a
// tombstone that leads on is that of the plain one.

const (
	flagDead  = 1
	flagMoved = 2

	// Format is the number of the form that records are written in. v0.2.0, which
	// did not speak of formats, wrote 0 too.
	Format      = 0
	formatShift = 4

	// maxMillis bounds times and durations, so that sums of them cannot
	// overflow.
	maxMillis = 1<<47 - 1
	// maxHeader is more than the longest record header: flags, rank, 7 varints.
	maxHeader = 1 + 8 + 7*binary.MaxVarintLen64
)

func malformed(what string) error { return fmt.Errorf("%w %s", ErrMalformed, what) }

// appendHeader appends all of the record but key and body.
func (r *Record) appendHeader(b []byte) []byte {
	flags := byte(Format << formatShift)
	if r.dead {
		flags |= flagDead
	}
	b = binary.BigEndian.AppendUint64(append(b, flags), uint64(r.rank))
	if r.dead {
		b = binary.AppendUvarint(b, uint64(r.expiry.At))
		return binary.AppendUvarint(b, uint64(len(r.key)))
	}
	b = binary.AppendUvarint(b, uint64(r.base-r.rank))
	b = binary.AppendUvarint(b, uint64(r.expiry.At))
	b = binary.AppendUvarint(b, uint64(r.expiry.Idle))
	b = binary.AppendUvarint(b, uint64(r.expiry.Deadline))
	b = binary.AppendUvarint(b, uint64(r.expiry.Stamp-r.rank))
	b = binary.AppendUvarint(b, uint64(len(r.key)))
	return binary.AppendUvarint(b, uint64(len(r.body)))
}

// Append appends the record's encoding to b, without where a rotation has moved
// the session.
func (r *Record) Append(b []byte) []byte {
	b = r.appendHeader(b)
	b = append(b, r.key...)
	if r.dead {
		return b
	}
	return append(b, r.body...)
}

// AppendMoved is Append with where a rotation has moved the session, for
// readers that know of it.
func (r *Record) AppendMoved(b []byte) []byte {
	if !r.Leads() || planted.Is(planted.RotationUntold) {
		return r.Append(b)
	}
	at := len(b)
	b = r.appendHeader(b)
	b[at] |= flagMoved
	b = binary.AppendUvarint(b, uint64(len(r.body)))
	b = append(b, r.key...)
	return append(b, r.body...)
}

// digest is the xxhash of what Append appends, without appending it.
func (r *Record) digest() uint64 {
	var array [maxHeader]byte
	var d xxhash.Digest
	d.Reset()
	d.Write(r.appendHeader(array[:0]))
	d.WriteString(r.key)
	if !r.dead {
		d.WriteString(r.body)
	}
	return d.Sum64()
}

// KeyHash is the hash that names a key in [Store.List] and [Store.Select].
func KeyHash(key string) uint64 { return xxhash.Sum64String(key) }

// DecodeRecord reads the record that b begins with and returns it and its
// length. It keeps nothing of b. An error wraps [ErrMalformed], or [ErrFormat].
func DecodeRecord(b []byte) (rec *Record, n int, err error) {
	r := reader[[]byte]{rest: b}
	flags := r.byte()
	if format := flags >> formatShift; format != Format {
		return nil, 0, fmt.Errorf("%w: record of format %d, this build reads %d", ErrFormat, format, Format)
	}
	dead, moved := flags&flagDead != 0, flags == flagDead|flagMoved
	rank := r.stamp()
	var base Stamp
	var expiry Expiry
	bodyLen := 0
	switch {
	case r.bad || flags > flagDead && !moved:
		return nil, 0, malformed("record: bad header")
	case dead:
		expiry.At = r.millis()
	default:
		base = r.later(rank)
		expiry = Expiry{At: r.millis(), Idle: r.millis(), Deadline: r.millis(), Stamp: r.later(rank)}
	}
	keyLen := r.length()
	if !dead || moved {
		bodyLen = r.length()
	}
	if dead { // of which the key is kept for longer than the rest
		rec = newTombstone(string(r.take(keyLen)), rank, expiry.At)
		rec.body = string(r.take(bodyLen))
		switch {
		case r.bad || keyLen == 0 || moved && bodyLen == 0:
			return nil, 0, malformed("record: bad header or length")
		case expiry.At == 0:
			return nil, 0, malformed("record: tombstone without end")
		}
		return rec, len(b) - len(r.rest), nil
	}
	text := string(r.take(keyLen + bodyLen))
	switch {
	case r.bad || keyLen == 0:
		return nil, 0, malformed("record: bad header or length")
	case expiry.Deadline > 0 && (expiry.At == 0 || expiry.At > expiry.Deadline):
		return nil, 0, malformed("record: end after deadline")
	}
	newest, ok := checkBody(text[keyLen:], base)
	if !ok {
		return nil, 0, malformed("record: bad fields")
	}
	return newRecord(text, keyLen, rank, base, expiry, newest), len(b) - len(r.rest), nil
}

// pack writes a key and behind it the fields, which are sorted by name and not
// older than base.
func pack(key string, fields []Field, base Stamp) string {
	size := len(key)
	for i := range fields {
		size += packedLen(&fields[i], base)
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(key)
	for i := range fields {
		writeField(&b, &fields[i], base)
	}
	return b.String()
}

// nameWord is the name's length and whether the field is absent, in one word.
func nameWord(f *Field) uint64 {
	word := uint64(len(f.Name)) << 1
	if f.Absent {
		word |= 1
	}
	return word
}

func packedLen(f *Field, base Stamp) int {
	n := uvarintLen(nameWord(f)) + len(f.Name) + uvarintLen(uint64(f.Stamp-base))
	if !f.Absent {
		n += uvarintLen(uint64(len(f.Value))) + len(f.Value)
	}
	return n
}

// splitField reads the field that body begins with; ok is false if it is
// broken.
func splitField(body string, base Stamp) (f Field, rest string, ok bool) {
	r := reader[string]{rest: body}
	word := r.uvarint()
	f.Absent = word&1 == 1
	f.Name = r.take(int(word >> 1))
	f.Stamp = r.later(base)
	if !f.Absent {
		f.Value = r.take(r.length())
	}
	return f, r.rest, !r.bad
}

// checkBody reports whether body is a sequence of whole fields, in order of
// name and each name once, and the newest stamp of them.
func checkBody(body string, base Stamp) (newest Stamp, ok bool) {
	last, first := "", true
	for body != "" {
		f, rest, ok := splitField(body, base)
		if !ok || !first && f.Name <= last {
			return 0, false
		}
		newest = max(newest, f.Stamp)
		last, first, body = f.Name, false, rest
	}
	return newest, true
}

// reader takes values off the front of rest. After a value that is not there or
// not in its one form it is bad and yields zeros, so one check at the end is
// enough.
type reader[T string | []byte] struct {
	rest T
	bad  bool
}

func (r *reader[T]) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

func (r *reader[T]) take(n int) (v T) {
	if n < 0 || n > len(r.rest) {
		r.bad = true
		return v
	}
	v = r.rest[:n]
	r.rest = r.rest[n:]
	return v
}

// uvarint reads a varint in its shortest form.
func (r *reader[T]) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		c := r.rest[i]
		if c >= 0x80 {
			v |= uint64(c&0x7f) << (7 * i)
			continue
		}
		if c == 0 && i > 0 || c > 1 && i == binary.MaxVarintLen64-1 {
			break
		}
		r.rest = r.rest[i+1:]
		return v | uint64(c)<<(7*i)
	}
	r.bad = true
	return 0
}

func (r *reader[T]) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// length reads the length of something that is still in rest.
func (r *reader[T]) length() int {
	v := r.uvarint()
	if v > uint64(len(r.rest)) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *reader[T]) millis() int64 {
	v := r.uvarint()
	if v > maxMillis {
		r.bad = true
		return 0
	}
	return int64(v)
}

func (r *reader[T]) stamp() Stamp {
	b := r.take(8)
	var v uint64
	for i := range len(b) {
		v = v<<8 | uint64(b[i])
	}
	return Stamp(v)
}

// later reads a stamp written as the distance from one before it.
func (r *reader[T]) later(than Stamp) Stamp {
	sum, carry := bits.Add64(uint64(than), r.uvarint(), 0)
	if carry != 0 {
		r.bad = true
	}
	return Stamp(sum)
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

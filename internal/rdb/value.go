package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"math"
	"slices"
	"strings"
)

// Kind is what a key holds.
type Kind uint8

// The kinds that are read and written.
const (
	String Kind = iota
	Hash
	Set
	SortedSet
)

// Value is what a key holds.
type Value struct {
	Kind    Kind
	Text    string  // of a String
	Entries []Entry // of the others, in order of name, each name once
}

// Entry is a field of a hash with its value, a member of a set, or a member of
// a sorted set with its score, which is a number or an infinity.
type Entry struct {
	Name, Value string
	Score       float64
}

// Limits bound what is read.
type Limits struct {
	Bytes   int // that the compressed strings of one payload unpack to
	Entries int // of one value
}

// Written is the version of the payloads that are written.
const Written = 8

// footer is the length of the version and the checksum.
const footer = 2 + 8

// The errors of [Decode] wrap one of these.
var (
	// ErrChecksum: the payload is no payload, or not as it was written.
	ErrChecksum = errors.New("wrong checksum")
	// ErrKind: it holds what is not read here.
	ErrKind = errors.New("not supported")
	// ErrFormat: it holds nothing that any server writes.
	ErrFormat = errors.New("bad data format")
	// ErrLarge: it holds more than the limits allow.
	ErrLarge = errors.New("too large")
)

// jones is the table of the CRC-64 that Redis uses. Its polynomial is
// 0xad93d23594c935a9, here with its bits in reverse order.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// checksum begins at 0 and ends without a change, where Go's package inverts
// the bits before and after.
func checksum[T string | []byte](b T) uint64 { return ^crc64.Update(math.MaxUint64, jones, []byte(b)) }

// The types of values. There are more, which [refused] names.
const (
	typeString         = 0
	typeSet            = 2
	typeSortedSetText  = 3
	typeHash           = 4
	typeSortedSet      = 5
	typeHashZipmap     = 9
	typeIntset         = 11
	typeSortedZiplist  = 12
	typeHashZiplist    = 13
	typeHashListpack   = 16
	typeSortedListpack = 17
	typeSetListpack    = 20
	typeHashEnds       = 24
	typeHashEndsPacked = 25
)

// refused are the types of values that are not read.
var refused = map[byte]string{
	1: "a list", 10: "a list", 14: "a list", 18: "a list",
	6: "a module's value", 7: "a module's value",
	15: "a stream", 19: "a stream", 21: "a stream",
}

// Append appends the value's payload.
func (v *Value) Append(dst []byte) []byte {
	begin := len(dst)
	switch v.Kind {
	case String:
		dst = appendString(append(dst, typeString), v.Text)
	case Hash:
		dst = appendLength(append(dst, typeHash), len(v.Entries))
	case Set:
		dst = appendLength(append(dst, typeSet), len(v.Entries))
	case SortedSet:
		dst = appendLength(append(dst, typeSortedSet), len(v.Entries))
	}
	for i := range v.Entries {
		e := &v.Entries[i]
		dst = appendString(dst, e.Name)
		switch v.Kind {
		case Hash:
			dst = appendString(dst, e.Value)
		case SortedSet:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(e.Score))
		}
	}
	return seal(dst, begin, Written)
}

// seal appends the version, and the checksum of what begins there.
func seal(dst []byte, begin int, version uint16) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, version)
	return binary.LittleEndian.AppendUint64(dst, checksum(dst[begin:]))
}

// Decode reads a payload. What it returns are parts of it where that is
// possible.
func Decode(payload string, limits Limits) (Value, error) {
	body, err := opened(payload)
	if err != nil {
		return Value{}, err
	}
	d := &decoder{limits: limits, unpacks: limits.Bytes}
	d.reader.b = body
	v := d.value()
	if d.err == nil && d.at < len(d.b) {
		d.fail("%d bytes are behind the value", len(d.b)-d.at)
	}
	if d.err != nil {
		return Value{}, d.err
	}
	v.Entries = d.entries
	if v.Kind != String {
		if err := v.order(); err != nil {
			return Value{}, err
		}
	}
	return v, nil
}

// opened is a payload without its version and checksum, which are right.
func opened(payload string) (body string, err error) {
	n := len(payload) - footer
	if n < 0 {
		return "", fmt.Errorf("%w: %d bytes are no payload, whose version and checksum take %d", ErrChecksum, len(payload), footer)
	}
	end := []byte(payload[n:])
	if got, said := checksum(payload[:n+2]), binary.LittleEndian.Uint64(end[2:]); got != said {
		return "", fmt.Errorf("%w: %016x of %d bytes, and it says %016x", ErrChecksum, got, n+2, said)
	}
	return payload[:n], nil
}

// order puts the entries in order and looks for names that are there twice.
func (v *Value) order() error {
	slices.SortFunc(v.Entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(v.Entries); i++ {
		if name := v.Entries[i].Name; name == v.Entries[i-1].Name {
			return fmt.Errorf("%w: %.64q is there twice", ErrFormat, name)
		}
	}
	if len(v.Entries) == 0 && v.Kind != Hash {
		return fmt.Errorf("%w: a set without a member", ErrFormat)
	}
	return nil
}

// decoder reads the value of one payload.
type decoder struct {
	reader
	limits  Limits
	unpacks int // bytes that compressed strings may still unpack to
	entries []Entry
}

func (d *decoder) value() (v Value) {
	switch t := d.byte(); t {
	case typeString:
		v.Text = d.string()
	case typeSet:
		v.Kind = Set
		d.each(1, func() Entry { return Entry{Name: d.string()} })
	case typeSortedSetText:
		v.Kind = SortedSet
		d.each(2, func() Entry { return Entry{Name: d.string(), Score: d.textScore()} })
	case typeSortedSet:
		v.Kind = SortedSet
		d.each(9, func() Entry { return Entry{Name: d.string(), Score: d.binaryScore()} })
	case typeHash:
		v.Kind = Hash
		d.each(2, func() Entry { return Entry{Name: d.string(), Value: d.string()} })
	case typeHashEnds:
		v.Kind = Hash
		d.bytes(8) // the first of the ends
		d.each(3, func() Entry {
			d.endless(d.length() == 0)
			return Entry{Name: d.string(), Value: d.string()}
		})
	case typeIntset:
		v.Kind = Set
		d.intset()
	case typeSetListpack:
		v.Kind = Set
		d.packed(listpack, 1, func(e []string) Entry { return Entry{Name: e[0]} })
	case typeSortedZiplist:
		v.Kind = SortedSet
		d.packed(ziplist, 2, func(e []string) Entry { return Entry{Name: e[0], Score: d.scoreOf(e[1])} })
	case typeSortedListpack:
		v.Kind = SortedSet
		d.packed(listpack, 2, func(e []string) Entry { return Entry{Name: e[0], Score: d.scoreOf(e[1])} })
	case typeHashZipmap:
		v.Kind = Hash
		d.packed(zipmap, 2, func(e []string) Entry { return Entry{Name: e[0], Value: e[1]} })
	case typeHashZiplist:
		v.Kind = Hash
		d.packed(ziplist, 2, func(e []string) Entry { return Entry{Name: e[0], Value: e[1]} })
	case typeHashListpack:
		v.Kind = Hash
		d.packed(listpack, 2, func(e []string) Entry { return Entry{Name: e[0], Value: e[1]} })
	case typeHashEndsPacked:
		v.Kind = Hash
		d.bytes(8) // the first of the ends
		d.packed(listpack, 3, func(e []string) Entry {
			d.endless(e[2] == "0")
			return Entry{Name: e[0], Value: e[1]}
		})
	default:
		if name, ok := refused[t]; ok {
			d.end(fmt.Errorf("%w: %s", ErrKind, name))
		} else {
			d.end(fmt.Errorf("%w: a value of type %d", ErrKind, t))
		}
	}
	return v
}

// each reads as many entries as the length says that comes first. Each takes so
// many bytes at least.
func (d *decoder) each(least int, read func() Entry) {
	n := d.length()
	if most := uint64(len(d.b)-d.at) / uint64(least); n > most {
		d.fail("%d entries are announced, and there are bytes for %d", n, most)
		return
	}
	d.room(int(n))
	for ; n > 0 && d.err == nil; n-- {
		d.entries = append(d.entries, read())
	}
}

// room makes room for n entries, for which there are bytes.
func (d *decoder) room(n int) {
	if n > d.limits.Entries {
		d.end(fmt.Errorf("%w: %d entries, at most %d", ErrLarge, n, d.limits.Entries))
	}
	if d.err == nil {
		d.entries = make([]Entry, 0, n)
	}
}

// endless refuses a field that has an end of its own.
func (d *decoder) endless(ok bool) {
	if !ok && d.err == nil {
		d.end(fmt.Errorf("%w: a hash of which a field has an end of its own", ErrKind))
	}
}

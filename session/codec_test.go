package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRecordSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Record{}), uintptr(96))
	require.Zero(t, unsafe.Sizeof(partition{})%64, "partitions share a cache line")
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := recordGen().Draw(t, "record")
		encoded := rec.Append([]byte("before"))[len("before"):]
		require.Equal(t, xxhash.Sum64(encoded), rec.Hash())
		plain, n, err := DecodeRecord(encoded)
		require.NoError(t, err)
		require.Equal(t, len(encoded), n)
		require.Equal(t, rec.Hash(), plain.Hash())
		require.Equal(t, !rec.dead || rec.body == "", same(rec, plain), "where a tombstone leads is left out, and nothing else")

		encoded = rec.AppendMoved([]byte("before"))[len("before"):]
		got, n, err := DecodeRecord(append(bytes.Clone(encoded), "after"...))
		require.NoError(t, err)
		require.Equal(t, len(encoded), n)
		require.Equal(t, rec, got)
		for i := range encoded {
			_, _, err := DecodeRecord(encoded[:i])
			require.ErrorIs(t, err, ErrMalformed, "%d of %d bytes", i, len(encoded))
		}
	})
}

func TestDecodedRecordKeepsNothingOfItsInput(t *testing.T) {
	rec := newSession("key", 1, 1, Expiry{Stamp: 1}, []Field{{Name: "a", Value: "1", Stamp: 1}})
	encoded := rec.Append(nil)
	got, _, err := DecodeRecord(encoded)
	require.NoError(t, err)
	clear(encoded)
	require.Equal(t, rec, got)
}

// TestDecodeRecordRefuses has what a record never looks like. One state must
// have one encoding, or equal copies would have different digests.
func TestDecodeRecordRefuses(t *testing.T) {
	field := func(name string, stamp Stamp) Field { return Field{Name: name, Stamp: stamp, Value: "v"} }
	encoded := func(expiry Expiry, fields ...Field) []byte {
		return newSession("k", 5, 5, expiry, fields).Append(nil)
	}
	cases := map[string][]byte{
		"nothing":               nil,
		"unknown flags":         append([]byte{2}, encoded(Expiry{Stamp: 5})[1:]...),
		"no key":                newSession("", 5, 5, Expiry{Stamp: 5}, nil).Append(nil),
		"fields out of order":   encoded(Expiry{Stamp: 5}, field("b", 5), field("a", 5)),
		"one field twice":       encoded(Expiry{Stamp: 5}, field("a", 5), field("a", 6)),
		"the empty field twice": encoded(Expiry{Stamp: 5}, field("", 5), field("", 5)),
		"stamp overflow":        encoded(Expiry{Stamp: 5}, field("a", 4)),
		"expiry stamp overflow": encoded(Expiry{Stamp: 4}),
		"end after deadline":    encoded(Expiry{Stamp: 5, At: 3, Deadline: 2}),
		"deadline without end":  encoded(Expiry{Stamp: 5, Deadline: 2}),
		"time out of range":     encoded(Expiry{Stamp: 5, At: maxMillis + 1}),
		"endless tombstone":     newTombstone("k", 5, 0).Append(nil),
		"leads nowhere":         append([]byte{3, 0, 0, 0, 0, 0, 0, 0, 5, 1, 1, 0}, 'k'),
		"session that leads":    append([]byte{2, 0, 0, 0, 0, 0, 0, 0, 5, 1, 1, 1}, "kl"...),
		"long varint":           append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 5, 0x81, 0x00}, "\x01k"...),
		"body cut off":          newRecord("k\x02a\x00\x09v", 1, 5, 5, Expiry{Stamp: 5}, 5).Append(nil),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := DecodeRecord(b)
			require.ErrorIs(t, err, ErrMalformed)
		})
	}
}

// A record of a later format is told from a broken one: its bytes are whole, and
// whoever finds them on a disk must not set them aside.
func TestDecodeRecordOfALaterFormat(t *testing.T) {
	t.Parallel()
	b := newTombstone("k", 5, 1).Append(nil)
	require.EqualValues(t, 0, b[0]>>4, "this build's format, which is also v0.2.0's")
	for format := byte(1); format < 16; format++ {
		later := bytes.Clone(b)
		later[0] |= format << 4
		_, _, err := DecodeRecord(later)
		require.ErrorIs(t, err, ErrFormat)
		require.NotErrorIs(t, err, ErrMalformed)
		require.EqualError(t, err, fmt.Sprintf("format not known: record of format %d, this build reads 0", format))
	}
}

func TestUvarint(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 1<<14 - 1, 1 << 14, 1 << 32, math.MaxUint64 - 1, math.MaxUint64} {
		b := binary.AppendUvarint(nil, v)
		r := reader[[]byte]{rest: b}
		require.Equal(t, v, r.uvarint())
		require.False(t, r.bad)
		require.Len(t, b, uvarintLen(v))
	}
	for _, b := range []string{"", "\x80", "\x80\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"} {
		r := reader[string]{rest: b}
		r.uvarint()
		require.True(t, r.bad, "%x", b)
	}
}

func opGen() *rapid.Generator[*Op] {
	return rapid.Custom(func(t *rapid.T) *Op {
		op := &Op{
			Kind:      Kind(rapid.IntRange(int(Get), int(Scan)).Draw(t, "kind")),
			Key:       rapid.String().Draw(t, "key"),
			NewKey:    rapid.String().Draw(t, "new key"),
			Nested:    rapid.Bool().Draw(t, "nested"),
			TTL:       time.Duration(rapid.Int64().Draw(t, "ttl")),
			MaxAge:    time.Duration(rapid.Int64().Draw(t, "max age")),
			IfVersion: Stamp(rapid.Uint64().Draw(t, "if version")),
			Exists:    rapid.Bool().Draw(t, "exists"),
			Create:    rapid.Bool().Draw(t, "create"),
			Revive:    rapid.Bool().Draw(t, "revive"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "fields") {
			f := Field{Name: rapid.String().Draw(t, "name"), Absent: rapid.Bool().Draw(t, "absent")}
			if !f.Absent {
				f.Value = rapid.String().Draw(t, "value")
			}
			op.Fields = append(op.Fields, f)
		}
		return op
	})
}

func TestOpRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := opGen().Draw(t, "op")
		encoded := op.Append(nil)
		got, n, err := DecodeOp(append(bytes.Clone(encoded), 0))
		require.NoError(t, err)
		require.Equal(t, len(encoded), n)
		require.Equal(t, op, got)
		for i := range encoded {
			_, _, err := DecodeOp(encoded[:i])
			require.ErrorIs(t, err, ErrMalformed)
		}
	})
}

// plainGen draws records as results carry them.
func plainGen() *rapid.Generator[*Record] {
	return rapid.Map(recordGen(), func(r *Record) *Record {
		if r.dead {
			return r.ledTo("")
		}
		return r
	})
}

func TestResultRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		res := Result{
			Records: rapid.SliceOfN(plainGen(), 0, 3).Draw(t, "records"),
			Until:   rapid.Int64Range(0, maxMillis).Draw(t, "until"),
			Created: rapid.Bool().Draw(t, "created"),
			Changed: rapid.Bool().Draw(t, "changed"),
		}
		if len(res.Records) == 0 {
			res.Records = nil
		}
		if rapid.Bool().Draw(t, "has record") {
			res.Record = plainGen().Draw(t, "record")
		}
		encoded := res.Append(nil)
		got, n, err := DecodeResult(append(bytes.Clone(encoded), 0))
		require.NoError(t, err)
		require.Equal(t, len(encoded), n)
		require.Equal(t, res, got)
		for i := range encoded {
			_, _, err := DecodeResult(encoded[:i])
			require.ErrorIs(t, err, ErrMalformed)
		}
	})
}

func TestErrorsCrossTheWire(t *testing.T) {
	for code, sentinel := range wireErrors {
		if sentinel == nil {
			continue
		}
		require.Equal(t, byte(code), ErrorCode(sentinel))
		require.Same(t, sentinel, ErrorOf(byte(code), sentinel.Error()))

		wrapped := fmt.Errorf("put: %w: why", sentinel)
		got := ErrorOf(ErrorCode(wrapped), wrapped.Error())
		require.ErrorIs(t, got, sentinel)
		require.EqualError(t, got, wrapped.Error())
	}
	require.Zero(t, ErrorCode(nil))
	require.NoError(t, ErrorOf(0, ""))
	got := ErrorOf(ErrorCode(io.EOF), "EOF")
	require.EqualError(t, got, "EOF")
	require.False(t, errors.Is(got, io.EOF), "an error of others keeps its text only")
	require.EqualError(t, ErrorOf(200, "from a later version"), "from a later version")
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(newTombstone("k", 5, 1).Append(nil))
	f.Add(newTombstone("k", 5, 1).ledTo("l").AppendMoved(nil))
	f.Add(newSession("{a}k", 5, 6, Expiry{At: 9, Idle: 3, Deadline: 10, Stamp: 7},
		[]Field{{Name: "a", Value: "1", Stamp: 7}, {Name: "b", Absent: true, Stamp: 8}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, n, err := DecodeRecord(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrFormat), err)
			return
		}
		require.Equal(t, b[:n], rec.AppendMoved(nil), "two encodings of one record")
		require.LessOrEqual(t, rec.Rank(), rec.Version())
		for field := range rec.All() {
			require.LessOrEqual(t, rec.Base(), field.Stamp)
		}
	})
}

func FuzzDecodeOp(f *testing.F) {
	f.Add((&Op{Kind: Patch, Key: "k", TTL: -1, Nested: true, Fields: []Field{{Name: "a", Absent: true}, {Value: "v"}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		op, n, err := DecodeOp(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b[:n], op.Append(nil))
	})
}

func FuzzDecodeResult(f *testing.F) {
	rec := newTombstone("k", 5, 1)
	f.Add(Result{Record: rec, Records: []*Record{rec}, Until: 7, Created: true}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		res, n, err := DecodeResult(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		for _, rec := range append(res.Records, res.Record) {
			if rec != nil && rec.dead && rec.body != "" {
				return // no result has one that leads
			}
		}
		require.Equal(t, b[:n], res.Append(nil))
	})
}

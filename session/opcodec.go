package session

import (
	"encoding/binary"
	"time"
)

// An op is written as
//
//	kind u8 | flags u8 | key | new key | ttl | max age (zigzag ns) | if-version |
//	number of fields | fields
//
// where a field is name length<<1 | absent, name, and if present: value length,
// value. A result is written as
//
//	flags u8 | until | number of records | records | the record
//
// Numbers are varints, strings have their length before them.

const (
	opNested = 1 << iota
	opExists
	opCreate
	opRevive
)

const (
	resultCreated = 1 << iota
	resultChanged
	resultRecord // Record is there and follows
)

// maxFields bounds the fields of one op: decoded they take many times the
// bytes they come in. A session of 1 MiB cannot have as many.
const maxFields = 1 << 20

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Append appends the op's encoding to b.
func (op *Op) Append(b []byte) []byte {
	b = append(b, byte(op.Kind), flag(op.Nested, opNested)|flag(op.Exists, opExists)|
		flag(op.Create, opCreate)|flag(op.Revive, opRevive))
	b = appendString(b, op.Key)
	b = appendString(b, op.NewKey)
	b = binary.AppendVarint(b, int64(op.TTL))
	b = binary.AppendVarint(b, int64(op.MaxAge))
	b = binary.AppendUvarint(b, uint64(op.IfVersion))
	b = binary.AppendUvarint(b, uint64(len(op.Fields)))
	for i := range op.Fields {
		f := &op.Fields[i]
		b = append(binary.AppendUvarint(b, nameWord(f)), f.Name...)
		if !f.Absent {
			b = appendString(b, f.Value)
		}
	}
	return b
}

// DecodeOp reads the op that b begins with and returns it and its length. It
// keeps nothing of b. An error wraps [ErrMalformed].
func DecodeOp(b []byte) (op *Op, n int, err error) {
	r := reader[string]{rest: string(b)} // one copy, which all strings share
	op = &Op{Kind: Kind(r.byte())}
	flags := r.byte()
	op.Nested, op.Exists = flags&opNested != 0, flags&opExists != 0
	op.Create, op.Revive = flags&opCreate != 0, flags&opRevive != 0
	op.Key = r.take(r.length())
	op.NewKey = r.take(r.length())
	op.TTL, op.MaxAge = time.Duration(r.varint()), time.Duration(r.varint())
	op.IfVersion = Stamp(r.uvarint())
	count := r.length() // a field is at least a byte
	if r.bad || !op.Kind.valid() || flags > opNested|opExists|opCreate|opRevive || count > maxFields {
		return nil, 0, malformed("op: bad header")
	}
	for range count {
		word := r.uvarint()
		f := Field{Absent: word&1 == 1, Name: r.take(int(word >> 1))}
		if !f.Absent {
			f.Value = r.take(r.length())
		}
		if r.bad {
			return nil, 0, malformed("op: bad fields")
		}
		op.Fields = append(op.Fields, f)
	}
	return op, len(b) - len(r.rest), nil
}

// Append appends the result's encoding to b.
func (res Result) Append(b []byte) []byte {
	b = append(b, flag(res.Created, resultCreated)|flag(res.Changed, resultChanged)|
		flag(res.Record != nil, resultRecord))
	b = binary.AppendUvarint(b, uint64(res.Until))
	b = binary.AppendUvarint(b, uint64(len(res.Records)))
	for _, rec := range res.Records {
		b = rec.Append(b)
	}
	if res.Record != nil {
		b = res.Record.Append(b)
	}
	return b
}

// DecodeResult reads the result that b begins with and returns it and its
// length. It keeps nothing of b. An error wraps [ErrMalformed].
func DecodeResult(b []byte) (res Result, n int, err error) {
	r := reader[[]byte]{rest: b}
	flags := r.byte()
	res.Created, res.Changed = flags&resultCreated != 0, flags&resultChanged != 0
	res.Until = r.millis()
	count := r.length()
	if r.bad || flags > resultCreated|resultChanged|resultRecord {
		return Result{}, 0, malformed("result: bad header")
	}
	for range count {
		rec, n, err := DecodeRecord(r.rest)
		if err != nil {
			return Result{}, 0, err
		}
		res.Records = append(res.Records, rec)
		r.take(n)
	}
	if flags&resultRecord != 0 {
		rec, n, err := DecodeRecord(r.rest)
		if err != nil {
			return Result{}, 0, err
		}
		res.Record = rec
		r.take(n)
	}
	return res, len(b) - len(r.rest), nil
}

package rdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// reader reads the parts of a text from its start on. After an error, of which
// it keeps the first, all that it reads is nothing. Loops look at err.
type reader struct {
	b    string
	at   int
	part string // what b is part of, for the error; "" if it is the payload
	err  error
}

// fail ends the reading with an error that says where.
func (r *reader) fail(format string, args ...any) {
	r.end(fmt.Errorf("%w: byte %d%s: %s", ErrFormat, r.at, r.part, fmt.Sprintf(format, args...)))
}

func (r *reader) end(err error) {
	if r.err == nil {
		r.err = err
	}
}

// bytes returns the next n bytes. It is an error if there are fewer.
func (r *reader) bytes(n uint64) string {
	if r.err != nil {
		return ""
	}
	if left := len(r.b) - r.at; n > uint64(left) {
		r.fail("%d bytes are to come, and there are %d", n, left)
		return ""
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != "" {
		return b[0]
	}
	return 0
}

// uint reads a number of n bytes, the lowest first.
func (r *reader) uint(n uint64) (x uint64) {
	for i, c := range []byte(r.bytes(n)) {
		x |= uint64(c) << (8 * i)
	}
	return x
}

// bigEndian reads a number of n bytes, the highest first.
func (r *reader) bigEndian(n uint64) (x uint64) {
	for _, c := range []byte(r.bytes(n)) {
		x = x<<8 | uint64(c)
	}
	return x
}

// int reads a number with a sign of n bytes, the lowest first.
func (r *reader) int(n uint64) int64 {
	unused := 64 - 8*n
	return int64(r.uint(n)<<unused) >> unused
}

// The first two bits of a length say how it is written, or that a string
// follows that is written in another way.
const (
	length6  = 0
	length14 = 1
	longer   = 2
	special  = 3

	length32 = 0x80 // the whole first byte
	length64 = 0x81
)

// The ways to write a string, in the other bits of the first byte.
const (
	asInt8 = iota
	asInt16
	asInt32
	asLZF
)

// lengthOrWay reads a length, or else the way that a string is written in.
func (r *reader) lengthOrWay() (n uint64, way bool) {
	first := r.byte()
	low := uint64(first & 0x3f)
	switch first >> 6 {
	case length6:
		return low, false
	case length14:
		return low<<8 | uint64(r.byte()), false
	case special:
		return low, true
	}
	switch first {
	case length32:
		return r.bigEndian(4), false
	case length64:
		return r.bigEndian(8), false
	}
	r.fail("no length begins with %#x", first)
	return 0, false
}

func (r *reader) length() uint64 {
	n, way := r.lengthOrWay()
	if way {
		r.fail("a length is to come, and there is a string")
		return 0
	}
	return n
}

func appendLength(dst []byte, n int) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, length14<<6|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, length32), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, length64), uint64(n))
	}
}

func appendString(dst []byte, s string) []byte { return append(appendLength(dst, len(s)), s...) }

// string reads a string: its bytes, a number whose digits it is, or compressed
// bytes.
func (d *decoder) string() string {
	n, way := d.lengthOrWay()
	switch {
	case !way:
		return d.bytes(n)
	case n <= asInt32:
		return strconv.FormatInt(d.int(1<<n), 10)
	case n == asLZF:
		return d.lzf()
	}
	d.fail("no string is written in way %d", n)
	return ""
}

// lzf reads a string that is compressed: both lengths, then the bytes.
func (d *decoder) lzf() string {
	packed, unpacked := d.length(), d.length()
	b := d.bytes(packed)
	switch {
	case d.err != nil:
		return ""
	case unpacked > uint64(len(b))*maxUnpack:
		d.fail("%d compressed bytes cannot become %d", packed, unpacked)
		return ""
	case unpacked > uint64(d.unpacks):
		d.end(fmt.Errorf("%w: a string of %d bytes, %d of %d are left", ErrLarge, unpacked, d.unpacks, d.limits.Bytes))
		return ""
	}
	d.unpacks -= int(unpacked)
	out, ok := unpackLZF(make([]byte, 0, unpacked), b)
	if !ok {
		d.fail("the %d compressed bytes before it do not become %d", packed, unpacked)
	}
	return string(out)
}

// maxUnpack is how many bytes one compressed byte can become: three repeat 264.
const maxUnpack = 264 / 3

// unpackLZF fills dst with what b unpacks to, and reports whether that is
// exactly what there is room for. b is a row of
//
//	000xxxxx and x+1 bytes: these
//	nnnooooo oooooooo: n+2 bytes that came o+1 bytes before
//	111ooooo nnnnnnnn oooooooo: n+9 bytes that came o+1 bytes before
func unpackLZF(dst []byte, b string) ([]byte, bool) {
	for len(b) > 0 {
		n, low := int(b[0]>>5), int(b[0]&0x1f)
		b = b[1:]
		if n == 0 {
			n = low + 1
			if n > len(b) || n > cap(dst)-len(dst) {
				return nil, false
			}
			dst, b = append(dst, b[:n]...), b[n:]
			continue
		}
		if n == 7 {
			if len(b) == 0 {
				return nil, false
			}
			n, b = n+int(b[0]), b[1:]
		}
		n += 2
		if len(b) == 0 {
			return nil, false
		}
		from := len(dst) - (low<<8 | int(b[0])) - 1
		b = b[1:]
		if from < 0 || n > cap(dst)-len(dst) {
			return nil, false
		}
		for i := range n { // one by one: it may repeat what it has just written
			dst = append(dst, dst[from+i])
		}
	}
	return dst, len(dst) == cap(dst)
}

// binaryScore reads a score of eight bytes.
func (d *decoder) binaryScore() float64 { return d.number(math.Float64frombits(d.uint(8))) }

// textScore reads a score as digits behind their number, of which some mean
// what has no digits.
func (d *decoder) textScore() float64 {
	switch n := d.byte(); n {
	case 253:
		return d.number(math.NaN())
	case 254:
		return math.Inf(1)
	case 255:
		return math.Inf(-1)
	default:
		return d.scoreOf(d.bytes(uint64(n)))
	}
}

// scoreOf reads a score that is a text.
func (d *decoder) scoreOf(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		d.fail("%.64q is no score", text)
	}
	return d.number(f)
}

func (d *decoder) number(f float64) float64 {
	if math.IsNaN(f) {
		d.fail("a score is no number")
		return 0
	}
	return f
}

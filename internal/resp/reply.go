package resp

import (
	"math"
	"strconv"
	"strings"
)

// Reply appends answers to B in the protocol Proto, 2 or 3. Types that
// protocol 2 does not have are written as Redis writes them there: a map as an
// array of keys and values, a set or a push as an array, a double, a big number
// or a verbatim text as a bulk string, a boolean as 0 or 1.
type Reply struct {
	B     []byte
	Proto int
}

// Simple appends a status such as OK. It must not contain a line end.
func (r *Reply) Simple(s string) { r.B = append(append(append(r.B, '+'), s...), "\r\n"...) }

// OK appends the status OK.
func (r *Reply) OK() { r.B = append(r.B, "+OK\r\n"...) }

// Error appends an error; its text begins with its code, as in "ERR syntax
// error". Line ends in it, which would end it, become spaces.
func (r *Reply) Error(text string) {
	r.B = append(r.B, '-')
	text = strings.TrimRight(text, "\r\n")
	for i := range len(text) {
		c := text[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		r.B = append(r.B, c)
	}
	r.B = append(r.B, "\r\n"...)
}

// Int appends an integer.
func (r *Reply) Int(n int64) { r.line(':', n) }

// Bulk appends a string of bytes.
func (r *Reply) Bulk(b []byte) { r.B = appendBulk(r.B, '$', b) }

// BulkString is Bulk for a string.
func (r *Reply) BulkString(s string) { r.B = appendBulk(r.B, '$', s) }

// Null appends the absence of a string.
func (r *Reply) Null() { r.B = append(r.B, r.pick("$-1\r\n", "_\r\n")...) }

// NullArray appends the absence of an array.
func (r *Reply) NullArray() { r.B = append(r.B, r.pick("*-1\r\n", "_\r\n")...) }

// Array begins an array: the next n answers are its elements.
func (r *Reply) Array(n int) { r.line('*', int64(n)) }

// Map begins a map: the next 2n answers are its keys, each with its value.
func (r *Reply) Map(n int) {
	if r.Proto == 3 {
		r.line('%', int64(n))
		return
	}
	r.line('*', 2*int64(n))
}

// Set begins a set: the next n answers are its members.
func (r *Reply) Set(n int) { r.aggregate('~', n) }

// Push begins a message that answers no command: the next n answers are its
// elements.
func (r *Reply) Push(n int) { r.aggregate('>', n) }

func (r *Reply) aggregate(kind byte, n int) {
	if r.Proto != 3 {
		kind = '*'
	}
	r.line(kind, int64(n))
}

// Double appends a floating point number with the 17 digits of Redis 7.0.
func (r *Reply) Double(f float64) {
	var text [32]byte
	digits := appendDouble(text[:0], f)
	if r.Proto == 3 {
		r.B = append(append(append(r.B, ','), digits...), "\r\n"...)
		return
	}
	r.Bulk(digits)
}

// appendDouble writes f as C's %.17g does, and infinities as Redis does.
func appendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case math.IsNaN(f):
		return append(dst, "nan"...)
	}
	return strconv.AppendFloat(dst, f, 'g', 17, 64)
}

// Bool appends a truth value.
func (r *Reply) Bool(b bool) {
	if b {
		r.B = append(r.B, r.pick(":1\r\n", "#t\r\n")...)
		return
	}
	r.B = append(r.B, r.pick(":0\r\n", "#f\r\n")...)
}

// BigNumber appends an integer of any size, given by its digits.
func (r *Reply) BigNumber(digits string) {
	if r.Proto == 3 {
		r.B = append(append(append(r.B, '('), digits...), "\r\n"...)
		return
	}
	r.BulkString(digits)
}

// Verbatim appends a text for people; format has three letters, as in "txt".
func (r *Reply) Verbatim(format, text string) {
	if r.Proto != 3 {
		r.BulkString(text)
		return
	}
	r.line('=', int64(len(format)+1+len(text)))
	r.B = append(append(append(r.B, format...), ':'), text...)
	r.B = append(r.B, "\r\n"...)
}

func (r *Reply) line(kind byte, n int64) { r.B = appendLine(r.B, kind, n) }

func (r *Reply) pick(two, three string) string {
	if r.Proto == 3 {
		return three
	}
	return two
}

func appendLine(dst []byte, kind byte, n int64) []byte {
	return append(strconv.AppendInt(append(dst, kind), n, 10), "\r\n"...)
}

func appendBulk[S string | []byte](dst []byte, kind byte, s S) []byte {
	return append(append(appendLine(dst, kind, int64(len(s))), s...), "\r\n"...)
}

// AppendCommand appends a command as a client sends it.
func AppendCommand[S string | []byte](dst []byte, args ...S) []byte {
	dst = appendLine(dst, '*', int64(len(args)))
	for _, arg := range args {
		dst = appendBulk(dst, '$', arg)
	}
	return dst
}

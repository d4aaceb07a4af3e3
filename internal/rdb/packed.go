package rdb

import (
	"fmt"
	"strconv"
)

// Small values are one string, in which all entries lie one behind the other as
// they do in the server's memory. There are four forms of it.

// form is one of them: it reads the head and says how many elements it
// announces, -1 if it does not, and then reads one element after the other, and
// ok is false at the end.
type form func(r *reader) (n int, next func() (element string, ok bool))

// packed reads a string in a form, of which so many elements make an entry.
func (d *decoder) packed(f form, per int, entry func(elements []string) Entry) {
	r := d.inner()
	said, next := f(r)
	d.room(min(max(said, 0), len(r.b)) / per)
	elements := make([]string, 0, 3)
	n := 0
	for d.err == nil && r.err == nil {
		element, ok := next()
		if !ok {
			break
		}
		n++
		if elements = append(elements, element); len(elements) < per {
			continue
		}
		if len(d.entries) == d.limits.Entries {
			d.room(d.limits.Entries + 1)
			return
		}
		d.entries = append(d.entries, entry(elements))
		elements = elements[:0]
	}
	switch {
	case len(elements) > 0:
		r.fail("%d elements are no whole number of entries", n)
	case said >= 0 && said != n:
		r.fail("%d elements are announced, and there are %d", said, n)
	case r.at != len(r.b):
		r.fail("%d bytes are behind the end", len(r.b)-r.at)
	}
	d.end(r.err)
}

// inner reads a string and returns a reader of it.
func (d *decoder) inner() *reader {
	part := fmt.Sprint(" of the packed value at byte ", d.at)
	return &reader{b: d.string(), part: part, err: d.err}
}

// intset reads a set of whole numbers of one width:
//
//	width u32 | number u32 | numbers
func (d *decoder) intset() {
	r := d.inner()
	width, n := r.uint(4), r.uint(4)
	switch {
	case r.err != nil:
	case width != 2 && width != 4 && width != 8:
		r.fail("numbers of %d bytes", width)
	case n*width != uint64(len(r.b)-r.at): // n and width are below 1<<32
		r.fail("%d numbers of %d bytes are announced, and there are %d bytes", n, width, len(r.b)-r.at)
	default:
		d.room(int(n))
		for range n {
			if d.err != nil {
				break
			}
			d.entries = append(d.entries, Entry{Name: strconv.FormatInt(r.int(width), 10)})
		}
	}
	d.end(r.err)
}

const (
	endOfPacked = 0xff      // the last byte
	uncounted   = 1<<16 - 1 // the number of elements where it is that or more
)

// listpack is the form of Redis 7:
//
//	bytes u32 | elements u16 | element … | 0xff
//
// An element begins with what says how it is written, and ends with its own
// length, by which the server goes backwards.
func listpack(r *reader) (n int, next func() (string, bool)) {
	n = head(r, false)
	return n, func() (string, bool) {
		begin := r.at
		first := r.byte()
		if first == endOfPacked {
			return "", false
		}
		element := listpackElement(r, first)
		if size := r.at - begin; r.err == nil {
			if back := appendBack(nil, size); r.bytes(uint64(len(back))) != string(back) {
				r.fail("an element of %d bytes does not end with that length", size)
			}
		}
		return element, r.err == nil
	}
}

func listpackElement(r *reader, first byte) string {
	low := uint64(first)
	switch {
	case first < 0x80: // 0xxxxxxx
		return strconv.Itoa(int(first))
	case first < 0xc0: // 10xxxxxx
		return r.bytes(low & 0x3f)
	case first < 0xe0: // 110xxxxx and a byte, a number with a sign
		x := (low&0x1f)<<8 | uint64(r.byte())
		return strconv.FormatInt(int64(x<<51)>>51, 10)
	case first < 0xf0: // 1110xxxx and a byte
		return r.bytes((low&0xf)<<8 | uint64(r.byte()))
	case first == 0xf0:
		return r.bytes(r.uint(4))
	case first <= 0xf3: // 2, 3 or 4 bytes
		return strconv.FormatInt(r.int(low-0xef), 10)
	case first == 0xf4:
		return strconv.FormatInt(r.int(8), 10)
	}
	r.fail("no element begins with %#x", first)
	return ""
}

// appendBack appends a length as it is read backwards: seven bits in a byte,
// the lowest in the last one, and all but the first say that there is one more.
func appendBack(dst []byte, n int) []byte {
	if n < 0x80 {
		return append(dst, byte(n))
	}
	dst = appendBack(dst, n>>7)
	return append(dst, byte(n)|0x80)
}

// ziplist is the form before listpacks:
//
//	bytes u32 | last element at u32 | elements u16 | element … | 0xff
//
// An element begins with the length of the one before.
func ziplist(r *reader) (n int, next func() (string, bool)) {
	n = head(r, true)
	before := 0
	return n, func() (string, bool) {
		begin := r.at
		prev := r.uint(1)
		switch prev {
		case endOfPacked:
			return "", false
		case endOfPacked - 1:
			prev = r.uint(4)
		}
		if r.err == nil && prev != uint64(before) {
			r.fail("an element of %d bytes lies before it, and %d are announced", before, prev)
		}
		element := ziplistElement(r)
		before = r.at - begin
		return element, r.err == nil
	}
}

func ziplistElement(r *reader) string {
	first := r.byte()
	low := uint64(first & 0x3f)
	switch first >> 6 {
	case 0:
		return r.bytes(low)
	case 1:
		return r.bytes(low<<8 | uint64(r.byte()))
	case 2:
		return r.bytes(r.bigEndian(4))
	}
	width := map[byte]uint64{0xc0: 2, 0xd0: 4, 0xe0: 8, 0xf0: 3, 0xfe: 1}[first]
	switch {
	case width > 0:
		return strconv.FormatInt(r.int(width), 10)
	case first > 0xf0 && first < 0xfe: // the number itself, and one
		return strconv.Itoa(int(first&0xf) - 1)
	}
	r.fail("no element begins with %#x", first)
	return ""
}

// head reads that of a listpack, or of a ziplist, where there is an offset too,
// and returns the number of elements.
func head(r *reader, offset bool) int {
	if size := r.uint(4); r.err == nil && size != uint64(len(r.b)) {
		r.fail("a packed value of %d bytes is announced, and there are %d", size, len(r.b))
	}
	if offset {
		if last := r.uint(4); r.err == nil && last >= uint64(len(r.b)) {
			r.fail("the last element lies at %d of %d bytes", last, len(r.b))
		}
	}
	n := int(r.uint(2))
	if n == uncounted {
		return -1
	}
	return n
}

// zipmap is how hashes were before Redis 2.6:
//
//	elements u8 | pair … | 0xff
//
// with pairs of
//
//	length | name | length | unused u8 | value | unused bytes
//
// A length of 254 stands for one of four bytes behind it. The number of
// elements counts pairs, and nothing from 254 on.
func zipmap(r *reader) (n int, next func() (string, bool)) {
	n = 2 * int(r.byte())
	if n >= 2*254 {
		n = -1
	}
	value := false
	return n, func() (string, bool) {
		size := r.uint(1)
		switch size {
		case endOfPacked:
			if value {
				r.fail("a name without a value")
			}
			return "", false
		case endOfPacked - 1:
			size = r.uint(4)
		}
		var unused uint64
		if value {
			unused = r.uint(1)
		}
		element := r.bytes(size)
		r.bytes(unused)
		value = !value
		return element, r.err == nil
	}
}

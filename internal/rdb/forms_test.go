package rdb

import (
	"encoding/binary"
	"math"
	"strconv"

	"pgregory.net/rapid"
)

// The forms in which servers write values, by which the tests hold the reader.

// sealed is a payload of this body.
func sealed(body []byte) string { return string(seal(body, 0, 10)) }

// asBlob is b as the string that a packed value is.
func asBlob(kind byte, b []byte) []byte { return appendString([]byte{kind}, string(b)) }

// number is the text of a number as servers write it, and so can be kept as
// one.
func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}

// fits says whether n is a number of so many bytes.
func fits(n int64, bytes int) bool {
	unused := 64 - 8*bytes
	return n<<unused>>unused == n
}

func appendInt(dst []byte, n int64, bytes int) []byte {
	return append(dst, binary.LittleEndian.AppendUint64(nil, uint64(n))[:bytes]...)
}

func asListpack(elements []string) []byte {
	b := make([]byte, 6)
	for _, s := range elements {
		begin := len(b)
		b = appendListpackElement(b, s)
		b = appendBack(b, len(b)-begin)
	}
	b = append(b, 0xff)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint16(b[4:], uint16(min(len(elements), uncounted)))
	return b
}

func appendListpackElement(b []byte, s string) []byte {
	n, ok := number(s)
	switch {
	case ok && n >= 0 && n < 128:
		return append(b, byte(n))
	case ok && n >= -4096 && n < 4096:
		return append(b, 0xc0|byte(n>>8)&0x1f, byte(n))
	case ok && fits(n, 2):
		return appendInt(append(b, 0xf1), n, 2)
	case ok && fits(n, 3):
		return appendInt(append(b, 0xf2), n, 3)
	case ok && fits(n, 4):
		return appendInt(append(b, 0xf3), n, 4)
	case ok:
		return appendInt(append(b, 0xf4), n, 8)
	case len(s) < 64:
		b = append(b, 0x80|byte(len(s)))
	case len(s) < 4096:
		b = append(b, 0xe0|byte(len(s)>>8), byte(len(s)))
	default:
		b = binary.LittleEndian.AppendUint32(append(b, 0xf0), uint32(len(s)))
	}
	return append(b, s...)
}

func asZiplist(elements []string) []byte {
	b := make([]byte, 10)
	before := 0
	for _, s := range elements {
		begin := len(b)
		if before < 254 {
			b = append(b, byte(before))
		} else {
			b = binary.LittleEndian.AppendUint32(append(b, 254), uint32(before))
		}
		b = appendZiplistElement(b, s)
		binary.LittleEndian.PutUint32(b[4:], uint32(begin))
		before = len(b) - begin
	}
	if len(elements) == 0 {
		b[4] = 10
	}
	b = append(b, 0xff)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint16(b[8:], uint16(min(len(elements), uncounted)))
	return b
}

func appendZiplistElement(b []byte, s string) []byte {
	n, ok := number(s)
	switch {
	case ok && n >= 0 && n <= 12:
		return append(b, 0xf1+byte(n))
	case ok && fits(n, 1):
		return appendInt(append(b, 0xfe), n, 1)
	case ok && fits(n, 2):
		return appendInt(append(b, 0xc0), n, 2)
	case ok && fits(n, 3):
		return appendInt(append(b, 0xf0), n, 3)
	case ok && fits(n, 4):
		return appendInt(append(b, 0xd0), n, 4)
	case ok:
		return appendInt(append(b, 0xe0), n, 8)
	case len(s) < 64:
		b = append(b, byte(len(s)))
	case len(s) < 1<<14:
		b = append(b, 0x40|byte(len(s)>>8), byte(len(s)))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0x80), uint32(len(s)))
	}
	return append(b, s...)
}

func asZipmap(elements []string) []byte {
	b := []byte{byte(min(len(elements)/2, 254))}
	for i, s := range elements {
		if len(s) < 254 {
			b = append(b, byte(len(s)))
		} else {
			b = binary.LittleEndian.AppendUint32(append(b, 254), uint32(len(s)))
		}
		unused := i % 4 / 2 // of each other value
		if i%2 == 1 {
			b = append(b, byte(unused))
		}
		b = append(b, s...)
		if i%2 == 1 {
			b = append(b, "?"[:unused]...)
		}
	}
	return append(b, 0xff)
}

func asIntset(numbers []int64, width int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(width))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(numbers)))
	for _, n := range numbers {
		b = appendInt(b, n, width)
	}
	return b
}

// appendLZF appends s compressed in the simplest way that uses every form:
// bytes as they are, and repetitions of what came a distance before.
func appendLZF(dst []byte, s string) []byte {
	var b []byte
	for i := 0; i < len(s); {
		from, n := longest(s, i)
		switch {
		case n < 3:
			b = append(b, 0, s[i])
			n = 1
		case n < 9:
			b = append(b, byte(n-2)<<5|byte((i-from-1)>>8), byte(i-from-1))
		default:
			b = append(b, 7<<5|byte((i-from-1)>>8), byte(n-9), byte(i-from-1))
		}
		i += n
	}
	dst = append(dst, wayOf(asLZF))
	dst = appendLength(appendLength(dst, len(b)), len(s))
	return append(dst, b...)
}

// longest returns where what is at i has come before for the longest.
func longest(s string, i int) (from, n int) {
	for j := max(0, i-300); j < i; j++ {
		k := 0
		for k < 264 && i+k < len(s) && s[j+k] == s[i+k] {
			k++
		}
		if k > n {
			from, n = j, k
		}
	}
	return from, n
}

// wayOf is the first byte of a string that is written in another way.
func wayOf(n byte) byte { return special<<6 | n }

// anyString appends s in one of the ways that it can be written in.
func anyString(t *rapid.T, dst []byte, s string) []byte {
	way := rapid.IntRange(0, 4).Draw(t, "way")
	n, ok := number(s)
	switch {
	case way == 1 && ok && fits(n, 1):
		return appendInt(append(dst, wayOf(asInt8)), n, 1)
	case way <= 2 && way > 0 && ok && fits(n, 2):
		return appendInt(append(dst, wayOf(asInt16)), n, 2)
	case way <= 3 && way > 0 && ok && fits(n, 4):
		return appendInt(append(dst, wayOf(asInt32)), n, 4)
	case way == 4 && s != "":
		return appendLZF(dst, s)
	}
	return appendString(dst, s)
}

func appendTextScore(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, 254)
	case math.IsInf(f, -1):
		return append(dst, 255)
	}
	text := scoreText(f)
	return append(append(dst, byte(len(text))), text...)
}

// scoreText is a score as servers write it.
func scoreText(f float64) string {
	if math.IsInf(f, 0) {
		return map[bool]string{true: "inf", false: "-inf"}[f > 0]
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

// anyForm is the body of a payload of v, in one of the forms it can have.
func anyForm(t *rapid.T, v Value) []byte {
	if v.Kind == String {
		return anyString(t, []byte{typeString}, v.Text)
	}
	kinds := map[Kind][]byte{
		Hash:      {typeHash, typeHashZipmap, typeHashZiplist, typeHashListpack, typeHashEnds, typeHashEndsPacked},
		Set:       {typeSet, typeSetListpack, typeIntset},
		SortedSet: {typeSortedSetText, typeSortedSet, typeSortedZiplist, typeSortedListpack},
	}
	kind := rapid.SampledFrom(kinds[v.Kind]).Draw(t, "type")
	var flat []string
	var numbers []int64
	for _, e := range v.Entries {
		flat = append(flat, e.Name)
		switch v.Kind {
		case Hash:
			flat = append(flat, e.Value)
		case SortedSet:
			flat = append(flat, scoreText(e.Score))
		}
		if kind == typeHashEndsPacked {
			flat = append(flat, "0")
		}
		if n, ok := number(e.Name); ok {
			numbers = append(numbers, n)
		}
	}
	none := make([]byte, 8)
	var blob []byte
	switch kind {
	case typeHashZipmap:
		blob = asZipmap(flat)
	case typeHashZiplist, typeSortedZiplist:
		blob = asZiplist(flat)
	case typeHashListpack, typeSortedListpack, typeSetListpack:
		blob = asListpack(flat)
	case typeHashEndsPacked:
		return anyString(t, append([]byte{kind}, none...), string(asListpack(flat)))
	case typeIntset:
		if len(numbers) < len(v.Entries) {
			blob, kind = asListpack(flat), typeSetListpack
		} else {
			blob = asIntset(numbers, 8)
		}
	}
	if blob != nil {
		return anyString(t, []byte{kind}, string(blob))
	}
	b := []byte{kind}
	if kind == typeHashEnds {
		b = append(b, none...)
	}
	b = appendLength(b, len(v.Entries))
	for _, e := range v.Entries {
		if kind == typeHashEnds {
			b = appendLength(b, 0)
		}
		b = anyString(t, b, e.Name)
		switch kind {
		case typeHash, typeHashEnds:
			b = anyString(t, b, e.Value)
		case typeSortedSetText:
			b = appendTextScore(b, e.Score)
		case typeSortedSet:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(e.Score))
		}
	}
	return b
}

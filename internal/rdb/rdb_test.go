package rdb

import (
	"encoding/hex"
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var plenty = Limits{Bytes: 1 << 20, Entries: 1 << 17}

func pairs(of ...string) (e []Entry) {
	for i := 0; i < len(of); i += 2 {
		e = append(e, Entry{Name: of[i], Value: of[i+1]})
	}
	return e
}

func members(of ...string) (e []Entry) {
	for _, name := range of {
		e = append(e, Entry{Name: name})
	}
	return e
}

// written is what was under the keys of testdata/redis-7.0.15.txt.
var written = map[string]Value{
	"s:empty":  {},
	"s:text":   {Text: "a short text"},
	"s:int8":   {Text: "-12"},
	"s:int16":  {Text: "12345"},
	"s:int32":  {Text: "-1234567"},
	"s:int64":  {Text: "1234567890123"},
	"s:lzf":    {Text: strings.Repeat("abc", 160)},
	"s:binary": {Text: strings.Repeat("\x00", 20) + "end"},
	"h:listpack": {Kind: Hash, Entries: pairs("age", "36", "long", strings.Repeat("x", 60), "n24", "-8000000", "name", "Ada",
		"neg", "-5000", "wide", "70000", "wider", "5000000000")},
	"h:table": {Kind: Hash, Entries: pairs("a", strings.Repeat("q", 90), "b", "2")},
	"t:int16": {Kind: Set, Entries: members("-300", "1", "2")},
	"t:int32": {Kind: Set, Entries: members("-70000", "1")},
	"t:int64": {Kind: Set, Entries: members("-9223372036854775808", "1", "5000000000")},
	"t:table": {Kind: Set, Entries: members("3", "alpha", "beta")},
	"z:listpack": {Kind: SortedSet, Entries: []Entry{{Name: "5", Score: 5}, {Name: "high", Score: math.Inf(1)}, {Name: "huge", Score: 1e300},
		{Name: "low", Score: math.Inf(-1)}, {Name: "one", Score: 1}, {Name: "two", Score: 2.5}}},
	"z:skiplist": {Kind: SortedSet, Entries: []Entry{{Name: "high", Score: math.Inf(1)},
		{Name: "low", Score: math.Inf(-1)}, {Name: "one", Score: 1}, {Name: "tenth", Score: 0.1}, {Name: "two", Score: 2.5}}},
}

// fromRedis are the payloads that a redis-server has made, by their keys.
func fromRedis(t testing.TB) map[string]string {
	text, err := os.ReadFile("testdata/redis-7.0.15.txt")
	require.NoError(t, err)
	payloads := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		require.Len(t, words, 3)
		b, err := hex.DecodeString(words[2])
		require.NoError(t, err)
		payloads[words[1]] = string(b)
	}
	return payloads
}

func TestReadsWhatRedisWrote(t *testing.T) {
	payloads := fromRedis(t)
	for key, want := range written {
		got, err := Decode(payloads[key], plenty)
		require.NoError(t, err, key)
		require.Equal(t, want, got, key)
	}
	_, err := Decode(payloads["l:list"], plenty)
	require.EqualError(t, err, "not supported: a list")
	_, err = Decode(payloads["x:stream"], plenty)
	require.EqualError(t, err, "not supported: a stream")
	require.Len(t, payloads, len(written)+2)
}

func TestChecksum(t *testing.T) {
	// The check value of CRC-64/Redis in catalogues of CRCs.
	require.Equal(t, uint64(0xe9c6d914c4b8d9ca), checksum("123456789"))
}

// texts draws what is a number, short, long, or repeats itself.
func texts() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringN(0, 12, -1),
		rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) }),
		rapid.Map(rapid.Int64Range(-10_000, 10_000), func(n int64) string { return strconv.FormatInt(n, 10) }),
		rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.StringN(1, 5, -1).Draw(t, "unit"), rapid.SampledFrom([]int{1, 30, 254, 1000, 6000}).Draw(t, "times"))
		}),
	)
}

func values() *rapid.Generator[Value] {
	return rapid.Custom(func(t *rapid.T) Value {
		v := Value{Kind: Kind(rapid.IntRange(0, 3).Draw(t, "kind"))}
		if v.Kind == String {
			v.Text = texts().Draw(t, "text")
			return v
		}
		names := texts()
		if v.Kind == Set && rapid.Bool().Draw(t, "numbers") {
			names = rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) })
		}
		v.Entries = []Entry{}
		for _, name := range rapid.SliceOfNDistinct(names, 1, 20, rapid.ID).Draw(t, "names") {
			e := Entry{Name: name}
			switch v.Kind {
			case Hash:
				e.Value = texts().Draw(t, "value")
			case SortedSet:
				e.Score = rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, 1, -7, math.Inf(1), math.Inf(-1)})).
					Filter(func(f float64) bool { return !math.IsNaN(f) }).Draw(t, "score")
			}
			v.Entries = append(v.Entries, e)
		}
		if err := v.order(); err != nil {
			t.Fatal(err)
		}
		return v
	})
}

func TestReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := values().Draw(t, "value")
		got, err := Decode(string(v.Append(nil)), plenty)
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, "before"+string(v.Append(nil)), string(v.Append([]byte("before"))))
	})
}

func TestReadsEveryForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := values().Draw(t, "value")
		got, err := Decode(sealed(anyForm(t, v)), plenty)
		require.NoError(t, err)
		require.Equal(t, v, got)
	})
}

func TestManyElementsAreNotCounted(t *testing.T) {
	var names []string
	for i := range 70_000 {
		names = append(names, "m"+strconv.Itoa(i))
	}
	v, err := Decode(sealed(asBlob(typeSetListpack, asListpack(names))), plenty)
	require.NoError(t, err)
	require.Len(t, v.Entries, len(names))
	_, err = Decode(sealed(asBlob(typeSetListpack, asListpack(names))), Limits{1 << 20, len(names) - 1})
	require.ErrorIs(t, err, ErrLarge)
}

func TestEmptyValues(t *testing.T) {
	empty := Value{Kind: Hash, Entries: []Entry{}}
	got, err := Decode(string(empty.Append(nil)), plenty)
	require.NoError(t, err)
	require.Equal(t, empty, got)
	for _, body := range [][]byte{{typeSet, 0}, {typeSortedSet, 0}, asBlob(typeIntset, asIntset(nil, 2)), asBlob(typeSortedZiplist, asZiplist(nil))} {
		_, err := Decode(sealed(body), plenty)
		require.EqualError(t, err, "bad data format: a set without a member")
	}
}

// A payload that was cut or changed on the way is told by its checksum.
func TestEveryCutAndEveryChangedBitIsAnError(t *testing.T) {
	for key, payload := range fromRedis(t) {
		for i := range payload {
			_, err := Decode(payload[:i], plenty)
			require.True(t, isFooter(err), "%s cut at %d: %v", key, i, err)
			for bit := range 8 {
				b := []byte(payload)
				b[i] ^= 1 << bit
				_, err = Decode(string(b), plenty)
				require.True(t, isFooter(err), "%s, bit %d of %d: %v", key, bit, i, err)
			}
		}
	}
}

// What was made to have a right checksum is an error where it is cut, which
// says where and what, and where a bit is another, an error or a value.
func TestEveryCutBodyIsAnError(t *testing.T) {
	for key := range written {
		payload := fromRedis(t)[key]
		body := payload[:len(payload)-footer]
		for i := range body {
			_, err := Decode(sealed([]byte(body[:i])), plenty)
			require.ErrorIs(t, err, ErrFormat, "%s cut at %d", key, i)
			require.Regexp(t, `^bad data format: byte \d+`, err.Error())
			for bit := range 8 {
				b := []byte(body)
				b[i] ^= 1 << bit
				check(t, sealed(b))
			}
		}
		_, err := Decode(sealed([]byte(body+"x")), plenty)
		require.ErrorContains(t, err, "1 bytes are behind the value")
	}
}

func TestMistakesAreNamed(t *testing.T) {
	twice := Value{Kind: Set, Entries: members("a", "b", "a")}
	for want, payload := range map[string]string{
		"bad data format: byte 6: 4294967295 entries are announced, and there are bytes for 0":                              sealed([]byte("\x02\x80\xff\xff\xff\xff")),
		"bad data format: byte 9 of the packed value at byte 1: an element of 2 bytes does not end with that length":        sealed(asBlob(typeSetListpack, []byte("\x0a\x00\x00\x00\x01\x00\x81a\x03\xff"))),
		"bad data format: byte 4 of the packed value at byte 1: a packed value of 9 bytes is announced, and there are 10":   sealed(asBlob(typeSetListpack, []byte("\x09\x00\x00\x00\x01\x00\x81a\x02\xff"))),
		"bad data format: byte 10 of the packed value at byte 1: 2 elements are announced, and there are 1":                 sealed(asBlob(typeSetListpack, []byte("\x0a\x00\x00\x00\x02\x00\x81a\x02\xff"))),
		"bad data format: byte 11 of the packed value at byte 1: an element of 0 bytes lies before it, and 7 are announced": sealed(asBlob(typeHashZiplist, []byte("\x0f\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x07\xf2\x02\xf3\xff"))),
		"wrong checksum: 9 bytes are no payload, whose version and checksum take 10":                                        "123456789",
		"bad data format: \"a\" is there twice":                                                             string(twice.Append(nil)),
		"bad data format: byte 0: 1 bytes are to come, and there are 0":                                     sealed(nil),
		"bad data format: byte 6: the 2 compressed bytes before it do not become 2":                         sealed([]byte("\x00\xc3\x02\x02\x00a")),
		"bad data format: byte 10 of the packed value at byte 1: 1 bytes are behind the end":                sealed(asBlob(typeSetListpack, []byte("\x0b\x00\x00\x00\x01\x00\x81a\x02\xff?"))),
		"not supported: a value of type 99":                                                                 sealed([]byte{99}),
		"not supported: a module's value":                                                                   sealed([]byte{7}),
		"bad data format: byte 10: 18446744073709551615 bytes are to come, and there are 0":                 sealed([]byte("\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff")),
		"bad data format: byte 2: no length begins with 0xbf":                                               sealed([]byte("\x00\xbf")),
		"bad data format: byte 2: no string is written in way 4":                                            sealed([]byte("\x00\xc4")),
		"bad data format: byte 2: a length is to come, and there is a string":                               sealed([]byte("\x02\xc0")),
		"bad data format: byte 7: 2 compressed bytes cannot become 200":                                     sealed([]byte("\x00\xc3\x02\x40\xc8\x00a")),
		"bad data format: byte 12: a score is no number":                                                    sealed([]byte("\x05\x01\x01m\x00\x00\x00\x00\x00\x00\xf8\x7f")),
		"bad data format: byte 5: a score is no number":                                                     sealed([]byte("\x03\x01\x01m\xfd")),
		"bad data format: byte 8: \"one\" is no score":                                                      sealed([]byte("\x03\x01\x01m\x03one")),
		"bad data format: byte 8 of the packed value at byte 1: numbers of 3 bytes":                         sealed(asBlob(typeIntset, asIntset([]int64{1}, 3))),
		"bad data format: byte 16 of the packed value at byte 1: 3 elements are no whole number of entries": sealed(asBlob(typeHashListpack, asListpack([]string{"ab", "1", "x"}))),
		"not supported: a hash of which a field has an end of its own":                                      sealed(append(append([]byte{typeHashEnds}, make([]byte, 8)...), "\x01\x01\x01a\x01b"...)),
	} {
		_, err := Decode(payload, plenty)
		require.EqualError(t, err, want)
	}
	_, err := Decode(sealed(append([]byte{typeString}, appendLZF(nil, strings.Repeat("a", 1000))...)), Limits{999, 10})
	require.EqualError(t, err, "too large: a string of 1000 bytes, 999 of 999 are left")
	both := appendLZF(appendLZF([]byte{typeHash, 1}, strings.Repeat("a", 600)), strings.Repeat("b", 600))
	_, err = Decode(sealed(both), Limits{1199, 10})
	require.EqualError(t, err, "too large: a string of 600 bytes, 599 of 1199 are left")
	_, err = Decode(sealed(both), Limits{1200, 10})
	require.NoError(t, err)
	three := Value{Kind: Set, Entries: members("a", "b", "c")}
	_, err = Decode(string(three.Append(nil)), Limits{0, 2})
	require.EqualError(t, err, "too large: 3 entries, at most 2")
}

// The type says how a value is written, whatever the version: 80 is that of
// Valkey 9.
func TestLaterVersionsAreReadByTheirTypes(t *testing.T) {
	for _, version := range []uint16{1, 13, 80, 65535} {
		v, err := Decode(string(seal([]byte{typeString, 1, 'x'}, 0, version)), plenty)
		require.NoError(t, err)
		require.Equal(t, Value{Text: "x"}, v)
		_, err = Decode(string(seal([]byte{22, 1, 1, 'f', 1, 'v', 0}, 0, version)), plenty)
		require.EqualError(t, err, "not supported: a value of type 22")
	}
}

// An end of a field would be lost, whatever form the hash has.
func TestEndsOfFieldsAreRefused(t *testing.T) {
	body := append([]byte{typeHashEndsPacked}, make([]byte, 8)...)
	body = appendString(body, string(asListpack([]string{"a", "1", "0", "b", "2", "1800000000000"})))
	_, err := Decode(sealed(body), plenty)
	require.ErrorIs(t, err, ErrKind)
}

// What a payload makes the reader allocate is bounded by its own length.
func TestAllocatesLittleForHostilePayloads(t *testing.T) {
	const size = 100_000
	long := strings.Repeat("\x80\xff\xff\xff\xff", size/5)
	bodies := map[string][]byte{
		"string of 4 GiB":   []byte("\x00\x80\xff\xff\xff\xff" + long),
		"string of 16 EiB":  []byte("\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff" + long),
		"set of 4 G":        []byte("\x02\x80\xff\xff\xff\xff" + long),
		"hash of as many":   []byte("\x04\x80\x00\x00\xff\xff" + strings.Repeat("\x00", size)),
		"LZF of 4 GiB":      []byte("\x00\xc3\x02\x80\xff\xff\xff\xff\xff\xff" + long),
		"LZF of 1 MiB":      []byte("\x00\xc3\x02\x80\x00\x10\x00\x00\xff\xff" + long),
		"set of LZFs":       []byte("\x02\x50\x00" + strings.Repeat("\xc3\x04\x40\xff\x00a\xff\xff", size/8)),
		"intset":            asBlob(typeIntset, append([]byte("\x02\x00\x00\x00\xff\xff\xff\xff"), long...)),
		"listpack":          asBlob(typeSetListpack, asListpack(make([]string, size/2))),
		"ziplist of a head": asBlob(typeHashZiplist, append([]byte("\xff\xff\xff\xff\x0a\x00\x00\x00\xfe\xff"), long...)),
	}
	for name, body := range bodies {
		payload := sealed(body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(payload, plenty)
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(48*len(payload)+64<<10), name)
	}
}

// check holds a payload to the laws of reading: a value reads back from what is
// written of it, and an error is one of those that are known.
func check(t testing.TB, payload string) {
	v, err := Decode(payload, plenty)
	if err != nil {
		for _, known := range []error{ErrFormat, ErrKind, ErrLarge} {
			if errors.Is(err, known) {
				return
			}
		}
		require.True(t, isFooter(err), "%v", err)
		return
	}
	again, err := Decode(string(v.Append(nil)), plenty)
	require.NoError(t, err)
	require.Equal(t, v, again)
}

func FuzzDecode(f *testing.F) {
	for _, payload := range fromRedis(f) {
		f.Add([]byte(payload[:len(payload)-footer]))
	}
	for _, elements := range [][]string{{"a", "1", "b", "-70000"}, {strings.Repeat("x", 300), "5000000000"}, {}} {
		f.Add(asBlob(typeHashZiplist, asZiplist(elements)))
		f.Add(asBlob(typeSortedZiplist, asZiplist(elements)))
		f.Add(asBlob(typeHashZipmap, asZipmap(elements)))
		f.Add(asBlob(typeSetListpack, asListpack(elements)))
		f.Add(append(append([]byte{typeHashEndsPacked}, make([]byte, 8)...), asBlob(0, asListpack(append(elements, "0", "0")))[1:]...))
	}
	f.Add(append(append([]byte{typeHashEnds}, make([]byte, 8)...), "\x01\x00\x01a\x01b"...))
	f.Add([]byte("\x03\x02\x01m\x03inf\x01n\xfe"))
	f.Fuzz(func(t *testing.T, body []byte) {
		check(t, string(body))
		check(t, sealed(body))
	})
}

func isFooter(err error) bool { return errors.Is(err, ErrChecksum) }

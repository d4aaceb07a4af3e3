package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/session"
)

func TestSplitObjectKeepsSpelling(t *testing.T) {
	fields, err := splitObject([]byte(" {\"n\" : 1.50e+02 ,\n\"big\":123456789012345678901234567890,\"s\":\"\\u00e9\\/<\",\"o\":{ \"a\" : [ 1 , 2 ] }} "))
	require.NoError(t, err)
	require.Equal(t, []session.Field{
		{Name: "n", Value: `1.50e+02`},
		{Name: "big", Value: `123456789012345678901234567890`},
		{Name: "s", Value: `"\u00e9\/<"`},
		{Name: "o", Value: `{"a":[1,2]}`},
	}, fields)
}

// Large objects use a map where small ones use a list, with the same result.
func TestSplitObjectFindsARepeatedNameAmongMany(t *testing.T) {
	for _, size := range []int{1, manyNames - 1, manyNames, manyNames + 1, 100} {
		var members []string
		for i := range size {
			members = append(members, fmt.Sprintf(`"n%d":%d`, i, i))
		}
		fields, err := splitObject([]byte("{" + strings.Join(members, ",") + "}"))
		require.NoError(t, err)
		require.Len(t, fields, size)
		for _, i := range []int{0, size / 2, size - 1} {
			_, err = splitObject([]byte("{" + strings.Join(append(members, members[i]), ",") + "}"))
			require.ErrorContains(t, err, fmt.Sprintf(`"/n%d": this name occurs twice`, i))
		}
	}
}

// A hostile body must not make the message about it as large as itself.
func TestSplitObjectErrorIsShort(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("long", 100)} {
		open := fmt.Sprintf(`{"%s":`, name)
		body := strings.Repeat(open, 5000) + `{"x":1,"x":2}` + strings.Repeat("}", 5000)
		_, err := splitObject([]byte(body))
		require.ErrorContains(t, err, "occurs twice")
		require.Less(t, len(err.Error()), 400)
	}
}

// Fields that another door wrote need not be JSON, and the answer still is.
func TestJoinObjectOfForeignBytes(t *testing.T) {
	fields := []session.Field{
		{Name: "\x00type", Value: "text/plain"},
		{Name: "binary", Value: "\xac\xed\x00\x05"},
		{Name: "no\xfftext", Value: "1"},
		{Name: "number", Value: "42"},
		{Name: "quasi", Value: "\"\xff\""},
		{Name: "text", Value: "O'Neill \"Jim\""},
		{Name: "void", Value: ""},
	}
	require.JSONEq(t, `{"binary":{"$base64":"rO0ABQ=="},"no�text":1,"number":42,"quasi":{"$base64":"Iv8i"},"text":"O'Neill \"Jim\"","void":""}`,
		joinObject(slices.Values(fields)))
}

// What the Redis protocol wrote are bytes, whatever they look like, and its
// field names may be any.
func TestJoinObjectOfTheOtherDoor(t *testing.T) {
	fields := []session.Field{
		{Name: session.FieldKind, Value: session.KindSortedSet},
		{Name: session.EscapeName(""), Value: "\x00"},
		{Name: session.EscapeName("\x00type"), Value: "\x00{}"},
		{Name: session.EscapeName("\x01"), Value: "\x00\xff"},
		{Name: "score", Value: "1.5"},
		{Name: "top", Value: "inf"},
	}
	require.JSONEq(t, `{"":"","\u0000type":"{}","\u0001":{"$base64":"/w=="},"score":1.5,"top":"inf"}`, joinObject(slices.Values(fields)))
	require.JSONEq(t, `["","\u0000type","\u0001","score","top"]`, joinMembers(slices.Values(fields)))
}

// anyJSON draws a JSON value of at most this depth, with odd spacing.
func anyJSON(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
		kinds := 3
		if depth > 0 {
			kinds = 5
		}
		pad := space.Draw(t, "space")
		switch rapid.IntRange(1, kinds).Draw(t, "kind") {
		case 1:
			return pad + rapid.SampledFrom([]string{"null", "true", "false", "0", "-0.0", "1e400", "10.50", "98765432109876543210"}).Draw(t, "word") + pad
		case 2:
			return pad + rapid.SampledFrom([]string{`""`, `"\\"`, `"a\"b"`, `"\ud83d\ude00"`, `"}],{"`, `"\/é"`}).Draw(t, "string") + pad
		case 3:
			b, _ := json.Marshal(rapid.String().Draw(t, "text"))
			return string(b)
		case 4:
			return "[" + pad + strings.Join(rapid.SliceOfN(anyJSON(depth-1), 0, 3).Draw(t, "items"), ",") + "]"
		default:
			return objectOf(rapid.MapOfN(rapid.String(), anyJSON(depth-1), 0, 3).Draw(t, "members"), pad)
		}
	})
}

func objectOf(members map[string]string, pad string) string {
	var list []string
	for name, value := range members {
		b, _ := json.Marshal(name)
		list = append(list, pad+string(b)+pad+":"+value)
	}
	return "{" + strings.Join(list, ",") + pad + "}"
}

// What is taken apart and put together again says the same, value for value in
// the same spelling.
func TestSplitAndJoinAreInverse(t *testing.T) {
	names := rapid.String().Filter(func(s string) bool { return s != "" && s[0] != 0 })
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.MapOfN(names, anyJSON(2), 0, 20).Draw(t, "members")
		fields, err := splitObject([]byte(objectOf(members, rapid.SampledFrom([]string{"", " "}).Draw(t, "pad"))))
		require.NoError(t, err)
		require.Len(t, fields, len(members))
		for _, f := range fields {
			require.Equal(t, compact(t, members[session.UnescapeName(f.Name)]), f.Value)
		}
		again, err := splitObject([]byte(joinObject(slices.Values(fields))))
		require.NoError(t, err)
		require.Equal(t, fields, again)
	})
}

func compact(t require.TestingT, text string) string {
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, []byte(text)))
	return b.String()
}

// FuzzSplitObject compares the splitter with a second opinion: a walk over the
// tokens of encoding/json.
func FuzzSplitObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1 } `, `{"a":{"b":[1,{"c":null}]},"d":"\u0000"}`, `{"a":1,"\u0061":2}`, `{"a":{"x":1,"x":1}}`,
		`{"":1}`, `{"\u0000":1}`, `[{}]`, `"{}"`, `{"a":1}}`, `{"a":1,}`, `{"\ud800":1}`, `{"a":"\xff"}`, "{\"a\":\"\xff\"}", "\ufeff{}", `{"a":-0.0E+1}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, err := splitObject(body)
		if !acceptable(body) {
			require.Error(t, err)
			require.Less(t, len(err.Error()), 1000)
			return
		}
		require.NoError(t, err)
		joined := joinObject(slices.Values(fields))
		var want, got map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &want))
		require.NoError(t, json.Unmarshal([]byte(joined), &got))
		require.Len(t, got, len(fields))
		require.Len(t, got, len(want))
		for name, value := range want {
			require.Equal(t, compact(t, string(value)), string(got[name]))
		}
	})
}

func acceptable(body []byte) bool {
	if !utf8.Valid(body) || !json.Valid(body) || bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		return false
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil {
		return false
	}
	for name := range top {
		if name == "" || name[0] == 0 {
			return false
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return uniqueNames(dec)
}

// uniqueNames reads one value and reports whether no object in it has a name
// twice.
func uniqueNames(dec *json.Decoder) bool {
	token, err := dec.Token()
	if err != nil {
		return false
	}
	unique := true
	if token == json.Delim('{') || token == json.Delim('[') {
		seen := map[string]bool{}
		for dec.More() {
			if token == json.Delim('{') {
				name, _ := dec.Token()
				unique = unique && !seen[name.(string)]
				seen[name.(string)] = true
			}
			unique = uniqueNames(dec) && unique
		}
		_, err = dec.Token()
	}
	return unique && err == nil
}

func BenchmarkSplitObject(b *testing.B) {
	body := []byte(benchBody)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := splitObject(body); err != nil {
			b.Fatal(err)
		}
	}
}

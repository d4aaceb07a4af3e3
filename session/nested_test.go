package session

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestMergePatchVectors has the examples of RFC 7396, appendix A.
func TestMergePatchVectors(t *testing.T) {
	for _, v := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		got, err := mergePatch(v.target, v.patch)
		require.NoError(t, err)
		require.Equal(t, v.want, got, "%s patched with %s", v.target, v.patch)
	}
}

func TestMergePatchKeepsWhatItDoesNotName(t *testing.T) {
	for _, v := range []struct{ name, target, patch, want string }{
		{"digits", `{"id":12345678901234567890.10,"x":1}`, `{"x":1e400}`, `{"id":12345678901234567890.10,"x":1e400}`},
		{"order and spelling", ` { "z" : "\u00e9<" , "a" : [ 1 , { "b" : null } ] } `, `{"m":0}`, `{"z":"\u00e9<","a":[ 1 , { "b" : null } ],"m":0}`},
		{"a name spelled otherwise", `{"\u0061":1,"b":2}`, `{"a":3}`, `{"\u0061":3,"b":2}`},
		{"brackets in strings", `{"a":"}]\\\"{","b":["]"]}`, `{"c":{"d":"{"}}`, `{"a":"}]\\\"{","b":["]"],"c":{"d":"{"}}`},
		{"the last of two", `{"a":1,"a":2}`, `{"b":{"c":1,"c":null}}`, `{"a":2,"b":{}}`},
		{"the last of two in a patch", `{"a":{"x":1}}`, `{"a":null,"a":{"y":2}}`, `{"a":{"x":1,"y":2}}`},
		{"no JSON before", `not json`, `{"a":1}`, `{"a":1}`},
		{"nothing before", ``, `{"a":null}`, `{}`},
	} {
		t.Run(v.name, func(t *testing.T) {
			got, err := mergePatch(v.target, v.patch)
			require.NoError(t, err)
			require.Equal(t, v.want, got)
			require.True(t, json.Valid([]byte(got)))
		})
	}
}

func TestMergePatchRefusesWhatIsNotJSON(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	for _, patch := range []string{"", "{", "nul", `{"a":1}x`, deep} {
		_, err := mergePatch(`{}`, patch)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// TestMergePatchIsLinear: each level of a deep patch must not be read again for
// every level above it, for this runs under a partition's lock. The quadratic
// way would make this test take seconds instead of milliseconds.
func TestMergePatchIsLinear(t *testing.T) {
	const depth = 9_000
	deep := strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
	got, err := mergePatch(deep, deep)
	require.NoError(t, err)
	require.Equal(t, deep, got)
}

// TestMergePatchAgainstDecoded compares with RFC 7396's pseudo code on decoded
// values.
func TestMergePatchAgainstDecoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target, patch := jsonGen(3).Draw(t, "target"), jsonGen(3).Draw(t, "patch")
		got, err := mergePatch(target, patch)
		require.NoError(t, err)
		want, err := json.Marshal(decodedMerge(decoded(target), decoded(patch)))
		require.NoError(t, err)
		require.JSONEq(t, string(want), got)
	})
}

func decoded(s string) (v any) {
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		panic(err)
	}
	return v
}

func decodedMerge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, v := range p {
		if v == nil {
			delete(t, name)
		} else {
			t[name] = decodedMerge(t[name], v)
		}
	}
	return t
}

func jsonGen(depth int) *rapid.Generator[string] {
	scalar := rapid.SampledFrom([]string{"1", "-2.5e3", "null", "true", `""`, `"a\"}"`, `[1,{"a":null}]`, "{}"})
	if depth == 0 {
		return scalar
	}
	object := rapid.Custom(func(t *rapid.T) string {
		var members []string
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", `\u0062`, "c"}), 0, 4).Draw(t, "names") {
			members = append(members, `"`+name+`": `+jsonGen(depth-1).Draw(t, "value"))
		}
		return "{ " + strings.Join(members, " ,") + " }"
	})
	return rapid.OneOf(scalar, object, object)
}

func TestNestedPatch(t *testing.T) {
	s, _ := testStore(t)
	put(t, s, "k", Field{Name: "cart", Value: `{"items":{"a":1},"n":10000000000000000001}`}, Field{Name: "user", Value: `1`})
	res, err := s.Do(&Op{Kind: Patch, Key: "k", Nested: true, TTL: time.Hour, Fields: []Field{
		{Name: "cart", Value: `{"items":{"b":2}}`}, {Name: "user", Value: `null`}, {Name: "new", Value: `{"x":{"y":null}}`},
	}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"cart": `{"items":{"a":1,"b":2},"n":10000000000000000001}`, "new": `{"x":{}}`}, fieldsOf(res.Record))

	res, err = s.Do(&Op{Kind: Patch, Key: "k", Nested: true, Fields: []Field{{Name: "before cart", Value: `{"b":1}`}}})
	require.NoError(t, err)
	value, _ := res.Record.Value("before cart")
	require.Equal(t, `{"b":1}`, value, "a new field begins empty, not as its neighbour")

	_, err = s.Do(&Op{Kind: Patch, Key: "k", Nested: true, Fields: []Field{{Name: "cart", Value: `{`}}})
	require.ErrorIs(t, err, ErrMalformed)
	got, err := s.Get("k")
	require.NoError(t, err)
	require.Same(t, res.Record, got, "a refused patch changes nothing")
}

package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/session"
)

var at = time.UnixMilli(1796025600000).UTC()

// anyText is text and bytes, also such as JSON writes in another form.
func anyText(least int) *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringN(least, 20, -1),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), least, 20), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"<&>\u2028\u2029\ufffd", "\"\\\n\r\t\x7f", "\x01", "\xff\x00\xfe"}),
	)
}

func anySession(t *rapid.T) Session {
	s := Session{
		Key:  anyText(1).Draw(t, "key"),
		Kind: rapid.SampledFrom([]string{Hash, Opaque, Set, SortedSet}).Draw(t, "kind"),
		End:  rapid.Int64Range(0, maxMillis).Draw(t, "end"), Idle: rapid.Int64Range(0, maxMillis).Draw(t, "idle"), Deadline: rapid.Int64Range(0, maxMillis).Draw(t, "deadline"),
	}
	value := rapid.OneOf(anyText(0), rapid.Map(anyText(0), func(s string) string { return "\x00" + s }))
	if s.Kind == Opaque {
		s.ContentType = anyText(0).Draw(t, "type")
		s.Fields = []session.Field{{Value: value.Draw(t, "value")}}
		return s
	}
	names := rapid.SliceOfDistinct(rapid.Map(anyText(0), session.EscapeName), rapid.ID).Draw(t, "names")
	for _, name := range names {
		f := session.Field{Name: name}
		switch s.Kind {
		case Hash:
			f.Value = value.Draw(t, "value")
		case SortedSet:
			f.Value = rapid.SampledFrom([]string{"1", "-2.5", "inf", "-inf", "1e+300"}).Draw(t, "score")
		}
		s.Fields = append(s.Fields, f)
	}
	return s
}

func TestLinesReadBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anySession(t)
		text, err := AppendLine(nil, &want)
		require.NoError(t, err)
		require.Equal(t, 1, bytes.Count(text, []byte("\n")), "%q", text)
		got, err := ReadLine(text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got, "%q", text)
	})
}

// What a store holds comes back into another one as it was.
func TestSessionsOfAStoreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anySession(t)
		want.End, want.Idle, want.Deadline = 0, min(want.Idle, 9e12), 0 // 292 years are the most that a store is told
		if rapid.Bool().Draw(t, "ends") {
			want.Deadline = at.UnixMilli() + rapid.Int64Range(2, 1e9).Draw(t, "left")
		}
		first := Of(put(t, &want))
		text, err := AppendLine(nil, &first)
		require.NoError(t, err)
		read, err := ReadLine(text)
		require.NoError(t, err)
		second := Of(put(t, &read))
		require.Equal(t, first, second)
		require.ElementsMatch(t, want.Fields, second.Fields)
		require.Equal(t, []any{want.Key, want.Kind, want.ContentType, want.Idle, want.Deadline}, []any{second.Key, second.Kind, second.ContentType, second.Idle, second.Deadline})
	})
}

// put writes a session into a store of its own.
func put(t require.TestingT, s *Session) *session.Record {
	store, err := session.NewStore(session.Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false }, Now: func() time.Time { return at },
	})
	require.NoError(t, err)
	store.Open(0)
	res, err := store.Do(s.Put(at))
	require.NoError(t, err)
	return res.Record
}

func TestEnds(t *testing.T) {
	ms := at.UnixMilli()
	for name, c := range map[string]struct {
		s     Session
		ended bool
	}{
		"never":                 {Session{}, false},
		"now":                   {Session{End: ms}, true},
		"soon":                  {Session{End: ms + 1}, false},
		"a touch may be newer":  {Session{End: ms, Idle: 100}, false},
		"no touch is so new":    {Session{End: ms - 10, Idle: 100}, true},
		"no touch can move it":  {Session{End: ms, Idle: 100, Deadline: ms}, true},
		"touches moved it":      {Session{End: ms, Idle: 100, Deadline: ms + 1}, false},
		"the deadline is close": {Session{End: ms - 3, Idle: 100, Deadline: ms - 1}, true},
	} {
		require.Equal(t, c.ended, c.s.Ended(at), name)
	}
}

// A merge of two sides of a cut, where one made a set of what was a hash.
func TestMergedKinds(t *testing.T) {
	for kind, want := range map[string]string{Set: "", SortedSet: "0"} {
		rec := put(t, &Session{Key: "k", Kind: kind, Fields: []session.Field{{Name: "of a hash", Value: `"text"`}}})
		s := Of(rec)
		require.Equal(t, []session.Field{{Name: "of a hash", Value: want}}, s.Fields)
		text, err := AppendLine(nil, &s)
		require.NoError(t, err)
		_, err = ReadLine(text)
		require.NoError(t, err)
	}
}

// A fixed end without a deadline stays fixed.
func TestFixedEnd(t *testing.T) {
	s := Session{Key: "a", Kind: Hash, End: at.UnixMilli() + 5000}
	require.Equal(t, s.End, Of(put(t, &s)).End)
}

func TestWrittenForm(t *testing.T) {
	var b []byte
	for _, s := range []Session{
		{Key: "alice", Kind: Hash, Fields: []session.Field{{Name: "cart", Value: `["<book>"]`}, {Name: "n", Value: "\x005"}}, End: 3, Idle: 1, Deadline: 4},
		{Key: "\xff", Kind: Opaque, ContentType: "image/png", Fields: []session.Field{{Value: "\x89PNG"}}},
		{Key: "s", Kind: Set, Fields: []session.Field{{Name: "m"}}},
		{Key: "empty", Kind: Hash},
	} {
		var err error
		b, err = AppendLine(b, &s)
		require.NoError(t, err)
	}
	require.Equal(t, `{"key":"alice","kind":"hash","fields":[{"name":"cart","value":"[\"<book>\"]"},{"name":"n","value":"5","raw":true}],"end":3,"idle":1,"deadline":4}
{"key64":"/w==","kind":"opaque","content_type":"image/png","fields":[{"value64":"iVBORw=="}]}
{"key":"s","kind":"set","fields":[{"name":"m"}]}
{"key":"empty","kind":"hash","fields":[]}
`, string(b))
}

func TestRefusedLines(t *testing.T) {
	for text, says := range map[string]string{
		`x`:                                    "invalid character",
		``:                                     "EOF",
		`{"key":"a"} {}`:                       "one a line is accepted",
		"{\"key\":\"\xff\"}":                   "key64",
		`{"kind":"hash"}`:                      "key or key64 is needed",
		`{"key":"a"}`:                          `kind "": hash, opaque, set and zset are accepted`,
		`{"key":"a","kind":"ts"}`:              `kind "ts": hash, opaque`,
		`{"key":"a","kind":"hash","future":1}`: `unknown field "future"`,
		`{"key":"a","key64":"/w==","kind":"hash"}`:                      "key and key64 at once",
		`{"key64":"/w=","kind":"hash"}`:                                 "base64",
		`{"key":"a","kind":"hash","end":-1}`:                            "end -1: 0 to",
		`{"key":"a","kind":"hash","idle":9223372036854775807}`:          "idle 9223372036854775807",
		`{"key":"a","kind":"hash","fields":[{"value":"1"}]}`:            "field 1: a name that",
		`{"key":"a","kind":"set","fields":[{"name":"\u0000kind"}]}`:     "field 1: a name that",
		`{"key":"a","kind":"set","fields":[{"name":"m","raw":true}]}`:   "raw in kind",
		`{"key":"a","kind":"set","fields":[{"name":"m","value":"1"}]}`:  "field 1: a member of a set with a value",
		`{"key":"a","kind":"zset","fields":[{"name":"m","value":"x"}]}`: "field 1: score",
		`{"key":"a","kind":"zset","fields":[{"name":"m"}]}`:             "field 1: score",
		`{"key":"a","kind":"opaque"}`:                                   "kind opaque with 0 fields",
		`{"key":"a","kind":"set","content_type":"x"}`:                   "content_type in kind set",
	} {
		_, err := ReadLine([]byte(text))
		require.ErrorIs(t, err, ErrLine, text)
		require.ErrorContains(t, err, says, text)
	}
}

// written is a dump of some sessions.
func written(t require.TestingT, missing ...int) string {
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Cluster: "test", At: at})
	require.NoError(t, err)
	for _, key := range []string{"a", "b\xff", "c"} {
		text, err := AppendLine(nil, &Session{Key: key, Kind: Hash})
		require.NoError(t, err)
		require.NoError(t, w.Lines(text, 1))
	}
	require.NoError(t, w.End(missing))
	return b.String()
}

// read reads a dump to its end or its first fault.
func read(text string) (keys []string, trailer Trailer, err error) {
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		return nil, trailer, err
	}
	for {
		l, err := r.Next()
		if err != nil {
			return keys, r.Trailer(), err
		}
		keys = append(keys, l.Session.Key)
	}
}

func TestWholeDump(t *testing.T) {
	keys, trailer, err := read(written(t, 7, 9))
	require.Equal(t, io.EOF, err)
	require.Equal(t, []string{"a", "b\xff", "c"}, keys)
	require.Equal(t, Trailer{End: true, Sessions: 3, Missing: []int{7, 9}}, trailer)
}

// Wherever a dump was cut, that is noticed, and what was read before is right.
func TestCutAnywhere(t *testing.T) {
	whole := written(t)
	for n := range len(whole) {
		keys, _, err := read(whole[:n])
		require.ErrorIs(t, err, ErrCut, "%q", whole[:n])
		says := "the trailer is missing"
		if n == 0 {
			says = "there is nothing in it"
		} else if whole[n-1] != '\n' {
			says = "half a line of "
		}
		require.ErrorContains(t, err, fmt.Sprintf("line %d: ", strings.Count(whole[:n], "\n")+1))
		require.ErrorContains(t, err, says)
		complete := min(3, max(0, strings.Count(whole[:n], "\n")-1))
		require.Equal(t, []string{"a", "b\xff", "c"}[:complete], append([]string{}, keys...))
	}
}

func TestWrongDumps(t *testing.T) {
	whole := written(t)
	lines := strings.SplitAfter(whole, "\n")
	for name, c := range map[string]struct{ text, says string }{
		"another file":        {"hello\n", "line 1: not a line of a dump: it does not begin as one"},
		"no header":           {strings.Join(lines[1:], ""), "line 1: not a line of a dump: it does not begin as one"},
		"later format":        {strings.Replace(whole, `dump":1`, `dump":2`, 1), "format 2: 1 is accepted"},
		"a line lost":         {lines[0] + strings.Join(lines[2:], ""), "line 4: the dump was cut short: the trailer says 3 sessions, 2 lines were read"},
		"more behind the end": {whole + "x", "line 6: there is more behind the trailer"},
		"an empty line":       {lines[0] + "\n" + strings.Join(lines[1:], ""), "line 2: not a line of a dump"},
	} {
		_, _, err := read(c.text)
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestReaderGoesOnAfterABadLine(t *testing.T) {
	lines := strings.SplitAfter(written(t), "\n")
	lines[2] = "{\"key\n"
	r, err := NewReader(strings.NewReader(strings.Join(lines, "")))
	require.NoError(t, err)
	_, err = r.Next()
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorIs(t, err, ErrLine)
	l, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, 4, l.Number)
	_, err = r.Next()
	require.Equal(t, io.EOF, err, "the line counts, though it could not be read")
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
}

func TestBrokenReads(t *testing.T) {
	broken := errors.New("broken")
	_, err := NewReader(io.MultiReader(strings.NewReader("{"), faulty{broken}))
	require.ErrorIs(t, err, broken)
}

type faulty struct{ err error }

func (f faulty) Read([]byte) (int, error) { return 0, f.err }

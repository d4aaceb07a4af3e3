package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestReplyWritesBothProtocols(t *testing.T) {
	for name, c := range map[string]struct {
		append     func(r *Reply)
		two, three string
	}{
		"simple":      {func(r *Reply) { r.Simple("PONG") }, "+PONG\r\n", ""},
		"ok":          {(*Reply).OK, "+OK\r\n", ""},
		"error":       {func(r *Reply) { r.Error("ERR no") }, "-ERR no\r\n", ""},
		"error lines": {func(r *Reply) { r.Error("ERR a\r\nb\nc\r\n") }, "-ERR a  b c\r\n", ""},
		"int":         {func(r *Reply) { r.Int(-42) }, ":-42\r\n", ""},
		"bulk":        {func(r *Reply) { r.Bulk([]byte("a\r\n")) }, "$3\r\na\r\n\r\n", ""},
		"bulk string": {func(r *Reply) { r.BulkString("") }, "$0\r\n\r\n", ""},
		"null":        {(*Reply).Null, "$-1\r\n", "_\r\n"},
		"null array":  {(*Reply).NullArray, "*-1\r\n", "_\r\n"},
		"array":       {func(r *Reply) { r.Array(2) }, "*2\r\n", ""},
		"map":         {func(r *Reply) { r.Map(2) }, "*4\r\n", "%2\r\n"},
		"set":         {func(r *Reply) { r.Set(2) }, "*2\r\n", "~2\r\n"},
		"push":        {func(r *Reply) { r.Push(3) }, "*3\r\n", ">3\r\n"},
		"true":        {func(r *Reply) { r.Bool(true) }, ":1\r\n", "#t\r\n"},
		"false":       {func(r *Reply) { r.Bool(false) }, ":0\r\n", "#f\r\n"},
		"double":      {func(r *Reply) { r.Double(1.5) }, "$3\r\n1.5\r\n", ",1.5\r\n"},
		"double 17":   {func(r *Reply) { r.Double(0.1) }, "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n"},
		"double int":  {func(r *Reply) { r.Double(100000) }, "$6\r\n100000\r\n", ",100000\r\n"},
		"double big":  {func(r *Reply) { r.Double(1e20) }, "$5\r\n1e+20\r\n", ",1e+20\r\n"},
		"double 1e16": {func(r *Reply) { r.Double(12345678901234567) }, "$17\r\n12345678901234568\r\n", ",12345678901234568\r\n"},
		"inf":         {func(r *Reply) { r.Double(math.Inf(1)) }, "$3\r\ninf\r\n", ",inf\r\n"},
		"-inf":        {func(r *Reply) { r.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		"nan":         {func(r *Reply) { r.Double(math.NaN()) }, "$3\r\nnan\r\n", ",nan\r\n"},
		"big number":  {func(r *Reply) { r.BigNumber("123") }, "$3\r\n123\r\n", "(123\r\n"},
		"verbatim":    {func(r *Reply) { r.Verbatim("txt", "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
	} {
		if c.three == "" {
			c.three = c.two
		}
		for proto, want := range map[int]string{2: c.two, 3: c.three} {
			r := &Reply{Proto: proto, B: []byte("before")}
			c.append(r)
			require.Equal(t, "before"+want, string(r.B), "%s in protocol %d", name, proto)
		}
	}
}

func readAll(src io.Reader, l ReplyLimits) (all []Value, err error) {
	r := NewReplyReader(src, l)
	for {
		v, err := r.Read()
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
}

func TestReplyReaderReadsEveryType(t *testing.T) {
	for sent, want := range map[string]Value{
		"+OK\r\n":                  {Kind: Simple, Text: "OK"},
		"-ERR no\r\n":              {Kind: Error, Text: "ERR no"},
		":-7\r\n":                  {Kind: Int, Int: -7},
		"$3\r\na\r\n\r\n":          {Kind: Bulk, Text: "a\r\n"},
		"$-1\r\n":                  {Kind: NullBulk},
		"*-1\r\n":                  {Kind: NullArray},
		"_\r\n":                    {Kind: Null},
		"#t\r\n":                   {Kind: Bool, Int: 1},
		"#f\r\n":                   {Kind: Bool},
		",1.5\r\n":                 {Kind: Double, Text: "1.5"},
		"(12\r\n":                  {Kind: BigNumber, Text: "12"},
		"!2\r\nno\r\n":             {Kind: BulkError, Text: "no"},
		"=6\r\ntxt:hi\r\n":         {Kind: Verbatim, Text: "txt:hi"},
		"*2\r\n:1\r\n*0\r\n":       {Kind: Array, Elems: []Value{{Kind: Int, Int: 1}, {Kind: Array}}},
		"%1\r\n+a\r\n:1\r\n":       {Kind: Map, Elems: []Value{{Kind: Simple, Text: "a"}, {Kind: Int, Int: 1}}},
		"~1\r\n+a\r\n":             {Kind: Set, Elems: []Value{{Kind: Simple, Text: "a"}}},
		">1\r\n+a\r\n":             {Kind: Push, Elems: []Value{{Kind: Simple, Text: "a"}}},
		"|1\r\n+a\r\n:1\r\n:2\r\n": {Kind: Attribute, Elems: []Value{{Kind: Simple, Text: "a"}, {Kind: Int, Int: 1}, {Kind: Int, Int: 2}}},
	} {
		for _, src := range []io.Reader{strings.NewReader(sent), iotest.OneByteReader(strings.NewReader(sent))} {
			got, err := readAll(src, ReplyLimits{})
			require.ErrorIs(t, err, io.EOF, "%q", sent)
			require.Equal(t, []Value{want}, got, "%q", sent)
		}
		require.Equal(t, sent, string(want.Append(nil)))
		n, err := NextReply([]byte(sent + "+more\r\n"))
		require.NoError(t, err)
		require.Equal(t, len(sent), n, "%q", sent)
		for cut := range len(sent) {
			_, err := NextReply([]byte(sent[:cut]))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%q", sent[:cut])
			_, err = readAll(strings.NewReader(sent[:cut]), ReplyLimits{})
			require.Equal(t, cut > 0, errors.Is(err, io.ErrUnexpectedEOF), "%q: %v", sent[:cut], err)
		}
	}
	require.True(t, Value{Kind: NullBulk}.IsNull() && Value{Kind: NullArray}.IsNull() && Value{Kind: Null}.IsNull())
	require.True(t, Value{Kind: Error}.IsError() && Value{Kind: BulkError}.IsError())
	require.False(t, Value{Kind: Int}.IsNull() || Value{Kind: Int}.IsError())
}

func TestReplyReaderRefuses(t *testing.T) {
	small := ReplyLimits{Depth: 2, Elems: 4, Bytes: 64}
	for _, sent := range []string{
		"x\r\n", "\r\n", ":x\r\n", ":+1\r\n", "#x\r\n", "#\r\n", "_x\r\n", ",\r\n", "(\r\n", "$x\r\n", "$-2\r\n", "!-1\r\n", "=3\r\ntxt\r\n", "=5\r\ntxt.h\r\n",
		"*-2\r\n", "%-1\r\n", "$1\r\nab\r\n", "+a\n", "+a\rb\r\n", "+\r\r\n",
		"$65\r\n", "$9223372036854775807\r\n", "*5\r\n", "*9223372036854775807\r\n", "%9223372036854775807\r\n",
		"+" + strings.Repeat("a", 100) + "\r\n", "*1\r\n*1\r\n*1\r\n:1\r\n", "%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n",
	} {
		_, err := readAll(strings.NewReader(sent), small)
		require.ErrorIs(t, err, ErrReply, "%q", sent)
	}
}

// FuzzReplyReader holds the reader to giving back what it has read, byte for
// byte, whatever the cuts, and NextReply to the same lengths.
func FuzzReplyReader(f *testing.F) {
	for _, s := range []string{
		"+OK\r\n", "-ERR\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "%1\r\n+a\r\n~0\r\n", "=6\r\ntxt:hi\r\n", "|1\r\n+a\r\n#t\r\n,1\r\n", "$-1\r\n*-1\r\n_\r\n", "*9223372036854775807\r\n",
	} {
		f.Add([]byte(s), byte(2))
	}
	l := ReplyLimits{Depth: 4, Elems: 64, Bytes: 1 << 10}
	f.Fuzz(func(t *testing.T, sent []byte, cut byte) {
		want, wantErr := readAll(bytes.NewReader(sent), l)
		got, err := readAll(&chunks{sent, int(cut)%7 + 1}, l)
		if fmt.Sprint(got, err) != fmt.Sprint(want, wantErr) {
			t.Fatalf("%q in one piece: %v %v; in pieces: %v %v", sent, want, wantErr, got, err)
		}
		rest := sent
		for _, v := range want {
			b := v.Append(nil)
			if !bytes.HasPrefix(rest, b) {
				t.Fatalf("%q read as %+v and written as %q", rest, v, b)
			}
			if n, err := NextReply(rest); n != len(b) || err != nil {
				t.Fatalf("NextReply(%q) = %d, %v; read %d bytes", rest, n, err, len(b))
			}
			rest = rest[len(b):]
		}
		_, _ = NextReply(rest) // must not fail worse than by an error
	})
}

func BenchmarkReply(b *testing.B) {
	value := bytes.Repeat([]byte("v"), 300)
	r := &Reply{Proto: 2}
	b.ReportAllocs()
	for b.Loop() {
		r.B = r.B[:0]
		r.Bulk(value)
		r.OK()
		r.Int(1800)
	}
}

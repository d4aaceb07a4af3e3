package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"weak"

	"github.com/stretchr/testify/require"
)

var testLimits = Limits{MaxArgs: 1000, MaxBulk: 1 << 20, MaxQuery: 4 << 20}

// commands reads all that src sends. Arguments are copied, as they must be.
func commands(src io.Reader, l Limits) (all [][]string, err error) {
	r := NewReader(src, l)
	for {
		args, err := r.Next()
		if err != nil {
			return all, err
		}
		if args == nil {
			if err := r.Fill(); err != nil {
				return all, err
			}
			continue
		}
		var command []string
		for _, arg := range args {
			command = append(command, string(arg))
		}
		all = append(all, command)
	}
}

// severalCommands reads all commands of sent, as many at a time as there are up
// to three.
func severalCommands(t *testing.T, sent string) (all [][]string) {
	r := NewReader(strings.NewReader(sent), testLimits)
	require.True(t, sent == "" || r.Fill() == nil)
	for {
		commands, err := r.Several(3)
		require.NoError(t, err)
		require.LessOrEqual(t, len(commands), 3)
		for _, args := range commands {
			var command []string
			for _, arg := range args {
				command = append(command, string(arg))
			}
			all = append(all, command)
		}
		if len(commands) == 0 {
			return all
		}
	}
}

// TestSeveralKeepsCommandsApart: what is appended to one is not in the next.
func TestSeveralKeepsCommandsApart(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("*1\r\n$4\r\nPING\r\n", 8)), testLimits)
	require.NoError(t, r.Fill())
	var commands [][][]byte
	for range 2 { // the second time there is room behind the first command
		var err error
		commands, err = r.Several(4)
		require.NoError(t, err)
		require.Len(t, commands, 4)
	}
	_ = append(commands[0], []byte("more"))
	require.Equal(t, "PING", string(commands[1][0]))
}

// TestSeveralKeepsAnErrorInItsPlace: what came before it is returned first.
func TestSeveralKeepsAnErrorInItsPlace(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("*1\r\n$4\r\nPING\r\n", 4)+"*1\r\n!\r\n"), testLimits)
	require.NoError(t, r.Fill())
	for _, want := range []int{3, 1} {
		commands, err := r.Several(3)
		require.NoError(t, err)
		require.Len(t, commands, want)
	}
	_, err := r.Several(3)
	require.ErrorContains(t, err, "expected '$'")
	_, again := r.Next()
	require.Equal(t, err, again)
}

func TestReaderReadsCommands(t *testing.T) {
	for _, c := range []struct {
		sent string
		want [][]string
	}{
		{"*1\r\n$4\r\nPING\r\n", [][]string{{"PING"}}},
		{"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", [][]string{{"SET", "k", ""}}},
		{"*2\r\n$4\r\nECHO\r\n$6\r\na\r\nb\x00c\r\n", [][]string{{"ECHO", "a\r\nb\x00c"}}},
		{"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", [][]string{{"PING"}, {"QUIT"}}},
		{"*0\r\n*-1\r\n*-5\r\n\r\n\n*1\r\n$4\r\nPING\r\n", [][]string{{"PING"}}},
		{"PING\r\nset k  v\n", [][]string{{"PING"}, {"set", "k", "v"}}},
		{"  \t\r\n", nil},
		{`set "a b" 'c d' x"y"` + "\n", [][]string{{"set", "a b", "c d", "xy"}}},
		{`set "\x41\n\r\t\b\a\"\\\q\xg1" '\'\n' ""` + "\n", [][]string{{"set", "A\n\r\t\b\a\"\\qxg1", `'\n`, ""}}},
		{"postal x\r\n", [][]string{{"postal", "x"}}},
	} {
		for _, src := range []io.Reader{strings.NewReader(c.sent), iotest.OneByteReader(strings.NewReader(c.sent))} {
			got, err := commands(src, testLimits)
			require.ErrorIs(t, err, io.EOF, "%q", c.sent)
			require.Equal(t, c.want, got, "%q", c.sent)
		}
		require.Equal(t, c.want, severalCommands(t, c.sent), "%q", c.sent)
	}
}

func TestReaderRefuses(t *testing.T) {
	big := strings.Repeat("x", maxLine+1)
	for _, c := range []struct {
		sent   string
		limits Limits
		want   string
	}{
		{"*x\r\n", testLimits, "invalid multibulk length"},
		{"*\r\n", testLimits, "invalid multibulk length"},
		{"*03\r\n", testLimits, "invalid multibulk length"},
		{"*+3\r\n", testLimits, "invalid multibulk length"},
		{"*2147483648\r\n", testLimits, "invalid multibulk length"},
		{"*9223372036854775807\r\n", testLimits, "invalid multibulk length"},
		{"*9223372036854775808\r\n", testLimits, "invalid multibulk length"},
		{"*1001\r\n", testLimits, "invalid multibulk length: 1001 arguments, 1000 are taken"},
		{"*11\r\n", Anonymous(), "unauthenticated multibulk length"},
		{"*1\r\n$-1\r\n", testLimits, "invalid bulk length"},
		{"*1\r\n$x\r\n", testLimits, "invalid bulk length"},
		{"*1\r\n$9223372036854775807\r\n", testLimits, "invalid bulk length"},
		{"*1\r\n$2147483648\r\n", testLimits, "invalid bulk length"},
		{"*1\r\n$536870913\r\n", testLimits, "invalid bulk length"},
		{"*1\r\n$536870912\r\n", testLimits, "invalid bulk length: 536870912 bytes, -max-session allows 1048576"},
		{"*1\r\n$1048577\r\n", testLimits, "invalid bulk length: 1048577 bytes, -max-session allows 1048576"},
		{"*1\r\n$16385\r\n", Anonymous(), "unauthenticated bulk length"},
		{"*1\r\n:4\r\n", testLimits, "expected '$', got ':'"},
		{"*2\r\n$1\r\na\r\n\r\n", testLimits, "expected '$', got ' '"},
		{"*1\r\n$1\r\nab\r\n", testLimits, "expected CRLF"},
		{"*1\r\n$1\r\na\n\n", testLimits, "expected CRLF"},
		{"*1\rx", testLimits, "expected CRLF"},
		{"*" + big, testLimits, "too big mbulk count string"},
		{"*1\r\n$" + big, testLimits, "too big bulk count string"},
		{big, testLimits, "too big inline request"},
		{big + "\n", testLimits, "too big inline request"},
		{"set \"a\r\n", testLimits, "unbalanced quotes in request"},
		{"set 'a\r\n", testLimits, "unbalanced quotes in request"},
		{"set \"a\"b\r\n", testLimits, "unbalanced quotes in request"},
		{"PING\r\n", Anonymous(), "unauthenticated inline request"},
		{"*9\r\n" + strings.Repeat("$1048576\r\n"+strings.Repeat("v", 1<<20)+"\r\n", 9), testLimits, "too big request: a command may have 4194304 bytes"},
	} {
		srcs := []io.Reader{strings.NewReader(c.sent)}
		if len(c.sent) < 1<<20 {
			srcs = append(srcs, iotest.OneByteReader(strings.NewReader(c.sent)))
		}
		for _, src := range srcs {
			_, err := commands(src, c.limits)
			require.Equal(t, ProtocolError(c.want), err, "%.40q", c.sent)
		}
	}
}

func TestReaderKnowsHTTP(t *testing.T) {
	for _, sent := range []string{"POST / HTTP/1.1\r\n", "post\r\n", "Host: 127.0.0.1:6379\r\n"} {
		for _, l := range []Limits{testLimits, Anonymous()} {
			_, err := commands(strings.NewReader(sent), l)
			require.ErrorIs(t, err, ErrHTTP)
		}
	}
}

func TestReaderErrorsAreFinal(t *testing.T) {
	r := NewReader(strings.NewReader("*x\r\n*1\r\n$4\r\nPING\r\n"), testLimits)
	require.NoError(t, r.Fill())
	for range 2 {
		_, err := r.Next()
		require.Equal(t, errArgs, err)
	}
}

func TestReaderTellsAnEndWithinACommand(t *testing.T) {
	_, err := commands(strings.NewReader("*1\r\n$4\r\nPI"), testLimits)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	failed := errors.New("cable cut")
	_, err = commands(iotest.ErrReader(failed), testLimits)
	require.ErrorIs(t, err, failed)
	_, err = commands(iotest.ErrReader(nil), testLimits)
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// A length alone must cost nothing, however large it is.
func TestReaderAllocatesNothingForALength(t *testing.T) {
	l := Limits{MaxArgs: 1 << 20, MaxBulk: 512 << 20, MaxQuery: 1 << 30}
	for _, sent := range []string{"*1048576\r\n", "*2\r\n$536870912\r\n"} {
		r := NewReader(strings.NewReader(sent), l)
		require.NoError(t, r.Fill())
		args, err := r.Next()
		require.NoError(t, err)
		require.Nil(t, args)
		require.Equal(t, firstBuffer, cap(r.buf))
		require.Zero(t, cap(r.spans))
		require.Equal(t, len(sent), r.Buffered())
	}
}

func TestReaderGivesMemoryBack(t *testing.T) {
	long := AppendCommand(nil, "SET", "k", strings.Repeat("v", 1<<20))
	src := io.MultiReader(bytes.NewReader(long), strings.NewReader("*1\r\n$4\r\nPING\r\n"))
	r := NewReader(src, testLimits)
	var peak int
	var large weak.Pointer[byte]
	for range 2 {
		for {
			args, err := r.Next()
			require.NoError(t, err)
			if args != nil {
				break
			}
			require.NoError(t, r.Fill())
		}
		if len(r.buf) > peak {
			peak, large = len(r.buf), weak.Make(&r.buf[0])
		}
	}
	require.GreaterOrEqual(t, peak, 1<<20)
	require.LessOrEqual(t, len(r.buf), keepBuffer)
	runtime.GC()
	require.Nil(t, large.Value(), "something still lies in the large one")
	runtime.KeepAlive(r)
}

// Every command of one read stays readable until the next read.
func TestReaderKeepsAPipelineUntilFill(t *testing.T) {
	var sent []byte
	for i := range 20 {
		sent = AppendCommand(sent, "ECHO", fmt.Sprint(i))
	}
	r := NewReader(bytes.NewReader(sent), testLimits)
	require.NoError(t, r.Fill())
	var words [][]byte
	for range 20 {
		args, err := r.Next()
		require.NoError(t, err)
		words = append(words, args[1])
	}
	for i, w := range words {
		require.Equal(t, fmt.Sprint(i), string(w))
	}
	require.Zero(t, r.Buffered())
}

func TestParseInt(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "7": 7, "-7": -7, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
	} {
		n, ok := ParseInt([]byte(s))
		require.True(t, ok, s)
		require.Equal(t, want, n)
	}
	for _, s := range []string{"", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "-9223372036854775809", "99999999999999999999"} {
		_, ok := ParseInt([]byte(s))
		require.False(t, ok, s)
	}
}

// FuzzReader holds the reader to the same answer however the bytes are cut, to
// its limits, and, of commands that are not inline, to what AppendCommand
// would have sent.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"*1\r\n$4\r\nPING\r\n", "PING\r\n", `set "a\x00" 'b'` + "\r\n", "*-1\r\n*0\r\n", "*2\r\n$1\r\na\r\n$9223372036854775807\r\n",
		"*1\r\n$1\r\nab", "POST / HTTP/1.1\r\n", "*2147483648\r\n",
	} {
		f.Add([]byte(s), byte(3))
	}
	l := Limits{MaxArgs: 8, MaxBulk: 64, MaxQuery: 256}
	f.Fuzz(func(t *testing.T, sent []byte, cut byte) {
		want, wantErr := commands(bytes.NewReader(sent), l)
		got, err := commands(&chunks{sent, int(cut)%7 + 1}, l)
		if fmt.Sprint(got, err) != fmt.Sprint(want, wantErr) {
			t.Fatalf("%q in one piece: %q %v; in pieces: %q %v", sent, want, wantErr, got, err)
		}
		var again []byte
		for _, args := range want {
			if len(args) == 0 || len(args) > l.MaxArgs && bytes.IndexByte(sent, '\n') < 0 {
				t.Fatalf("%q gave a command of %d arguments", sent, len(args))
			}
			again = AppendCommand(again, args...)
		}
		wide := Limits{MaxArgs: 1 << 20, MaxBulk: 1 << 20, MaxQuery: 1 << 30}
		if got, err := commands(bytes.NewReader(again), wide); err != io.EOF || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q sent again as %q: %q %v", want, again, got, err)
		}
	})
}

// chunks gives n bytes a read.
type chunks struct {
	rest []byte
	n    int
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.rest[:min(c.n, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// endless sends one pipeline again and again.
type endless struct{ pipeline []byte }

func (e endless) Read(b []byte) (int, error) { return copy(b, e.pipeline), nil }

func BenchmarkReader(b *testing.B) {
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprintf("SET-P%d", depth), func(b *testing.B) {
			one := AppendCommand(nil, "SET", "sess:0123456789abcdef0123456789abcdef", strings.Repeat("v", 300), "EX", "1800")
			r := NewReader(endless{bytes.Repeat(one, depth)}, testLimits)
			r.buf = make([]byte, keepBuffer)
			b.ReportAllocs()
			for b.Loop() {
				args, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				if args == nil {
					if err := r.Fill(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// A buffer grows only where there is room, and what a client sends that says
// little needs none beyond the first.
func TestRoom(t *testing.T) {
	command := AppendCommand(nil, "ECHO", strings.Repeat("x", 20<<10))
	r := NewReader(bytes.NewReader(slices.Concat(command, command)), Limits{MaxArgs: 10, MaxBulk: 1 << 20, MaxQuery: 1 << 20})
	held := 0
	r.SetRoom(func(bytes int) bool {
		if held+bytes > 100<<10 {
			return false
		}
		held += bytes
		return true
	})
	var args [][]byte
	for args == nil {
		require.NoError(t, r.Fill())
		require.LessOrEqual(t, held, r.Held())
		var err error
		args, err = r.Next()
		require.NoError(t, err)
	}
	require.Len(t, args[1], 20<<10)
	for r.Buffered() < 4 {
		require.NoError(t, r.Fill())
	}
	before := r.Held()
	r.Trim()
	require.Equal(t, before, r.Held(), "a part of a command is there")
	for args = nil; args == nil; {
		require.NoError(t, r.Fill())
		var err error
		args, err = r.Next()
		require.NoError(t, err)
	}
	require.Len(t, args[1], 20<<10)
	r.Trim()
	require.Zero(t, r.Held())

	r = NewReader(bytes.NewReader(command), Limits{MaxArgs: 10, MaxBulk: 1 << 20, MaxQuery: 1 << 20})
	r.SetRoom(func(bytes int) bool { return r.Held()+bytes <= 8<<10 })
	for args = nil; args == nil; args, _ = r.Next() {
		if err := r.Fill(); err != nil {
			require.ErrorIs(t, err, ErrNoRoom)
			require.LessOrEqual(t, r.Buffered(), 8<<10)
			return
		}
	}
	t.Fatal("a command was read that there was no room for")
}

package exchange

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

const script = `# A remark.

> SET k "a b"
< +OK\r\n
>~ SMEMBERS s
< *2\r\n$1\r\na\r\n$1\r\nb\r\n
>? TIME
< *2\r\n$1\r\n1\r\n$1\r\n2\r\n
@conn b
@raw *1\r\n$4\r\nPING\r\n
< +PONG\r\n
! -ERR "no"\x00\r\n
? to show it
@read
@sleep 1ms
> QUIT
< (closed)
`

func TestAScriptIsWrittenAsItWasRead(t *testing.T) {
	s, err := Parse("a.txt", script)
	require.NoError(t, err)
	require.Equal(t, script, s.String())
	answers, explained := s.Counts()
	require.Equal(t, 6, answers)
	require.Equal(t, 1, explained)
	require.Equal(t, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na b\r\n", string(s.Sent()[:29]))
}

func TestMistakesAreNamedByTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"> PING\nPING":             "a:2: \"PING\" begins no step",
		"# x\n< +OK":               "a:2: \"<\" follows no command",
		"> SET \"x":                "a:1: Protocol error: unbalanced quotes in request",
		">":                        "a:1: \"\" is no command",
		"> PING\n< \\q":            "a:2: \"\\\\q\" is not escaped as in a Go string",
		"@sleep long":              "a:1: time: invalid duration",
		"> PING\n< +OK\n! +NO":     "a:1: an answer with ! needs a reason with ?",
		"> PING\n< +OK\n? because": "a:1: an answer with ! needs a reason with ?",
	} {
		_, err := Parse("a", text)
		require.ErrorContains(t, err, want)
	}
}

// oneAnswer serves connections that answer every command alike, QUIT by
// closing.
func oneAnswer(answer string) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r := resp.NewReader(theirs, resp.Limits{MaxArgs: 10, MaxBulk: 100, MaxQuery: 1000})
			for r.Fill() == nil {
				args, err := r.Next()
				if err != nil || args == nil || string(args[0]) == "QUIT" {
					return
				}
				if _, err := io.WriteString(theirs, answer); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}

func TestPlayComparesAsMuchAsTheStepSays(t *testing.T) {
	s, err := Parse("a", strings.Replace(script, "@read\n", "", 1))
	require.NoError(t, err)
	answers, err := s.Play(oneAnswer("*2\r\n$1\r\nb\r\n$1\r\na\r\n"))
	require.NoError(t, err)
	require.Len(t, answers, 5)
	require.Equal(t, Closed, answers[4])
	var lines []int
	for _, d := range s.Compare(answers, false) {
		lines = append(lines, d.Step.Line)
	}
	require.Equal(t, []int{3, 10}, lines, "not the set in another order, nor the time")
	d := s.Compare(answers, true)[1]
	require.Equal(t, "-ERR \"no\"\x00\r\n", d.Want)
	require.Contains(t, d.String(), `want -ERR "no"\x00\r\n`)
}

func TestPairsOfAMapStayTogether(t *testing.T) {
	step := &Step{Order: Free}
	a := "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"
	require.True(t, step.Same(a, "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n"))
	require.False(t, step.Same(a, "%2\r\n+a\r\n:2\r\n+b\r\n:1\r\n"))
	require.False(t, step.Same(a, "*4\r\n+a\r\n:1\r\n+b\r\n:2\r\n"))
}

func TestRecordKeepsWhatIsTheSame(t *testing.T) {
	s, err := Parse("a", "> GET k\n>~ SMEMBERS s\n< *2\\r\\n+a\\r\\n+b\\r\\n\n>? TIME\n")
	require.NoError(t, err)
	s.Record([]string{"$-1\r\n", "*2\r\n+b\r\n+a\r\n", "*2\r\n:1\r\n:2\r\n"})
	require.Equal(t, "> GET k\n< $-1\\r\\n\n>~ SMEMBERS s\n< *2\\r\\n+a\\r\\n+b\\r\\n\n>? TIME\n< *\n", s.String())
}

package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/glob"
)

// A pattern as long as may be is matched, and one byte more is refused.
func TestPatternsAreBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Equal(t, "+OK", c.do("SET key v"))
	require.Equal(t, ":1", c.do("HSET hash field v"))
	fits := strings.Repeat("*", glob.MaxPattern-1)
	for command, want := range map[string]string{
		"KEYS %sy":                          "*1 $3 key",
		"SCAN 0 MATCH %sy":                  "*2 ",
		"HSCAN hash 0 MATCH %sd":            "*2 $5 field $1 v",
		"PUBSUB CHANNELS %s*":               "*0",
		"CONFIG GET %sy":                    "maxmemory-policy",
		"COMMAND LIST FILTERBY PATTERN %sg": "$4 ping",
	} {
		require.Contains(t, c.do(fmt.Sprintf(command, fits)), want, command)
		require.Equal(t, "-ERR pattern of 1025 bytes is too long, 1024 are taken", c.do(fmt.Sprintf(command, fits+"*")), command)
	}
	require.Contains(t, c.do("PSUBSCRIBE "+fits+"**"), "is too long for a channel or a pattern, 1024 are taken")
	require.Contains(t, c.do("PSUBSCRIBE "+fits+"*"), "psubscribe")
}

func TestAChannelsNameIsBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Equal(t, ":0", c.do("PUBLISH "+strings.Repeat("x", maxChannel)+" m"))
	require.Contains(t, c.do("PUBLISH "+strings.Repeat("x", maxChannel+1)+" m"), "-ERR name of 1025 bytes is too long")
}

// Every message is matched with every pattern, so there are not too many, of
// one client and of all.
func TestPatternsOfAllAreBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	for i := range maxPatterns {
		require.Contains(t, c.do(fmt.Sprintf("PSUBSCRIBE %d*", i)), "psubscribe")
	}
	require.Equal(t, "-ERR too many patterns: a connection may have 1000", c.do("PSUBSCRIBE another*"))
	require.Contains(t, c.do("PSUBSCRIBE 1*"), "psubscribe", "it has that one")
	require.Contains(t, c.do("SUBSCRIBE news"), "subscribe", "channels are found without a search")
	require.Contains(t, c.do("PUNSUBSCRIBE 1*"), "punsubscribe")
	require.Contains(t, c.do("PSUBSCRIBE another*"), "psubscribe")

	h, p := &s.hub, must(glob.Compile("*"))
	for i := range maxAllPatterns - maxPatterns {
		require.Equal(t, none, h.add(patterns, fmt.Sprint("p", i), p, nil))
	}
	const all = "too many patterns: this node takes 4096 of all its clients, of 262144 bytes together"
	require.Contains(t, h.add(patterns, "more", p, nil), all)
	require.Equal(t, none, h.add(patterns, "p1", p, nil), "which is there already")
	other := dial(t, s)
	require.Contains(t, other.do("PSUBSCRIBE mine*"), all)
	require.Contains(t, other.do("SUBSCRIBE news"), "subscribe")

	h = &hub{}
	long := strings.Repeat("x", glob.MaxPattern-4)
	n := 0
	for ; h.add(patterns, fmt.Sprintf("%s%4d", long, n), p, nil) == none; n++ {
	}
	require.Equal(t, maxPatternBytes/glob.MaxPattern, n)
	h.remove(patterns, long+"   1", nil)
	require.Equal(t, none, h.add(patterns, "short", p, nil))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTheCommandsOfATransactionAreBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Equal(t, "+OK", c.do("MULTI"))
	lines := make([]string, maxQueued+1)
	for i := range lines {
		lines[i] = "PING"
	}
	c.send(lines...)
	for range maxQueued {
		require.Equal(t, "+QUEUED", c.read())
	}
	require.Contains(t, c.read(), "-ERR transaction is too long: 10000 commands")
	require.Contains(t, c.do("EXEC"), "-EXECABORT")
}

// What CLIENT LIST says of all is short, and CLIENT KILL looks at each
// connection by a few filters only.
func TestWhatClientsSayOfThemselvesIsBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	long := strings.Repeat("x", maxClientName)
	for _, command := range []string{"CLIENT SETNAME ", "HELLO 3 SETNAME ", "CLIENT SETINFO LIB-NAME ", "CLIENT SETINFO LIB-VER "} {
		require.NotContains(t, c.do(command+long), "-ERR", command)
		require.Equal(t, "-"+string(errClientName), c.do(command+long+"x"), command)
	}
	require.Contains(t, c.do("CLIENT LIST"), "name="+long+" ")
	filters, no := newConn(s, &tape{}).killFilters(repeat(10_000, "TYPE", "normal", "ID", "7", "SKIPME", "no"))
	require.Equal(t, none, no)
	require.Len(t, filters, 2)
	require.Equal(t, ":0", c.do("CLIENT KILL ID 1 ID 99"), "the last one counts")
	require.Equal(t, ":1", c.do("CLIENT KILL ID 99 ID 1 SKIPME no"))
	c.closed()
}

func repeat(n int, words ...string) (args [][]byte) {
	for range n {
		for _, w := range words {
			args = append(args, []byte(w))
		}
	}
	return args
}

func TestListsOfNamesAreBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Contains(t, c.do("COMMAND INFO"+strings.Repeat(" get", maxInfos)), "*512 ")
	require.Equal(t, "-ERR COMMAND INFO takes 512 names at most", c.do("COMMAND INFO"+strings.Repeat(" get", maxInfos+1)))
	require.Contains(t, c.do("CONFIG GET"+strings.Repeat(" save", maxSettings)), "*2 $4 save")
	require.Equal(t, "-ERR CONFIG GET takes 128 patterns at most", c.do("CONFIG GET"+strings.Repeat(" save", maxSettings+1)))
}

package command

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// clock is a time of day that a test moves.
type clock struct{ t time.Time }

func newClock() *clock { return &clock{time.UnixMilli(1_700_000_000_000)} }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

// redis is a store that takes command lines.
type redis struct {
	t     require.TestingT
	store *session.Store
	clock *clock
	env   Env
	proto int
	out   Outcome // of the last batch
}

func newRedis(t require.TestingT, change ...func(*session.Config)) *redis {
	c := newClock()
	cfg := session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, Now: c.now,
		TagOf: func(key string) (string, bool) { tag := ring.Tag(key); return tag, len(tag) < len(key) },
	}
	for _, f := range change {
		f(&cfg)
	}
	store, err := session.NewStore(cfg)
	require.NoError(t, err)
	for p := range ring.Partitions {
		store.Open(p)
	}
	return &redis{t: t, store: store, clock: c, proto: 2}
}

// words cuts a line at its spaces. Text in single quotes is one word, and ~ is
// the empty one.
func words(line string) (args [][]byte) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		word, rest, _ := strings.Cut(line, " ")
		if line[0] == '\'' {
			word, rest, _ = strings.Cut(line[1:], "'")
		}
		if word == "~" {
			word = ""
		}
		args, line = append(args, []byte(word)), rest
	}
	return args
}

func (r *redis) run(b *Batch) string {
	b.Proto = r.proto
	if b.Key == "" {
		b.Keys(func(key string) { b.Key = key })
	}
	var err error
	r.out, err = b.Run(r.store, ring.Partition(b.Key), r.env, nil)
	require.NoError(r.t, err)
	return strings.TrimSpace(strings.ReplaceAll(string(r.out.Reply), "\r\n", " "))
}

func (r *redis) do(line string) string { return r.run(&Batch{Commands: [][][]byte{words(line)}}) }

// exchanges runs lines of the form "command -> answer".
func (r *redis) exchanges(t *testing.T, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		cmd, want, ok := strings.Cut(line, " -> ")
		require.True(t, ok, line)
		require.Equal(t, want, r.do(cmd), cmd)
	}
}

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/importer"
	"github.com/seed-95a32959/holdfast/node"
)

// startNode runs a node in this process, and returns a client of its Redis
// endpoint.
func startNode(t *testing.T) *redis.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n, err := node.Start(ctx, node.Config{
		Name: "solo", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", RESP: "127.0.0.1:0", Expect: 1,
	})
	require.NoError(t, err)
	client := redis.NewClient(&redis.Options{Addr: n.View().Member(n.ID()).RESP, Protocol: 2})
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		cancel()
		<-n.Done()
	})
	return client
}

// A node of Holdfast answers what an import asks of a Redis, a cluster's.
func TestImport(t *testing.T) {
	from, to := startNode(t), startNode(t)
	ctx := t.Context()
	require.NoError(t, from.Set(ctx, "session:1", "v", time.Hour).Err())
	require.NoError(t, from.HSet(ctx, "session:2", "f", "v").Err())
	require.NoError(t, from.Set(ctx, "other", "v", 0).Err())
	args := []string{"import", "-to", to.Options().Addr, "-match", "session:*", "redis://" + from.Options().Addr}
	r := holdfast(t, args...)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Empty(t, r.stderr, "it took less than a second")
	require.Regexp(t, `^2 keys moved in .*\n0 were there already, 0 deleted there and not brought back, 0 gone from Redis meanwhile, 0 failed\n$`, r.stdout)
	require.Equal(t, from.PExpireTime(ctx, "session:1").Val(), to.PExpireTime(ctx, "session:1").Val())
	require.EqualValues(t, 2, to.DBSize(ctx).Val())

	r = holdfast(t, args...)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "0 keys moved in ")
	require.Contains(t, r.stdout, "\n2 were there already,")

	ended, cancel := context.WithCancel(ctx)
	cancel()
	var stdout, stderr strings.Builder
	require.Equal(t, exitFailed, run(ended, args, strings.NewReader(""), &stdout, &stderr))
	requireOneLine(t, stderr.String())
}

func TestImportCannotBegin(t *testing.T) {
	r := holdfast(t, "import", "-to", "127.0.0.1:1", "redis://:word@127.0.0.1:1")
	require.Equal(t, exitFailed, r.code)
	require.Empty(t, r.stdout)
	requireOneLine(t, r.stderr)
	require.Contains(t, r.stderr, "holdfast import: redis at 127.0.0.1:1: ")
	require.Contains(t, r.stderr, "connection refused")
	require.NotContains(t, r.stderr, "word")
}

func TestImportLines(t *testing.T) {
	for _, columns := range []int{60, 100} {
		p := importProgress{of: 1_000_000, all: true, look: look{columns: columns}}
		var b strings.Builder
		b.WriteString(p.line(importer.Tally{Moved: 61_200}, time.Second))
		b.WriteString(p.line(importer.Tally{Moved: 122_000, Present: 300, Failed: 2}, 2*time.Second))
		b.WriteString(p.line(importer.Tally{Moved: 1_000_100, Present: 300, Gone: 4, Failed: 2}, 17*time.Second))
		for line := range strings.Lines(b.String()) {
			require.LessOrEqual(t, len(line)-1, columns, line)
		}
		p = importProgress{of: 1_000_000, look: look{columns: columns}}
		b.WriteString(p.line(importer.Tally{Moved: 61_200}, time.Second))
		golden(t, "import-"+map[int]string{60: "60", 100: "100"}[columns]+".txt", b.String())
	}
}

func TestImportListsWhatFailed(t *testing.T) {
	var b strings.Builder
	require.NoError(t, writeImport(&b, &importer.Tally{
		Moved: 1000, Present: 20, Deleted: 3, Gone: 1, Failed: 3,
		Failures: []importer.Failure{{Key: "log\x1b", Type: "stream", Reason: "ERR Bad data format: not supported: a stream"},
			{Key: "jobs", Type: "list", Reason: "ERR Bad data format: not supported: a list"}},
		Reasons: map[string]int64{"ERR Bad data format: not supported: a list": 2, "ERR Bad data format: not supported: a stream": 1},
	}, 2*time.Second))
	golden(t, "import-failed.txt", b.String())
	require.NotContains(t, b.String(), "\x1b")
}

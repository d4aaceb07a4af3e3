package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/internal/upstream/upstreamtest"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

func init() { logging.Disable() } // the library's, which would write to the tests' output

// One node, and the Redis that had the sessions before.
func TestSessionsAreTakenOver(t *testing.T) {
	t.Parallel()
	old := upstreamtest.New(t)
	old.Set("string", "v", time.Hour)
	old.SetValue("hash", rdb.Value{Kind: rdb.Hash, Entries: []rdb.Entry{{Name: "f", Value: "1"}, {Name: "g", Value: "2"}}}, 0)
	old.Set("http", "opaque", time.Hour)
	old.Set("over", "old", time.Hour)
	old.Set("gone", "old", time.Hour)
	old.Set("{u}", "old", time.Hour)
	old.SetPayload("list", "\x01\x01\x01\x61\x0b\x00\x9c\x6f\xef\xe0\x70\x5f\x0d\xeb", 0)
	cfg := loopbackConfig("ada")
	withRedis(&cfg)
	cfg.Upstream = old.Listen(t)
	n := begin(t, cfg)
	agree(t, n)
	c := dialRedis(t, n)

	require.Equal(t, "$1 v", c.do("GET string"))
	require.Contains(t, []string{":3600", ":3599"}, c.do("TTL string"))
	require.Equal(t, ":1", c.do("HSET hash new 3"))
	require.Equal(t, "*6 $1 f $1 1 $1 g $1 2 $3 new $1 3", c.do("HGETALL hash"), "the fields merge")
	require.Equal(t, ":-1", c.do("TTL hash"))
	answer, body := send(t, "GET", n.public("/v1/sessions/http"), "")
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, "opaque", body)
	answer, _ = get(t, n, "none")
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
	for _, key := range []string{"string", "hash", "http"} {
		require.Equal(t, 1, old.Count("DUMP", key), key)
		require.True(t, old.Has(key), "it is not written to")
	}

	require.Equal(t, "+OK", c.do("SET over new PX 20"))
	require.Zero(t, old.Count("DUMP", "over"), "what was there does not matter")
	require.Equal(t, ":0", c.do("DEL gone"))
	answer, _ = send(t, "POST", n.public("/v1/sessions/%7Bu%7D/rotate"), "")
	require.Equal(t, http.StatusCreated, answer.StatusCode)
	eventually(t, "every end here is one there", func() bool { return !old.Has("over") && !old.Has("gone") && !old.Has("{u}") })
	require.Equal(t, "*3 $-1 $-1 $-1", c.do("MGET over gone {u}"))
	require.Zero(t, old.Count("DUMP", "gone"), "its tombstone says that it has ended")

	require.Equal(t, "$-1", c.do("GET list"))
	stats := n.operator.Stats()
	require.EqualValues(t, 4, stats.Upstream.Taken)
	require.EqualValues(t, 4, stats.Upstream.Lately)
	require.Zero(t, stats.Upstream.Ending)
	require.Empty(t, stats.Upstream.Error)
	require.EqualValues(t, 1, stats.Counters["upstream_unsupported"])
	require.EqualValues(t, 3, stats.Counters["upstream_deleted"])
}

// Every node asks for what it owns, whoever was asked by the client, and its
// successor has the copy.
func TestOwnersTakeOver(t *testing.T) {
	t.Parallel()
	old := upstreamtest.New(t)
	url := old.Listen(t)
	nodes := three(t, withRedis, func(c *Config) { c.Upstream, c.Ack = url, session.AckReplica })
	const keys = 60
	for i := range keys {
		old.Set(fmt.Sprint("k", i), fmt.Sprint("v", i), time.Hour)
	}
	var clients []*redisClient
	for _, n := range nodes {
		clients = append(clients, dialRedis(t, n))
	}
	for i := range keys {
		key, want := fmt.Sprint("k", i), fmt.Sprint("v", i)
		require.Equal(t, fmt.Sprintf("$%d %s", len(want), want), clients[i%3].do("GET "+key))
		p := ring.Partition(key)
		for _, n := range nodes {
			if n.View().Table.Owner(p) != n.id.Name {
				continue
			}
			for _, other := range nodes {
				if other == n || slices.Contains(n.View().CopyHolders(p), other.id.String()) {
					require.NotNil(t, other.store.Peek(key), "%s at %s", key, other.id.Name)
				}
			}
		}
	}
	total := int64(0)
	for _, n := range nodes {
		taken := n.operator.Stats().Upstream.Taken
		require.Positive(t, taken, n.id.Name)
		total += taken
	}
	require.EqualValues(t, keys, total, "each once")
}

// A Redis that is not there is a miss, and no client sees more of it.
func TestAnUpstreamThatIsGone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	cfg := loopbackConfig("ada")
	withRedis(&cfg)
	cfg.Upstream = "redis://" + l.Addr().String()
	n := begin(t, cfg)
	c := dialRedis(t, n)
	for range 10 {
		require.Equal(t, "$-1", c.do("GET k"))
	}
	answer, _ := get(t, n, "k")
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
	require.Equal(t, "+OK", c.do("SET k v"))
	require.Equal(t, ":1", c.do("DEL k"))
	stats := n.operator.Stats()
	require.NotEmpty(t, stats.Upstream.Error)
	require.Positive(t, stats.Counters["upstream_failed"])
	require.Positive(t, stats.Counters["upstream_skipped"])
}

func TestUpstreamsThatCannotWork(t *testing.T) {
	t.Parallel()
	cfg := loopbackConfig("ada")
	cfg.Upstream = "redis://user:secret@host/x"
	_, err := Start(t.Context(), cfg)
	require.EqualError(t, err, `Config.Upstream: the URL of Redis, "redis://user:xxxxx@host/x": "x" is no number of a database, and it must be redis://[user:password@]host[:port][/db], or rediss:// for TLS, with @ : / in a password as %40 %3A %2F`)
	cfg.Upstream, cfg.Role = "redis://host", RoleRouter
	_, err = Start(t.Context(), cfg)
	require.EqualError(t, err, "Config.Upstream: is for nodes: a router forwards, and holds nothing")
}

// Debian's redis-server, with a password that the URL does not have.
func TestSessionsOfARedisServer(t *testing.T) {
	t.Parallel()
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, server, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--requirepass", "secret", "--databases", "2")
	cmd.Dir = t.TempDir()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	eventually(t, "redis-server listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	old := &redisClient{t, conn, resp.NewReplyReader(conn, resp.ReplyLimits{})}
	require.Equal(t, "+OK", old.do("AUTH secret"))
	require.Equal(t, "+OK", old.do("SELECT 1"))
	old.do("SET k v EX 1000")
	old.do("HSET h f 1")
	old.do("ZADD z 1.5 a")
	old.do("SADD s a b")
	old.do("RPUSH l a")
	old.do("SET gone v")

	cfg := loopbackConfig("ada")
	withRedis(&cfg)
	cfg.Upstream, cfg.UpstreamPassword = "redis://old/1", "secret"
	cfg.Network = toSocket{network.Host{}, socket}
	n := begin(t, cfg)
	c := dialRedis(t, n)
	require.Equal(t, "$1 v", c.do("GET k"))
	require.Contains(t, []string{":1000", ":999"}, c.do("TTL k"))
	require.Equal(t, "$1 1", c.do("HGET h f"))
	require.Equal(t, "$3 1.5", c.do("ZSCORE z a"))
	require.Equal(t, ":1", c.do("SISMEMBER s b"))
	require.Equal(t, "+none", c.do("TYPE l"))
	require.Equal(t, ":1", c.do("DEL k"))
	require.Equal(t, ":0", c.do("DEL gone"))
	eventually(t, "every end here is one there", func() bool { return old.do("EXISTS k gone") == ":0" })
	require.Equal(t, ":1", old.do("EXISTS h"), "and nothing else is written")
	require.EqualValues(t, 1, n.operator.Stats().Counters["upstream_unsupported"])
}

// toSocket is the host's network, on which the Redis called old is a socket.
type toSocket struct {
	Network
	path string
}

func (n toSocket) Dial(ctx context.Context, address string) (net.Conn, error) {
	if address != "old:6379" {
		return n.Network.Dial(ctx, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", n.path)
}

// The crash of a node ends no take-over where its process is known to have ended,
// and who follows it knows what it has confirmed. Where it may be alive (its
// connections did not end in order) nothing is taken over, for it may know more.
func TestTakeOversGoOnAfterACrash(t *testing.T) {
	t.Parallel()
	old := upstreamtest.New(t)
	url := old.Listen(t)
	nodes := three(t, withRedis, func(c *Config) { c.Upstream = url })
	c := dialRedis(t, nodes[0])
	for i := range 20 {
		old.Set(fmt.Sprint("before-", i), "v", time.Hour)
		require.Equal(t, "$1 v", c.do(fmt.Sprint("GET before-", i)))
		require.Equal(t, ":1", c.do(fmt.Sprint("DEL before-", i)))
		old.Set(fmt.Sprint("before-", i), "old", time.Hour) // as if the delete there were lost
	}
	stand(t, nodes...)
	nodes[2].stop(errKilled, nil)
	agree(t, nodes[:2]...)
	n := 0
	mayBeAlive := func() bool { return nodes[0].View().Misses(nodes[0].id) || nodes[1].View().Misses(nodes[1].id) }
	eventually(t, "what is only there is taken over again", func() bool {
		key := fmt.Sprint("after-", n)
		n++
		old.Set(key, "v", time.Hour)
		return c.do("GET "+key) == "$1 v" || mayBeAlive()
	})
	for i := range 20 {
		require.NotContains(t, c.do(fmt.Sprint("GET before-", i)), "old", "a logout sticks")
	}
	require.Less(t, n, 100, "one or the other comes about soon")
}

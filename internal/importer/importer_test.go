package importer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/importer"
	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
)

func TestMain(m *testing.M) {
	logging.Disable()
	// The library's, which looks once a second whether its pool was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// startHoldfast runs a node, and returns a client of its Redis endpoint.
func startHoldfast(t *testing.T, change func(*node.Config)) *redis.Client {
	t.Helper()
	cfg := node.Config{
		Name: "solo", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", RESP: "127.0.0.1:0", Expect: 1,
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n, err := node.Start(ctx, cfg)
	require.NoError(t, err)
	client := redis.NewClient(&redis.Options{Addr: n.View().Member(n.ID()).RESP, Protocol: 2, Password: cfg.RESPPassword})
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		cancel()
		<-n.Done()
	})
	return client
}

// joined runs two nodes of one cluster, and returns a client of the first and
// what kills the second.
func joined(t *testing.T) (first *redis.Client, kill func()) {
	t.Helper()
	gossip := ""
	start := func(name string, expect int) (*node.Node, func()) {
		cfg := node.Config{Name: name, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", RESP: "127.0.0.1:0", Expect: expect}
		if gossip != "" {
			cfg.Join = []string{gossip}
		}
		ctx, cancel := context.WithCancel(context.Background())
		n, err := node.Start(ctx, cfg)
		require.NoError(t, err)
		kill := func() { cancel(); <-n.Done() }
		t.Cleanup(kill)
		return n, kill
	}
	a, _ := start("a", 1)
	gossip = a.View().Member(a.ID()).Gossip
	b, kill := start("b", 0)
	first = redis.NewClient(&redis.Options{Addr: a.View().Member(a.ID()).RESP, Protocol: 2})
	t.Cleanup(func() { require.NoError(t, first.Close()) })
	require.Eventually(t, func() bool { // each owns its part, and has the copies of the other
		for _, n := range []*node.Node{a, b} {
			resp, err := http.Get("http://" + n.View().Member(n.ID()).Admin + "/readyz")
			if err != nil {
				return false
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || len(n.View().Nodes()) != 2 {
				return false
			}
		}
		return true
	}, 15*time.Second, 5*time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
	return first, kill
}

// Each owner is given its keys, and its successor when it dies.
func TestAnOwnerDies(t *testing.T) {
	to, kill := joined(t)
	from := startFake(t)
	from.page = 1000 // so that every batch has keys of both
	for i := range 2000 {
		from.keys[fmt.Sprint("k", i)] = text("v")
	}
	var dumps atomic.Int32
	from.says("DUMP", func(args []string) string {
		if dumps.Add(1) == 500 {
			kill()
		}
		return from.usual(args)
	})
	cfg := config(from.url(), to)
	cfg.Patience = 15 * time.Second // the library asks who owns what once a minute
	tally, err := moved(t, cfg)
	require.NoError(t, err)
	require.Zero(t, tally.Failed, "%v", tally.Reasons)
	require.EqualValues(t, 2000, tally.Done())
}

func config(from string, to *redis.Client) importer.Config {
	return importer.Config{From: from, To: to.Options().Addr, Timeout: 5 * time.Second, Patience: 5 * time.Second}
}

// moved runs one import to its end.
func moved(t *testing.T, cfg importer.Config) (importer.Tally, error) {
	t.Helper()
	m, err := importer.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	err = m.Run(t.Context())
	return m.Tally(), err
}

func entries(names ...string) (list []rdb.Entry) {
	for i, name := range names {
		list = append(list, rdb.Entry{Name: name, Value: "v" + name, Score: float64(i)})
	}
	return list
}

func collection(kind string, k rdb.Kind, names ...string) fakeKey {
	v := rdb.Value{Kind: k, Entries: entries(names...)}
	return fakeKey{kind, string(v.Append(nil)), -1}
}

// Of redis-server 7.0.15.
const (
	aList   = "\x12\x01\x02\x10\x10\x00\x00\x00\x03\x00\x81a\x02\x81b\x02\x81c\x02\xff\x0a\x00\xc8\x18\xb9\x0c\x953R\x9e"
	aStream = "\x13\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x1d\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff\x01\x01\x01\x01\x01\x00\x00\x01\x00\x0a\x00\xffU\xabbj\xc05\xdb"
)

func TestMovesWhatHoldfastHasAndListsWhatItHasNot(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	end := time.Now().Add(time.Hour).UnixMilli()
	from.keys = map[string]fakeKey{
		"str": text("v"), "hash": collection("hash", rdb.Hash, "a", "b"), "set": collection("set", rdb.Set, "a", "b"),
		"zset": collection("zset", rdb.SortedSet, "a", "b"), "jobs": {"list", aList, -1}, "log": {"stream", aStream, -1},
		"ends": {"string", text("soon").payload, end}, "ended": {"string", text("past").payload, time.Now().Add(-time.Hour).UnixMilli()},
		"": text("no key"),
	}
	tally, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	ctx := t.Context()
	require.Equal(t, "v", to.Get(ctx, "str").Val())
	require.Equal(t, map[string]string{"a": "va", "b": "vb"}, to.HGetAll(ctx, "hash").Val())
	require.Equal(t, []string{"a", "b"}, to.SMembers(ctx, "set").Val())
	require.Equal(t, []redis.Z{{Score: 0, Member: "a"}, {Score: 1, Member: "b"}}, to.ZRangeWithScores(ctx, "zset", 0, -1).Val())
	require.EqualValues(t, -1, to.PExpireTime(ctx, "str").Val())
	require.Equal(t, end, to.PExpireTime(ctx, "ends").Val().Milliseconds(), "it ends when it would have ended at Redis")
	require.Zero(t, to.Exists(ctx, "ended", "jobs", "log").Val())

	require.EqualValues(t, 9, tally.Done())
	require.EqualValues(t, 6, tally.Moved, "the one that had ended among them")
	require.EqualValues(t, 3, tally.Failed)
	require.ElementsMatch(t, []importer.Failure{
		{Key: "jobs", Type: "list", Reason: "ERR Bad data format: not supported: a list"},
		{Key: "log", Type: "stream", Reason: "ERR Bad data format: not supported: a stream"},
		{Key: "", Type: "string", Reason: "ERR key is empty or longer than 512 bytes"},
	}, tally.Failures)
	require.EqualValues(t, 1, tally.Reasons["ERR Bad data format: not supported: a list"])
}

func TestASecondRunUndoesNothing(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	from.keys = map[string]fakeKey{"same": text("v"), "changed": text("old"), "ended": text("v"), "set": collection("set", rdb.Set, "a")}
	_, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, to.Set(ctx, "changed", "new", 0).Err())
	require.NoError(t, to.Del(ctx, "ended", "set").Err())
	from.keys["late"] = text("v")

	tally, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	require.EqualValues(t, 1, tally.Moved)
	require.EqualValues(t, 2, tally.Present)
	require.EqualValues(t, 2, tally.Deleted)
	require.Zero(t, tally.Failed)
	require.Equal(t, "new", to.Get(ctx, "changed").Val())
	require.Equal(t, "v", to.Get(ctx, "late").Val())
	require.Zero(t, to.Exists(ctx, "ended", "set").Val())

	cfg := config(from.url(), to)
	cfg.Replace = true
	tally, err = moved(t, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 5, tally.Moved)
	require.Equal(t, "old", to.Get(ctx, "changed").Val())
	require.EqualValues(t, 2, to.Exists(ctx, "ended", "set").Val())
}

// Redis 6 tells what is left. A key may end a little early, and never late.
func TestEndsBeforeRedis7(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	from.says("PEXPIRETIME", func([]string) string { return "-ERR unknown command `pexpiretime`, with args beginning with: \r\n" })
	from.says("PTTL", func(args []string) string {
		left := from.usual(args)
		for said := time.Now(); time.Since(said) < 3*time.Millisecond; { // the answer has a way to go
		}
		return left
	})
	end := time.Now().Add(time.Hour).UnixMilli()
	from.keys = map[string]fakeKey{"ends": {"string", text("v").payload, end}, "stays": text("v")}
	begin := time.Now()
	_, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	got := to.PExpireTime(t.Context(), "ends").Val().Milliseconds()
	require.LessOrEqual(t, got, end)
	require.GreaterOrEqual(t, got, end-time.Since(begin).Milliseconds()-1)
	require.EqualValues(t, -1, to.PExpireTime(t.Context(), "stays").Val())
}

// A key may go between the questions for it, the first of a batch too.
func TestKeysThatGoMeanwhile(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	from.keys = map[string]fakeKey{"a": text("v"), "b": text("v"), "c": text("v")}
	from.says("DUMP", func(args []string) string {
		if args[1] == "a" {
			return "$-1\r\n"
		}
		return from.usual(args)
	})
	from.says("PEXPIRETIME", func(args []string) string {
		if args[1] != "c" {
			return ":-2\r\n"
		}
		return from.usual(args)
	})
	tally, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	require.EqualValues(t, 2, tally.Gone)
	require.EqualValues(t, 1, tally.Moved)
	require.EqualValues(t, 1, to.Exists(t.Context(), "a", "b", "c").Val())
}

// What passes at Redis costs no key.
func TestTriesAgainWhatPasses(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	for i := range 20 {
		from.keys[fmt.Sprint("k", i)] = text("v")
	}
	var scans, dumps atomic.Int32
	from.says("SCAN", func(args []string) string {
		if scans.Add(1) == 2 {
			return "-LOADING Redis is loading the dataset in memory\r\n"
		}
		return from.usual(args)
	})
	from.says("DUMP", func(args []string) string {
		switch n := dumps.Add(1); {
		case n == 5:
			from.closeAll()
			return ""
		case n%3 == 0:
			return "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"
		}
		return from.usual(args)
	})
	cfg := config(from.url(), to)
	cfg.Patience = 5 * time.Second // of which a 128th is waited first
	cfg.Connections = 2
	tally, err := moved(t, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 20, tally.Done())
	require.Zero(t, tally.Failed)
	require.EqualValues(t, 20, to.DBSize(t.Context()).Val())
}

// A Redis that is silent, and one that stays broken, end the run in time.
func TestGivesUpWhatDoesNotPass(t *testing.T) {
	to := startHoldfast(t, nil)
	for answer, says := range map[string]string{
		"": "redis: no answer within 500ms: DUMP: ",
		"-NOPERM User reader has no permissions to run the 'dump' command\r\n": "redis: DUMP: NOPERM User reader",
		"-CLUSTERDOWN The cluster is down\r\n":                                 "redis: DUMP: CLUSTERDOWN The cluster is down (tried again for 50ms)",
		"-NOAUTH Authentication required.\r\n":                                 "redis: DUMP: NOAUTH",
		"-NOPERM No permissions to access a key\r\n":                           "", // of the keys alone
		"-MOVED 1 127.0.0.1:1\r\n":                                             "", // it is no cluster
	} {
		from := startFake(t)
		for i := range 10 {
			from.keys[fmt.Sprint("k", i)] = text("v")
		}
		from.says("DUMP", func([]string) string { return answer })
		cfg := config(from.url(), to)
		cfg.Patience = 50 * time.Millisecond
		if answer == "" {
			cfg.Timeout = 500 * time.Millisecond
		}
		m, err := importer.Open(t.Context(), cfg)
		require.NoError(t, err)
		if answer == "" {
			from.says("PEXPIRETIME", func([]string) string { return "" })
		}
		begin := time.Now()
		err = m.Run(t.Context())
		require.Less(t, time.Since(begin), 10*time.Second)
		tally := m.Tally()
		require.NoError(t, m.Close())
		if says == "" {
			require.NoError(t, err)
			require.EqualValues(t, 10, tally.Failed)
			require.Len(t, tally.Reasons, 1)
			continue
		}
		require.ErrorContains(t, err, says)
		require.Zero(t, tally.Done())
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	to, from := startHoldfast(t, func(c *node.Config) { c.RESPPassword = "swordfish" }), startFake(t)
	from.says("AUTH", func(args []string) string {
		if args[len(args)-1] != "right" {
			return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
		}
		return "+OK\r\n"
	})
	silent := startFake(t)
	silent.says("INFO", func([]string) string { return "" })
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	good := config(from.url(), to)
	good.ToPassword, good.FromPassword = "swordfish", "right"
	m, err := importer.Open(t.Context(), good)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	for says, change := range map[string]func(c *importer.Config){
		"redis at " + from.addr() + ": INFO cluster: WRONGPASS":           func(c *importer.Config) { c.FromPassword = "wrong" },
		"redis at " + nobody.Addr().String() + ": INFO cluster: dial tcp": func(c *importer.Config) { c.From = "redis://" + nobody.Addr().String() },
		"redis at " + silent.addr() + ": no answer within 50ms: INFO": func(c *importer.Config) {
			c.From, c.FromPassword, c.Timeout = silent.url(), "", 50*time.Millisecond
		},
		"holdfast at " + c(to) + ": INFO server: WRONGPASS":                                 func(c *importer.Config) { c.ToPassword = "wrong" },
		"holdfast at " + c(to) + ": INFO server: NOAUTH":                                    func(c *importer.Config) { c.ToPassword = "" },
		"holdfast at " + silent.addr() + ": no answer within 50ms: INFO":                    func(c *importer.Config) { c.To, c.ToPassword, c.Timeout = silent.addr(), "", 50*time.Millisecond },
		"holdfast at " + nobody.Addr().String() + ": INFO server: dial tcp":                 func(c *importer.Config) { c.To = nobody.Addr().String() },
		"holdfast at " + from.addr() + ": it answers, and is no node of Holdfast":           func(c *importer.Config) { c.To, c.ToPassword = from.addr(), "right" },
		`the URL of Redis, "http://u:xxxxx@h": it must be redis://`:                         func(c *importer.Config) { c.From = "http://u:geheim@h" },
		`the URL of Redis cannot be read: it must be redis://`:                              func(c *importer.Config) { c.From = "redis://u:gehei%m@h" },
		`the URL of Redis, "redis://u:xxxxx@h/one": "one" is no number of a database, and `: func(c *importer.Config) { c.From = "redis://u:geheim@h/one" },
	} {
		cfg := good
		change(&cfg)
		_, err := importer.Open(t.Context(), cfg)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "gehei")
	}
}

func c(client *redis.Client) string { return client.Options().Addr }

// What was begun is finished, and nothing else.
func TestStopsInOrder(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	for i := range 1000 {
		from.keys[fmt.Sprint("k", i)] = text("v")
	}
	ctx, cancel := context.WithCancel(t.Context())
	from.says("DUMP", func(args []string) string {
		cancel()
		return from.usual(args)
	})
	m, err := importer.Open(ctx, config(from.url(), to))
	require.NoError(t, err)
	defer m.Close()
	require.ErrorIs(t, m.Run(ctx), context.Canceled)
	tally := m.Tally()
	require.Positive(t, tally.Moved)
	require.Less(t, tally.Moved, int64(1000))
	require.Equal(t, tally.Moved, to.DBSize(t.Context()).Val(), "what it counts is what Holdfast has")
}

func TestKeepsToItsRate(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	for i := range 250 {
		from.keys[fmt.Sprint("k", i)] = text("v")
	}
	cfg := config(from.url(), to)
	cfg.Rate = 1000
	begin := time.Now()
	tally, err := moved(t, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 250, tally.Moved)
	require.Greater(t, time.Since(begin), 140*time.Millisecond, "a tenth of a second's keys go at once")
}

// A value that the node would close the connection for is not sent.
func TestLargeValues(t *testing.T) {
	to, from := startHoldfast(t, func(c *node.Config) { c.MaxSession = 1 << 16 }), startFake(t)
	from.keys = map[string]fakeKey{"a": text("v"), "b": text(strings.Repeat("x", 1<<16)), "c": text("v")}
	for i := range 100 { // more than one pipeline holds
		from.keys[fmt.Sprint("large", i)] = text(strings.Repeat("x", 60_000))
	}
	tally, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	require.EqualValues(t, 102, tally.Moved)
	require.Equal(t, []importer.Failure{{Key: "b", Type: "string", Reason: "its payload has 65552 bytes, and 65536 are accepted (-max-session of the nodes)"}}, tally.Failures)
}

func TestListsSomeOfManyFailures(t *testing.T) {
	to, from := startHoldfast(t, nil), startFake(t)
	for i := range 300 {
		from.keys[fmt.Sprint("k", i)] = fakeKey{"list", aList, -1}
	}
	var types atomic.Int32
	from.says("TYPE", func(args []string) string { types.Add(1); return from.usual(args) })
	from.says("DUMP", func(args []string) string { return "-ERR nothing about " + args[1] + "\r\n" })
	tally, err := moved(t, config(from.url(), to))
	require.NoError(t, err)
	require.EqualValues(t, 300, tally.Failed)
	require.Len(t, tally.Failures, 100)
	require.Len(t, tally.Reasons, 101)
	require.EqualValues(t, 200, tally.Reasons["other reasons"])
	require.LessOrEqual(t, types.Load(), int32(100+8))
}

// The keys of all masters are moved, each asked of its own.
func TestRedisCluster(t *testing.T) {
	to := startHoldfast(t, nil)
	masters := []*fakeRedis{startFake(t), startFake(t)}
	for i := range 200 {
		key := fmt.Sprint("k", i)
		masters[ring.Slot(key)/8192].keys[key] = text(key)
	}
	var slots []string
	for i, m := range masters {
		host, port, err := net.SplitHostPort(m.addr())
		require.NoError(t, err)
		slots = append(slots, list(fmt.Sprintf(":%d\r\n", 8192*i), fmt.Sprintf(":%d\r\n", 8192*i+8191), list(bulk(host), ":"+port+"\r\n", bulk(fmt.Sprint("id", i)))))
	}
	for _, m := range masters {
		m.says("INFO", func([]string) string { return bulk("# Cluster\r\ncluster_enabled:1\r\n") })
		m.says("CLUSTER", func([]string) string { return list(slots...) })
	}
	m, err := importer.Open(t.Context(), config(masters[1].url(), to))
	require.NoError(t, err)
	defer m.Close()
	require.EqualValues(t, 200, m.Total())
	require.NoError(t, m.Run(t.Context()))
	tally := m.Tally()
	require.EqualValues(t, 200, tally.Moved, "%+v", tally)
	require.Equal(t, "k7", to.Get(t.Context(), "k7").Val())
}

func TestTLS(t *testing.T) {
	to := startHoldfast(t, nil)
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	from := startFakeTLS(t, &tls.Config{Certificates: server.TLS.Certificates})
	from.keys["k"] = text("v")
	cfg := config("rediss://"+from.addr(), to)
	_, err := importer.Open(t.Context(), cfg)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	for _, c := range []*tls.Config{{RootCAs: pool}, {InsecureSkipVerify: true}} {
		cfg.TLS, cfg.Replace = c, true
		tally, err := moved(t, cfg)
		require.NoError(t, err)
		require.EqualValues(t, 1, tally.Moved)
	}
}

// With a real Redis, in each form that it keeps a value in.
func TestRealRedis(t *testing.T) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("REQUIRE_ALL=1, and redis-server is not installed")
		}
		t.Skip("redis-server is not installed")
	}
	to := startHoldfast(t, nil)
	socket := t.TempDir() + "/redis.sock"
	server := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--requirepass", "swordfish")
	require.NoError(t, server.Start())
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }() // it was killed, and says so
	require.Eventually(t, func() bool { _, err := os.Stat(socket); return err == nil }, 10*time.Second, 5*time.Millisecond)
	from := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Password: "swordfish", Protocol: 2, DB: 3})
	defer from.Close()
	ctx := t.Context()
	var large []any
	for i := range 1000 {
		large = append(large, fmt.Sprintf("member-%d", i), fmt.Sprintf("value-%d", i))
	}
	end := time.Now().Add(time.Hour).UnixMilli()
	_, err = from.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "str", strings.Repeat("compressible ", 100), 0)
		p.PExpireAt(ctx, "str", time.UnixMilli(end))
		p.Set(ctx, "number", 12345, 0)
		p.HSet(ctx, "hash", "a", "1")
		p.HSet(ctx, "hash:large", large...)
		p.SAdd(ctx, "set:numbers", 1, 2, 3)
		p.SAdd(ctx, "set", "a", "b")
		p.SAdd(ctx, "set:large", large...)
		p.ZAdd(ctx, "zset", redis.Z{Score: 1.5, Member: "a"}, redis.Z{Score: -2, Member: "b"})
		p.RPush(ctx, "jobs", 1, 2, 3)
		p.XAdd(ctx, &redis.XAddArgs{Stream: "log", Values: []string{"a", "b"}})
		return nil
	})
	require.NoError(t, err)

	door := startProxy(t, "unix", socket) // the import goes by TCP
	tally, err := moved(t, config("redis://:swordfish@"+door.addr()+"/3", to))
	require.NoError(t, err)
	require.EqualValues(t, 8, tally.Moved)
	require.Len(t, tally.Failures, 2)
	for _, key := range []string{"str", "number"} {
		require.Equal(t, from.Get(ctx, key).Val(), to.Get(ctx, key).Val())
	}
	for _, key := range []string{"hash", "hash:large"} {
		require.Equal(t, from.HGetAll(ctx, key).Val(), to.HGetAll(ctx, key).Val())
	}
	for _, key := range []string{"set", "set:numbers", "set:large"} {
		require.ElementsMatch(t, from.SMembers(ctx, key).Val(), to.SMembers(ctx, key).Val())
	}
	require.Equal(t, from.ZRangeWithScores(ctx, "zset", 0, -1).Val(), to.ZRangeWithScores(ctx, "zset", 0, -1).Val())
	require.Equal(t, end, to.PExpireTime(ctx, "str").Val().Milliseconds())

	cfg := config("redis://:swordfish@"+door.addr()+"/3", to)
	cfg.Match = "set*"
	tally, err = moved(t, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 3, tally.Done())
	require.EqualValues(t, 3, tally.Present)
}

// proxy passes bytes on, until its connections are closed.
type proxy struct {
	listener net.Listener
	done     sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func startProxy(t *testing.T, network, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l}
	p.done.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(network, to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
				p.done.Go(func() { pass(from, to) })
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.closeAll()
		p.done.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func pass(from, to net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

// asHoldfast has a fake answer as a node of Holdfast would, that takes every
// key and counts it. owners says who has which half of the slots.
func asHoldfast(t *testing.T, f *fakeRedis, taken *atomic.Int32, owners func() [2]string) {
	f.says("INFO", func([]string) string { return bulk("# Server\r\nholdfast_version:test\r\n") })
	f.says("CONFIG", func([]string) string { return list(bulk("proto-max-bulk-len"), bulk("1048576")) })
	f.says("PING", func([]string) string { return "+PONG\r\n" })
	f.says("RESTORE", func([]string) string { taken.Add(1); return "+OK\r\n" })
	f.says("CLUSTER", func([]string) string {
		var slots []string
		for i, addr := range owners() {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Error(err)
			}
			slots = append(slots, list(fmt.Sprintf(":%d\r\n", 8192*i), fmt.Sprintf(":%d\r\n", 8192*i+8191), list(bulk(host), ":"+port+"\r\n", bulk(addr))))
		}
		return list(slots...)
	})
}

// The address that a node gives itself may be none that is reached from here.
func TestANodeBehindAForwardedPort(t *testing.T) {
	from, door := startFake(t), startFake(t)
	from.keys = map[string]fakeKey{"a": text("v"), "b": text("v"), "c": text("v")}
	var taken atomic.Int32
	asHoldfast(t, door, &taken, func() [2]string { return [2]string{"127.0.0.1:1", "127.0.0.1:1"} })
	tally, err := moved(t, importer.Config{From: from.url(), To: door.addr(), Timeout: 5 * time.Second})
	require.NoError(t, err)
	require.EqualValues(t, 3, tally.Moved)
	require.EqualValues(t, 3, taken.Load())
}

// Every batch has keys of the owner that dies, so all workers stand before it:
// none of them comes to hear from another node that it was succeeded.
func TestAsksWhoSucceededAnOwner(t *testing.T) {
	from, a, b := startFake(t), startFake(t), startFake(t)
	from.page = 1000
	for i := range 4000 {
		from.keys[fmt.Sprint("k", i)] = text("v")
	}
	var taken atomic.Int32
	var dead atomic.Bool
	owners := func() [2]string {
		if dead.Load() {
			return [2]string{a.addr(), a.addr()}
		}
		return [2]string{a.addr(), b.addr()}
	}
	asHoldfast(t, a, &taken, owners)
	asHoldfast(t, b, &taken, owners)
	b.says("RESTORE", func([]string) string {
		dead.Store(true)
		b.listener.Close()
		b.closeAll()
		return ""
	})
	tally, err := moved(t, importer.Config{From: from.url(), To: a.addr(), Timeout: 5 * time.Second, Patience: 5 * time.Second})
	require.NoError(t, err)
	require.EqualValues(t, 4000, tally.Moved)
	require.EqualValues(t, 4000, taken.Load())
}

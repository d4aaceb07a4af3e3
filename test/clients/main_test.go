package clients

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/test/clients/cluster"
)

var (
	basePort   = flag.Int("base-port", 27000, "first of the 30 loopback `ports` that the nodes take")
	docs       = flag.String("docs", "", "Markdown `file` to write the table to, between its markers, when all has passed")
	requireAll = os.Getenv("REQUIRE_ALL") == "1"
)

// trial is the test of one client or library.
type trial struct {
	*testing.T
	*cluster.Cluster
	ctx context.Context
	row *row
}

// did notes what was shown.
func (t *trial) did(what string) { t.row.exercised = append(t.row.exercised, what) }

// absent ends a trial that cannot be held on this machine.
func (t *trial) absent(why string) {
	if requireAll {
		t.Fatalf("REQUIRE_ALL=1, and %s", why)
	}
	t.row.skipped = why
	t.Skip(why)
}

// killOwner kills the node that owns a key, when all copies are in place.
func (t *trial) killOwner(key string) {
	t.Helper()
	require.NoError(t, t.Copied(t.ctx))
	owner, err := t.Owner(t.ctx, key)
	require.NoError(t, err)
	require.NoError(t, t.Kill(owner))
}

// owned makes a key with a prefix that node i owns.
func (t *trial) owned(prefix string, i int) string {
	t.Helper()
	for n := range 1000 {
		key := fmt.Sprintf("%s%s-%d", prefix, strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")), n)
		owner, err := t.Owner(t.ctx, key)
		require.NoError(t, err)
		if owner == i {
			return key
		}
	}
	t.Fatalf("node %d owns nothing", i)
	return ""
}

var trials = []struct {
	library string
	version func() string
	run     func(*trial)
}{
	{"go-redis, Client", module("github.com/redis/go-redis/v9"), goRedisPlain},
	{"go-redis, ClusterClient", module("github.com/redis/go-redis/v9"), goRedisCluster},
	{"rueidis, cluster", module("github.com/redis/rueidis"), rueidisCluster},
	{"scs with goredisstore", module("github.com/alexedwards/scs/goredisstore"), scsGoRedis},
	{"scs with redisstore (redigo)", module("github.com/alexedwards/scs/redisstore"), scsRedigo},
	{"gorilla/sessions with rbcervilla/redisstore", module("github.com/rbcervilla/redisstore/v9"), gorillaGoRedis},
	{"gorilla/sessions with boj/redistore", module("github.com/boj/redistore"), gorillaRedigo},
	{"redis-cli", program("redis-cli"), redisCLI},
	{"redis-cli -c, --cluster check", program("redis-cli"), redisCLICluster},
	{"redis-benchmark, plain and --cluster", program("redis-benchmark"), redisBenchmark},
	{"ioredis", pack("ioredis"), javaScript("ioredis.mjs")},
	{"ioredis, Cluster", pack("ioredis"), javaScript("ioredis-cluster.mjs")},
	{"node-redis", pack("redis"), javaScript("node-redis.mjs")},
	{"node-redis, cluster", pack("redis"), javaScript("node-redis-cluster.mjs")},
	{"express-session with connect-redis", pack("connect-redis"), javaScript("express-session.mjs")},
	{"express-session with connect-redis, cluster", pack("connect-redis"), javaScript("express-session-cluster.mjs")},
	{"Spring Session, RedisSessionRepository", commands, played("spring.txt")},
	{"Spring Session, RedisIndexedSessionRepository", commands, played("spring-indexed.txt")},
	{"ASP.NET Core session (StackExchange.Redis)", commands, played("aspnet.txt")},
	{"phpredis session handler, with locks", commands, played("phpredis.txt")},
	{"Django cache sessions (redis-py)", commands, played("django.txt")},
	{"Laravel sessions, cache and locks", commands, played("laravel.txt")},
	{"Rails, redis-rack and redis-session-store", commands, played("rails.txt")},
	{"Symfony RedisSessionHandler, Flask-Session", commands, played("symfony-flask.txt")},
}

// empty deletes what earlier trials have left, so that no key of theirs expires
// under the eyes of one that listens.
func empty(t *testing.T, c *cluster.Cluster) {
	cl := redis.NewClient(&redis.Options{Addr: c.Address(0)})
	defer cl.Close()
	require.NoError(t, cl.FlushAll(t.Context()).Err())
}

// commands stands for the version where no library runs.
func commands() string { return "its commands" }

func TestClients(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, t.TempDir(), *basePort)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	var rows []*row
	for _, tr := range trials {
		r := &row{library: tr.library}
		passed := t.Run(tr.library, func(t *testing.T) {
			r.version = tr.version()
			rows = append(rows, r)
			ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			require.NoError(t, c.Restore(ctx))
			empty(t, c)
			tr.run(&trial{t, c, ctx, r})
			require.NotEmpty(t, r.exercised, "a trial that shows nothing")
		})
		r.failed = !passed
	}
	table := render(rows)
	t.Log("\n" + table)
	if *docs != "" && !t.Failed() && complete(rows) {
		require.NoError(t, replaceBetween(*docs, "clients", table))
	}
}

// module tells the version of a Go module of this build.
func module(path string) func() string {
	return func() string {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
		if err != nil {
			return "?"
		}
		version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "-0.") // of one without tags
		return version
	}
}

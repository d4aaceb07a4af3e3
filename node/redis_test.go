package node

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
)

func withRedis(c *Config) { c.RESP, c.RESPAllowFlush = "127.0.0.1:0", true }

// redisClient is one connection to a Redis endpoint.
type redisClient struct {
	t    testing.TB
	conn net.Conn
	in   *resp.ReplyReader
}

func dialRedis(t testing.TB, n *Node) *redisClient {
	t.Helper()
	conn, err := net.Dial("tcp", n.self().RESP)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &redisClient{t, conn, resp.NewReplyReader(conn, resp.ReplyLimits{})}
}

func (c *redisClient) send(args ...string) {
	_, err := c.conn.Write(resp.AppendCommand(nil, args...))
	require.NoError(c.t, err)
}

// next returns the next answer as it came, with spaces for line ends.
func (c *redisClient) next() string {
	require.NoError(c.t, c.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	v, err := c.in.Read()
	require.NoError(c.t, err)
	return strings.TrimSpace(strings.ReplaceAll(string(v.Append(nil)), "\r\n", " "))
}

// do runs a command, given as a line.
func (c *redisClient) do(line string) string {
	c.send(strings.Fields(line)...)
	return c.next()
}

// One cluster, through its Redis endpoints.
func TestRedisDoor(t *testing.T) {
	t.Parallel()
	nodes := three(t, withRedis)
	var clients []*redisClient
	for _, n := range nodes {
		clients = append(clients, dialRedis(t, n))
	}
	t.Run("every key at every door", func(t *testing.T) { everyKeyAtEveryRedisDoor(t, nodes, clients) })
	t.Run("wait for more copies than there are", func(t *testing.T) { waitForMoreCopiesThanThereAre(t, nodes, clients[0]) })
	t.Run("both doors see one session", func(t *testing.T) { bothDoorsSeeOneSession(t, nodes, clients) })
	t.Run("a lock has one holder", func(t *testing.T) { aLockHasOneHolder(t, nodes, clients) })
	t.Run("transactions", func(t *testing.T) { transactions(t, clients) })
	t.Run("all keys", func(t *testing.T) { allKeys(t, clients) })
	t.Run("messages reach every node", func(t *testing.T) { messagesReachEveryNode(t, nodes, clients) })
	t.Run("topology", func(t *testing.T) { topology(t, nodes, clients) })
}

func everyKeyAtEveryRedisDoor(t *testing.T, nodes []*Node, clients []*redisClient) {
	for i := range 30 {
		key := fmt.Sprint("user-", i)
		require.Equal(t, "+OK", clients[i%3].do("SET "+key+" v EX 100"))
		require.Equal(t, ":1", clients[i%3].do("WAIT 1 5000"), "one other copy")
		for _, c := range clients {
			require.Equal(t, "$1 v", c.do("GET "+key))
			require.Contains(t, []string{":100", ":99"}, c.do("TTL "+key))
		}
		other := fmt.Sprint("renamed-", i)
		require.Equal(t, "+OK", clients[(i+1)%3].do("RENAME "+key+" "+other))
		require.Equal(t, ":0", clients[i%3].do("EXISTS "+key))
		require.Equal(t, ":1", clients[i%3].do("DEL "+other))
		require.Equal(t, "$-1", clients[(i+2)%3].do("GET "+other))
	}
	require.Equal(t, "-ERR value is not an integer or out of range", clients[0].do("SET a b EX c"))
	require.Equal(t, "+OK", clients[0].do("MSET k1 1 k2 2 k3 3"))
	require.Equal(t, "*4 $1 1 $1 2 $1 3 $-1", clients[1].do("MGET k1 k2 k3 k4"))
	require.Equal(t, ":3", clients[2].do("DEL k1 k2 k3 k4"))
}

// Whoever owns what was written, the answer at the end of the time is how many
// copies there are.
func waitForMoreCopiesThanThereAre(t *testing.T, nodes []*Node, c *redisClient) {
	owners := make(map[string]string)
	for i := 0; len(owners) < len(nodes); i++ {
		key := fmt.Sprint("waited-", i)
		owners[nodes[0].owners().Route(key).Owner.Name] = key
	}
	for owner, key := range owners {
		require.Equal(t, "+OK", c.do("SET "+key+" v"))
		require.Equal(t, ":1", c.do("WAIT 2 300"), "owned by %s", owner)
	}
	for _, key := range owners {
		require.Equal(t, "+OK", c.do("SET "+key+" w"))
	}
	require.Equal(t, ":1", c.do("WAIT 2 300"), "of all owners")
	for _, key := range owners {
		require.Equal(t, ":1", c.do("DEL "+key))
	}
}

func bothDoorsSeeOneSession(t *testing.T, nodes []*Node, clients []*redisClient) {
	for i, n := range nodes {
		c, key := clients[(i+1)%3], fmt.Sprint("both-", i)
		require.Equal(t, ":2", c.do("HSET "+key+" name ada n 5"))
		answer, body := send(t, "PATCH", n.public("/v1/sessions/"+key), `{"n":6,"cart":{"a":[1]}}`, "Content-Type", "application/merge-patch+json")
		require.Equal(t, http.StatusOK, answer.StatusCode, body)
		require.JSONEq(t, `{"name":"ada","n":6,"cart":{"a":[1]}}`, body)
		require.Equal(t, "*3 $3 ada $1 6 $9 {\"a\":[1]}", c.do("HMGET "+key+" name n cart"))
		require.Equal(t, "-WRONGTYPE Operation against a key holding the wrong kind of value", c.do("GET "+key))
		answer, _ = send(t, "DELETE", n.public("/v1/sessions/"+key), "")
		require.Equal(t, http.StatusNoContent, answer.StatusCode)
		require.Equal(t, ":0", c.do("EXISTS "+key))

		require.Equal(t, "+OK", c.do("SET "+key+" bytes"))
		answer, body = send(t, "GET", n.public("/v1/sessions/"+key), "")
		require.Equal(t, "bytes", body)
		require.Equal(t, "application/octet-stream", answer.Header.Get("Content-Type"))

		require.Equal(t, ":1", c.do("DEL "+key))
		require.Equal(t, ":2", c.do("SADD "+key+" x y"))
		_, body = send(t, "GET", n.public("/v1/sessions/"+key), "")
		require.JSONEq(t, `["x","y"]`, body)
		answer, body = send(t, "PATCH", n.public("/v1/sessions/"+key), `{"x":1}`, "Content-Type", "application/merge-patch+json")
		require.Equal(t, http.StatusConflict, answer.StatusCode, body)
		require.Equal(t, ":1", c.do("DEL "+key))
	}
}

// Of all who ask for a lock at the same time one gets it, and it is at a
// successor before that one knows.
func aLockHasOneHolder(t *testing.T, nodes []*Node, clients []*redisClient) {
	for i := range 20 {
		key := fmt.Sprint("sess-", i, "_LOCK")
		answers := make([]string, len(clients))
		var wg sync.WaitGroup
		for j, c := range clients {
			wg.Go(func() { answers[j] = c.do(fmt.Sprint("SET ", key, " owner-", j, " NX PX 60000")) })
		}
		wg.Wait()
		copies := 0
		for _, n := range nodes {
			if rec := n.store.Peek(key); rec != nil && !rec.Dead() {
				copies++
			}
		}
		require.Equal(t, 2, copies)
		slices.Sort(answers)
		require.Equal(t, []string{"$-1", "$-1", "+OK"}, answers)
		holder := clients[0].do("GET " + key)
		script := "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end"
		_, holder, _ = strings.Cut(holder, " ")
		clients[1].send("EVAL", script, "1", key, "another")
		require.Equal(t, ":0", clients[1].next())
		clients[1].send("EVAL", script, "1", key, holder)
		require.Equal(t, ":1", clients[1].next())
	}
}

func transactions(t *testing.T, clients []*redisClient) {
	for i := range 10 {
		a, b := clients[i%3], clients[(i+1)%3]
		key := fmt.Sprint("{tx-", i, "}")
		require.Equal(t, "+OK", a.do("SET "+key+" 1"))
		for _, tt := range []struct {
			between, want string
		}{{"GET " + key, "*2 :2 +OK"}, {"SET " + key + " 5", "*-1"}} {
			require.Equal(t, "+OK", a.do("WATCH "+key))
			b.do(tt.between)
			require.Equal(t, "+OK", a.do("MULTI"))
			require.Equal(t, "+QUEUED", a.do("INCR "+key))
			require.Equal(t, "+QUEUED", a.do("SET "+key+":other x"))
			require.Equal(t, tt.want, a.do("EXEC"))
		}
		require.Equal(t, ":2", b.do("DEL "+key+" "+key+":other"))
	}
}

func allKeys(t *testing.T, clients []*redisClient) {
	require.Equal(t, "+OK", clients[0].do("FLUSHDB"))
	require.Equal(t, ":0", clients[1].do("DBSIZE"))
	want := map[string]bool{}
	for i := range 300 {
		key := fmt.Sprint("sess:", i)
		require.Equal(t, "+OK", clients[i%3].do("SET "+key+" v"))
		want[key] = true
	}
	require.Equal(t, ":300", clients[1].do("DBSIZE"))
	found := map[string]bool{}
	for cursor, rounds := "0", 0; cursor != "0" || rounds == 0; rounds++ {
		require.Less(t, rounds, 5000)
		clients[2].send("SCAN", cursor, "MATCH", "sess:*", "COUNT", "50")
		v, err := clients[2].in.Read()
		require.NoError(t, err)
		cursor = v.Elems[0].Text
		for _, key := range v.Elems[1].Elems {
			require.False(t, found[key.Text])
			found[key.Text] = true
		}
	}
	require.Equal(t, want, found)
	clients[0].send("KEYS", "sess:29?")
	v, err := clients[0].in.Read()
	require.NoError(t, err)
	require.Len(t, v.Elems, 10)
	require.Equal(t, "+OK", clients[2].do("FLUSHALL"))
	require.Equal(t, ":0", clients[0].do("DBSIZE"))
	require.Equal(t, "$-1", clients[1].do("GET sess:1"))
}

// A client that subscribes at one node hears what is published at any, and what
// happens to keys of all.
func messagesReachEveryNode(t *testing.T, nodes []*Node, clients []*redisClient) {
	var listeners []*redisClient
	for _, n := range nodes {
		l := dialRedis(t, n)
		l.send("SUBSCRIBE", "news")
		require.Equal(t, "*3 $9 subscribe $4 news :1", l.next())
		listeners = append(listeners, l)
	}
	require.Equal(t, ":3", clients[1].do("PUBLISH news hello"))
	for _, l := range listeners {
		require.Equal(t, "*3 $7 message $4 news $5 hello", l.next())
		l.send("SUBSCRIBE", "__keyevent@0__:del", "__keyevent@0__:expired")
		l.next()
		l.next()
	}
	for _, n := range nodes {
		for _, l := range n.mesh.Links() {
			require.True(t, n.pubsub.Has(l.ID()), "every node knows before a subscription is confirmed")
		}
	}
	for i := range 10 {
		key := fmt.Sprint("event-", i)
		c := clients[i%3]
		require.Equal(t, "+OK", c.do("SET "+key+" v"))
		require.Equal(t, ":1", c.do("DEL "+key))
		for _, l := range listeners {
			require.Equal(t, fmt.Sprint("*3 $7 message $18 __keyevent@0__:del $", len(key), " ", key), l.next())
		}
	}
	require.Equal(t, "+OK", clients[0].do("SET short v PX 1"))
	for _, l := range listeners {
		require.Equal(t, "*3 $7 message $22 __keyevent@0__:expired $5 short", l.next(), "once, by the owner")
		l.conn.Close()
	}
	eventually(t, "nobody listens any more", func() bool {
		return !slices.ContainsFunc(nodes, func(n *Node) bool { return n.pubsub.Wanted() })
	})
}

func topology(t *testing.T, nodes []*Node, clients []*redisClient) {
	for _, c := range clients {
		c.send("CLUSTER", "SLOTS")
		v, err := c.in.Read()
		require.NoError(t, err)
		slots := 0
		for _, r := range v.Elems {
			first, last := int(r.Elems[0].Int), int(r.Elems[1].Int)
			slots += last - first + 1
			owner := nodes[0].View().Table.Owner(first / ring.SlotsPerPartition)
			_, port, err := net.SplitHostPort(nodes[0].View().Named(owner).RESP)
			require.NoError(t, err)
			require.Equal(t, port, fmt.Sprint(r.Elems[2].Elems[1].Int))
		}
		require.Equal(t, ring.Slots, slots)
	}
}

// A lock outlives the crash of the node that gave it, and so does what was
// deleted.
func TestRedisThroughACrash(t *testing.T) {
	t.Parallel()
	nodes := three(t, withRedis)
	c := dialRedis(t, nodes[0])
	var locks, gone []string
	for i := 0; len(locks) < 10; i++ {
		key := fmt.Sprint("lock-", i)
		if nodes[0].View().Table.Owner(ring.Partition(key)) != "bob" {
			continue
		}
		locks, gone = append(locks, key), append(gone, "{"+key+"}gone")
		require.Equal(t, "+OK", c.do("SET "+key+" me NX EX 600"))
		require.Equal(t, "+OK", c.do("SET {"+key+"}gone x"))
		require.Equal(t, ":1", c.do("DEL {"+key+"}gone"))
	}
	// What a lock was renewed for outlives it too: it is at the successor when
	// that is answered.
	for i, key := range locks {
		renew := []string{"PEXPIRE " + key + " 900000", "SET " + key + " me XX PX 900000", "GETEX " + key + " PX 900000"}[i%3]
		require.NotContains(t, c.do(renew), "-ERR", renew)
		p := ring.Partition(key)
		held := nodes[1].store.Peek(key)
		for _, n := range nodes {
			if slices.Contains(nodes[1].View().CopyHolders(p), n.id.String()) {
				require.Equal(t, held.Hash(), n.store.Peek(key).Hash(), "%s: the copy would end early", renew)
			}
		}
	}
	nodes[1].cancel(nil) // hands nothing over
	<-nodes[1].Done()
	for i := range locks {
		require.Equal(t, "$2 me", c.do("GET "+locks[i]), "a read is asked again elsewhere")
		require.Equal(t, "$-1", c.do("SET "+locks[i]+" you NX EX 600"))
		require.Equal(t, "$-1", c.do("GET "+gone[i]))
	}
}

// Doors close when a member shuts down, after what is under way.
func TestRedisDoorCloses(t *testing.T) {
	t.Parallel()
	n := begin(t, func() Config { c := loopbackConfig("solo"); withRedis(&c); c.RESPPassword = "secret"; return c }())
	c := dialRedis(t, n)
	require.Equal(t, "-NOAUTH Authentication required.", c.do("GET k"))
	require.Equal(t, "+OK", c.do("AUTH secret"))
	require.Equal(t, "+OK", c.do("SET k v"))
	require.Equal(t, "$1 v", c.do("GET k"))
	n.stop(ErrStopped, func() { n.answerLast(t.Context()) })
	_, err := net.Dial("tcp", n.self().RESP)
	require.Error(t, err)
}

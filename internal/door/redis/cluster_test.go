package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// TestARingThatIsToldIsConfirmed: whoever asks for the ring may have been
// refused by a node that has just gone.
func TestARingThatIsToldIsConfirmed(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	for i, verb := range []string{"SLOTS", "SHARDS", "NODES"} {
		c.do("CLUSTER " + verb)
		require.Equal(t, int64(i+1), f.confirmed.Load(), verb)
	}
}

func TestPlainClientsNameKeysOfSeveralPartitions(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	var mset, mget, want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&mset, " key%d %d", i, i)
		fmt.Fprintf(&mget, " key%d none%d", i, i)
		fmt.Fprintf(&want, " $%d %d $-1", len(fmt.Sprint(i)), i)
	}
	require.Equal(t, "+OK", c.do("MSET"+mset.String()))
	require.Equal(t, "*400"+want.String(), c.do("MGET"+mget.String()))
	c.exchanges(`
		EXISTS key1 key2 key2 nothing key3 -> :4
		TOUCH key1 nothing key2 -> :2
		DEL key1 key2 nothing key2 -> :2
		UNLINK key3 key4 key3 -> :2
		MGET key1 key4 key5 -> *3 $-1 $-1 $1 5
		MSET key1 a key2 -> -ERR wrong number of arguments for 'mset' command
		HSET hash f v -> :1
		MGET hash key5 -> *2 $-1 $1 5
		MSETNX x 1 y 2 -> -CROSSSLOT Keys in request don't hash to the same slot
		RENAME key5 key6 -> +OK
		MGET key5 key6 -> *2 $-1 $1 5
		RENAME key5 key6 -> -ERR no such key
		RENAMENX key6 key7 -> :0
		RENAMENX key6 fresh -> :1
		SET timed v EX 1000 -> +OK
		RENAME timed elsewhere -> +OK
		TTL elsewhere -> :1000
		RENAME hash moved -> +OK
		HGETALL moved -> *2 $1 f $1 v
	`)
	f.set(func() { f.fail = fmt.Errorf("get: %w: nobody there", session.ErrUnavailable) })
	require.Contains(t, c.do("MGET a b c"), "-TRYAGAIN")
}

func TestFaultsInTheWordsOfRedis(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	for err, want := range map[error]string{
		session.ErrUnavailable: "-TRYAGAIN ",
		session.ErrNotServed:   "-TRYAGAIN ",
		ErrClusterDown:         "-CLUSTERDOWN ",
		session.ErrFull:        "-OOM command not allowed when used memory > 'maxmemory'.",
		session.ErrTooLarge:    "-ERR string exceeds maximum allowed size",
		session.ErrUncertain:   "-ERR no answer from the owner, the command may or may not have been executed",
		errors.New("odd"):      "-ERR odd",
	} {
		f.set(func() { f.fail = fmt.Errorf("set: %w", err) })
		require.Contains(t, strings.Replace(c.do("SET k v"), "set: odd", "odd", 1), want)
	}
	require.Equal(t, int64(7), s.Stats().Errors)
}

func TestRedirect(t *testing.T) {
	s, f := open(t, func(cfg *Config) { cfg.Redirect = true })
	c := dial(t, s)
	moved, here := 0, 0
	for i := range 100 {
		key := fmt.Sprintf("k%d", i)
		slot := ring.Slot(key)
		owner := f.table.Owner(slot / ring.SlotsPerPartition)
		got := c.do("SET " + key + " v")
		if owner == "a" {
			require.Equal(t, "+OK", got)
			here++
			continue
		}
		topology := f.Topology()
		require.Equal(t, fmt.Sprintf("-MOVED %d %s", slot, topology.member(owner).RESP), got)
		moved++
	}
	require.NotZero(t, moved)
	require.Equal(t, fmt.Sprintf(":%d", here), c.do("DBSIZE"))
	require.Equal(t, "-CROSSSLOT Keys in request don't hash to the same slot", c.do("MGET k1 k2"))
	require.Equal(t, "-CROSSSLOT Keys in request don't hash to the same slot", c.do("DEL k1 k2"))
	key := "k"
	for i := 0; f.table.Owner(ring.Partition(key)) == "a"; i++ {
		key = fmt.Sprintf("k%d", i)
	}
	c.exchanges("MULTI -> +OK\nSET " + key + " v -> +QUEUED")
	require.Contains(t, c.do("EXEC"), "-MOVED ")
}

// Every slot has one owner in CLUSTER SLOTS, that of the ring, and neighbours
// with the same holders are one range.
func TestClusterSlots(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	c.send("CLUSTER SLOTS")
	v, err := c.replies.Read()
	require.NoError(t, err)
	next := int64(0)
	names := map[string]string{}
	for _, m := range f.Topology().Members {
		names[nodeID(m.Name)] = m.Name
	}
	var last []string
	for _, e := range v.Elems {
		require.Equal(t, next, e.Elems[0].Int)
		var holders []string
		for _, m := range e.Elems[2:] {
			name := names[m.Elems[2].Text]
			topology := f.Topology()
			require.Equal(t, topology.member(name).RESP, fmt.Sprintf("%s:%d", m.Elems[0].Text, m.Elems[1].Int))
			holders = append(holders, name)
		}
		for slot := e.Elems[0].Int; slot <= e.Elems[1].Int; slot++ {
			p := int(slot) / ring.SlotsPerPartition
			require.Equal(t, append([]string{f.table.Owner(p)}, f.table.Successors(p)...), holders)
		}
		require.False(t, slices.Equal(last, holders), "two ranges that could be one")
		last, next = holders, e.Elems[1].Int+1
	}
	require.Equal(t, int64(ring.Slots), next)
}

func TestClusterNodesAndShards(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	c.send("CLUSTER NODES")
	v, err := c.replies.Read()
	require.NoError(t, err)
	covered := 0
	for line := range strings.Lines(v.Text) {
		words := strings.Fields(line)
		require.Len(t, words[0], 40)
		require.Equal(t, "connected", words[7])
		for _, r := range words[8:] {
			var first, last int
			_, err := fmt.Sscanf(r, "%d-%d", &first, &last)
			require.NoError(t, err)
			require.Equal(t, words[0], nodeID(f.table.Owner(first/ring.SlotsPerPartition)))
			covered += last - first + 1
		}
	}
	require.Equal(t, ring.Slots, covered)
	require.Contains(t, v.Text, "10.0.0.1:6379@16379 myself,master")

	c.send("CLUSTER SHARDS")
	v, err = c.replies.Read()
	require.NoError(t, err)
	covered = 0
	for _, shard := range v.Elems {
		slots := shard.Elems[1].Elems
		for i := 0; i < len(slots); i += 2 {
			covered += int(slots[i+1].Int-slots[i].Int) + 1
		}
		require.Len(t, shard.Elems[3].Elems, 2, "owner and successor")
	}
	require.Equal(t, ring.Slots, covered)
	c.exchanges(`
		CLUSTER MYID -> $40 ` + nodeID("a") + `
		CLUSTER KEYSLOT {alice}:1 -> :` + fmt.Sprint(ring.Slot("alice")) + `
		CLUSTER COUNT-FAILURE-REPORTS ` + nodeID("b") + ` -> :0
		CLUSTER REPLICAS ` + nodeID("b") + ` -> *0
		CLUSTER REPLICAS nobody -> -ERR Unknown node nobody
		CLUSTER LINKS -> *0
		CLUSTER MEET 1.2.3.4 5 -> -ERR unknown subcommand 'MEET'. Try CLUSTER HELP.
	`)
	require.Contains(t, c.do("CLUSTER INFO"), "cluster_state:ok")
	require.Contains(t, c.do("INFO cluster"), "cluster_enabled:1")
	require.Contains(t, c.do("INFO"), "loading:0")
}

// What is long and asked for in two words is made once for each topology, and
// what needs a count of all keys once a second.
func TestLongAnswersAreMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t)
		defer s.cancel()
		c, three := dial(t, s), dial(t, s)
		require.Contains(t, three.do("HELLO 3"), "proto")
		for _, line := range []string{"CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES"} {
			two, other := c.do(line), three.do(line)
			require.Equal(t, two, c.do(line), line)
			require.Equal(t, other, three.do(line), line)
		}
		require.Len(t, s.answers.Load().bytes, 6)
		before := c.do("CLUSTER SLOTS")
		f.table = must(ring.New([]string{"a", "b"}, ring.Params{Copies: 2}))
		require.NotEqual(t, before, c.do("CLUSTER SLOTS"), "the ring has changed")
		require.Len(t, s.answers.Load().bytes, 1, "what was told before is forgotten")

		informed := f.informed.Load()
		for range 100 {
			require.Contains(t, c.do("INFO"), "db0:keys=1")
		}
		require.Equal(t, informed+1, f.informed.Load())
		time.Sleep(2 * time.Second)
		require.Contains(t, c.do("INFO"), "db0:keys=1")
		require.Equal(t, informed+2, f.informed.Load())
	})
}

func TestKeysInASlot(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	for i := range 20 {
		require.Equal(t, "+OK", c.do(fmt.Sprintf("SET {x}%d v", i)))
	}
	slot := ring.Slot("x")
	require.Equal(t, ":20", c.do(fmt.Sprintf("CLUSTER COUNTKEYSINSLOT %d", slot)))
	require.Equal(t, ":0", c.do(fmt.Sprintf("CLUSTER COUNTKEYSINSLOT %d", slot^1)))
	require.True(t, strings.HasPrefix(c.do(fmt.Sprintf("CLUSTER GETKEYSINSLOT %d 5", slot)), "*5 "))
	require.Equal(t, "-ERR Invalid slot", c.do("CLUSTER COUNTKEYSINSLOT 16384"))
}

func TestScanFindsEveryKeyOnce(t *testing.T) {
	s, _ := open(t, allowFlush)
	c := dial(t, s)
	want := map[string]bool{}
	for i := range 3000 {
		key := fmt.Sprintf("sess:%d", i)
		want[key] = true
		require.Equal(t, "+OK", c.do("SET "+key+" v"))
		if i%10 == 0 {
			require.Equal(t, ":1", c.do(fmt.Sprintf("HSET other:%d f v", i)))
		}
	}
	for _, options := range []string{"MATCH sess:*", "MATCH sess:* COUNT 500", "TYPE string COUNT 7"} {
		got := map[string]bool{}
		cursor := "0"
		for rounds := 0; ; rounds++ {
			require.Less(t, rounds, 10_000)
			c.send("SCAN " + cursor + " " + options)
			v, err := c.replies.Read()
			require.NoError(t, err)
			for _, key := range v.Elems[1].Elems {
				require.False(t, got[key.Text], "%s twice", key.Text)
				got[key.Text] = true
			}
			if cursor = v.Elems[0].Text; cursor == "0" {
				break
			}
		}
		require.Equal(t, want, got, options)
	}
	require.Equal(t, ":3300", c.do("DBSIZE"))
	require.True(t, strings.HasPrefix(c.do("KEYS other:*"), "*300 "))
	require.Equal(t, "+OK", c.do("FLUSHALL"))
	require.Equal(t, ":0", c.do("DBSIZE"))
	require.Equal(t, "*2 $1 0 *0", c.do("SCAN 18446744073709551615"))
}

func TestWaitIsAboutWhatThisConnectionHasWritten(t *testing.T) {
	s, f := open(t)
	c, other := dial(t, s), dial(t, s)
	other.do("SET elsewhere v")
	c.do("SET a v")
	c.do("GET b")
	c.do("MSET c 1 d 2")
	c.do("RENAME c e")
	c.exchanges("MULTI -> +OK\nSET f v -> +QUEUED\nEXEC -> *1 +OK\nWAIT 5 100 -> :1")
	var want []int
	for _, key := range []string{"a", "c", "d", "e", "f"} {
		want = append(want, ring.Partition(key))
	}
	slices.Sort(want)
	require.Equal(t, want, f.waited)
	require.Equal(t, ":1", c.do("WAIT 1 0"))
	require.Empty(t, f.waited)
}

func TestTransactionsAreOfOneSlot(t *testing.T) {
	s, _ := open(t)
	c, other := dial(t, s), dial(t, s)
	c.exchanges(`
		MULTI -> +OK
		SET a 1 -> +QUEUED
		SET b 1 -> -CROSSSLOT Keys in request don't hash to the same slot
		EXEC -> -EXECABORT Transaction discarded because of previous errors.
		GET a -> $-1
		WATCH a -> +OK
		MULTI -> +OK
		SET b 1 -> +QUEUED
		EXEC -> -CROSSSLOT Keys in request don't hash to the same slot
		MULTI -> +OK
		SUBSCRIBE x -> -ERR Command not allowed inside a transaction
		EXEC -> -EXECABORT Transaction discarded because of previous errors.
		MULTI -> +OK
		EVAL "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end" 1 lock me -> +QUEUED
		SET lock you -> +QUEUED
		GET lock -> +QUEUED
		EXEC -> *3 :0 +OK $3 you
		WATCH lock -> +OK
		MULTI -> +OK
	`)
	other.do("SET lock they")
	c.exchanges(`
		PING -> +QUEUED
		EXEC -> *-1
		GET lock -> $4 they
	`)
}

func TestATransactionIsBounded(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.MaxQuery = 10_000 })
	c := dial(t, s)
	require.Equal(t, "+OK", c.do("MULTI"))
	got := ""
	for range 100 {
		if got = c.do("PING"); got != "+QUEUED" {
			break
		}
		got = c.do("ECHO " + strings.Repeat("x", 1000))
		if got != "+QUEUED" {
			break
		}
	}
	require.Contains(t, got, "-ERR transaction is too long: ")
	require.Contains(t, c.do("EXEC"), "-EXECABORT")
}

// A client that knows the ring is told once on each connection that it has
// changed, and no other client ever.
func TestAChangedRingIsToldToThoseWhoAsked(t *testing.T) {
	s, f := open(t)
	own, foreign := placed(f, 2)
	asked, second, knowing, plain := dial(t, s), dial(t, s), dial(t, s), dial(t, s)
	for _, c := range []*client{asked, second, knowing} {
		c.do("CLUSTER SLOTS")
	}
	require.Equal(t, "+OK", asked.do("SET "+own[0]+" v"))
	f.table = ringOf(t, "c", "b", "a")
	require.Equal(t, "+OK", asked.do("SET "+own[0]+" v"), "the same ring anew")
	f.table = ringOf(t, "a", "b")
	require.Equal(t, fmt.Sprintf("-MOVED %d 10.0.0.1:6379", ring.Slot(own[0])), asked.do("SET "+own[0]+" v"))
	require.Equal(t, "+OK", asked.do("SET "+own[0]+" v"), "told once")
	require.Equal(t, "+OK", plain.do("SET "+own[0]+" v"))
	require.Equal(t, "+OK", second.do("SET "+own[0]+" v"), "it may be the same command once more")
	require.Contains(t, second.do("SET "+own[1]+" v"), "-MOVED ")
	require.Equal(t, "+OK", knowing.do("SET "+foreign+" v"), "it is here because the ring has changed")
	require.Equal(t, "+OK", knowing.do("SET "+own[0]+" v"))
}

// A new member is told of a little later: see joinPause.
func TestAMemberThatJoinsIsToldOfLater(t *testing.T) {
	s, f := open(t)
	f.table = ringOf(t, "a", "b")
	own, _ := placed(f, 1)
	c := dial(t, s)
	c.do("CLUSTER SLOTS")
	f.table = ringOf(t, "a", "b", "c")
	require.Equal(t, "$-1", c.do("GET "+own[0]))
	s.ticks.Add(joinPause)
	require.Contains(t, c.do("GET "+own[0]), "-MOVED ")
	require.Equal(t, "$-1", c.do("GET "+own[0]), "told once")
}

// A client that sends to each node what it owns knows the ring, whether it has
// asked on this connection or not.
func TestAChangedRingIsToldToThoseWhoAim(t *testing.T) {
	s, f := open(t)
	own, foreign := placed(f, manyHits)
	aiming, plain, short := dial(t, s), dial(t, s), dial(t, s)
	require.Equal(t, "+OK", plain.do("SET "+foreign+" v"))
	for i, key := range own {
		require.Equal(t, "+OK", aiming.do("SET "+key+" v"))
		require.Equal(t, "+OK", plain.do("SET "+key+" v"))
		if i < manyHits-1 {
			require.Equal(t, "+OK", short.do("SET "+key+" v"))
		}
	}
	f.table = ringOf(t, "a", "b")
	get := string(resp.AppendCommand(nil, "GET", own[0]))
	aiming.raw(get + get)
	require.Equal(t, "$1 v", aiming.read(), "not before the last of a pipeline")
	require.Contains(t, aiming.read(), "-MOVED ")
	for _, c := range []*client{aiming, plain, short} {
		require.Equal(t, "$1 v", c.do("GET "+own[0]), "told once, or too little is known")
	}
}

// placed returns keys of so many partitions that the node itself owns, and one
// that another node does.
func placed(f *fake, count int) (own []string, foreign string) {
	seen := make(map[int]bool)
	for i := 0; len(own) < count || foreign == ""; i++ {
		key := fmt.Sprint("key-", i)
		switch p := ring.Partition(key); {
		case f.table.Owner(p) != "a":
			foreign = key
		case !seen[p] && len(own) < count:
			seen[p] = true
			own = append(own, key)
		}
	}
	return own, foreign
}

func ringOf(t *testing.T, members ...string) *ring.Table {
	table, err := ring.New(members, ring.Params{Copies: 2})
	require.NoError(t, err)
	return table
}

package command

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/costtest"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// What the costs are measured on: under these keys, all of one partition, n
// fields, members, bytes or keys.
const (
	costHash = "{k}hash"
	costSet  = "{k}set"
	costZSet = "{k}zset"
	costText = "{k}text"
	costOne  = "{k}one"
)

func costName(i int) string { return fmt.Sprintf("f%06d", i) }
func costKey(i int) string  { return fmt.Sprintf("{k}%06d", i) }

// costStore has all of them.
func costStore(t require.TestingT, n int, keys bool) *redis {
	r := newRedis(t, func(c *session.Config) { c.MaxSession, c.MaxFields = 16<<20, 1<<20 })
	put := func(key, kind string, value func(i int) string) {
		fields := make([]session.Field, n, n+1)
		for i := range fields {
			fields[i] = session.Field{Name: costName(i), Value: value(i)}
		}
		if kind != "" {
			fields = append(fields, session.Field{Name: session.FieldKind, Value: kind})
		}
		_, err := r.store.Update(ring.Partition(key), func(tx *session.Tx) error { return tx.Put(key, fields, nil) })
		require.NoError(t, err)
	}
	put(costHash, "", func(int) string { return "\x00v" })
	put(costSet, session.KindSet, func(int) string { return "" })
	put(costZSet, session.KindSortedSet, func(i int) string { return scoreText(float64(i * 7919 % n)) })
	r.do("SET " + costText + " " + strings.Repeat("x", n))
	r.do("SET " + costOne + " 1")
	for i := 0; keys && i < n; i++ {
		r.do("SET " + costKey(i) + " v")
	}
	return r
}

// each is a command with something for each of n.
func each(head string, of func(i int) string) func(n int) []string {
	return func(n int) []string {
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			b.WriteString(" " + of(i))
		}
		return []string{b.String()}
	}
}

func one(line string) func(int) []string { return func(int) []string { return []string{line} } }

// costs has at least one form of each command: the form that names the most, or
// that looks at the most.
var costs = map[string]func(n int) []string{
	"get":      one("GET " + costText),
	"set":      func(n int) []string { return []string{"SET " + costText + " " + strings.Repeat("y", n)} },
	"setex":    func(n int) []string { return []string{"SETEX " + costText + " 9 " + strings.Repeat("y", n)} },
	"psetex":   func(n int) []string { return []string{"PSETEX " + costText + " 9000 " + strings.Repeat("y", n)} },
	"setnx":    func(n int) []string { return []string{"SETNX {k}new " + strings.Repeat("y", n)} },
	"getset":   func(n int) []string { return []string{"GETSET " + costText + " " + strings.Repeat("y", n)} },
	"getdel":   one("GETDEL " + costText),
	"getex":    one("GETEX " + costText + " EX 9"),
	"mget":     each("MGET", costKey),
	"mset":     each("MSET", func(i int) string { return costKey(i) + " w" }),
	"msetnx":   each("MSETNX", func(i int) string { return "{k}new" + costName(i) + " w" }),
	"append":   func(n int) []string { return []string{"APPEND " + costText + " " + strings.Repeat("y", n)} },
	"strlen":   one("STRLEN " + costText),
	"getrange": one("GETRANGE " + costText + " 0 -1"),
	"substr":   one("SUBSTR " + costText + " 0 -1"),
	"setrange": func(n int) []string { return []string{"SETRANGE " + costText + " 1 " + strings.Repeat("y", n)} },
	"incr":     one("INCR " + costOne), "decr": one("DECR " + costOne), "incrby": one("INCRBY " + costOne + " 2"),
	"decrby": one("DECRBY " + costOne + " 2"), "incrbyfloat": one("INCRBYFLOAT " + costOne + " 2"),

	"del": each("DEL", costKey), "unlink": each("UNLINK", costKey), "exists": each("EXISTS", costKey), "touch": each("TOUCH", costKey),
	"type": one("TYPE " + costZSet), "object": one("OBJECT ENCODING " + costHash), "dump": one("DUMP " + costHash), Dump: one(Dump + " " + costHash),
	"rename": one("RENAME " + costHash + " {k}new"), "renamenx": one("RENAMENX " + costHash + " {k}new"),
	"expire": one("EXPIRE " + costHash + " 9"), "pexpire": one("PEXPIRE " + costHash + " 9000"),
	"expireat": one("EXPIREAT " + costHash + " 1800000000"), "pexpireat": one("PEXPIREAT " + costHash + " 1800000000000"),
	"persist": one("PERSIST " + costHash), "ttl": one("TTL " + costHash), "pttl": one("PTTL " + costHash),
	"expiretime": one("EXPIRETIME " + costHash), "pexpiretime": one("PEXPIRETIME " + costHash),

	"hset":         each("HSET "+costHash, func(i int) string { return costName(i) + " w" }),
	"hmset":        each("HMSET "+costHash, func(i int) string { return "new" + costName(i) + " w" }),
	"hsetnx":       one("HSETNX " + costHash + " new w"),
	"hget":         func(n int) []string { return []string{"HGET " + costHash + " " + costName(n-1)} },
	"hmget":        each("HMGET "+costHash, costName),
	"hgetall":      one("HGETALL " + costHash),
	"hdel":         each("HDEL "+costHash, func(i int) string { return "absent" + costName(i) }),
	"hdel present": each("HDEL "+costHash, costName),
	"hexists":      one("HEXISTS " + costHash + " z"),
	"hlen":         one("HLEN " + costHash), "hkeys": one("HKEYS " + costHash), "hvals": one("HVALS " + costHash),
	"hstrlen": one("HSTRLEN " + costHash + " z"), "hincrby": one("HINCRBY " + costHash + " z 1"), "hincrbyfloat": one("HINCRBYFLOAT " + costHash + " z 1"),
	"hscan": one("HSCAN " + costHash + " 0 MATCH *0*0*0*0*z"),

	"sadd":      each("SADD "+costSet, func(i int) string { return "new" + costName(i) }),
	"sadd same": each("SADD "+costSet, costName),
	"srem":      each("SREM "+costSet, costName),
	"smembers":  one("SMEMBERS " + costSet), "sismember": one("SISMEMBER " + costSet + " z"),
	"smismember": each("SMISMEMBER "+costSet, costName), "scard": one("SCARD " + costSet),
	"spop":  func(n int) []string { return []string{fmt.Sprint("SPOP ", costSet, " ", n/2)} },
	"sscan": one("SSCAN " + costSet + " 0 MATCH *0*0*0*0*z"),

	"zadd":     each("ZADD "+costZSet, func(i int) string { return fmt.Sprint(i, " ", costName(i)) }),
	"zadd new": each("ZADD "+costZSet, func(i int) string { return fmt.Sprint(i, " new", costName(i)) }),
	"zincrby":  one("ZINCRBY " + costZSet + " 1 z"),
	"zrem":     each("ZREM "+costZSet, costName),
	"zscore":   one("ZSCORE " + costZSet + " z"), "zmscore": each("ZMSCORE "+costZSet, costName), "zcard": one("ZCARD " + costZSet),
	"zrank": one("ZRANK " + costZSet + " " + costName(7)), "zrevrank": one("ZREVRANK " + costZSet + " " + costName(7)),
	"zrange": one("ZRANGE " + costZSet + " 0 -1 WITHSCORES"), "zrevrange": one("ZREVRANGE " + costZSet + " 0 -1"),
	"zrangebyscore": one("ZRANGEBYSCORE " + costZSet + " -inf +inf LIMIT 0 1"), "zrevrangebyscore": one("ZREVRANGEBYSCORE " + costZSet + " +inf -inf"),
	"zcount": one("ZCOUNT " + costZSet + " -inf +inf"), "zremrangebyscore": one("ZREMRANGEBYSCORE " + costZSet + " -inf 50"),
	"zscan": one("ZSCAN " + costZSet + " 0 MATCH *0*0*0*0*z"),

	DeleteIfEqual: one("HOLDFAST.DELIFEQ " + costText + " x"), SetIfAbsent: one("HOLDFAST.SETEXNX {k}new 9 x"),
	HashSetExpire: each("HOLDFAST.HSETEX "+costHash+" 9", func(i int) string { return costName(i) + " w" }),
	Leave:         one("HOLDFAST.LEAVE " + costHash), Token: one("HOLDFAST.TOKEN " + costHash),

	// Many commands on one session.
	"many hset": many(func(i int) string { return "HSET " + costHash + " " + costName(i) + " w" }),
	"many hget": many(func(i int) string { return "HGET " + costHash + " " + costName(i) }),
	"many hset and hget": many(func(i int) string {
		return []string{"HSET " + costHash + " new" + costName(i/2) + " w", "HGET " + costHash + " new" + costName(i/2)}[i%2]
	}),
	"many hdel":             many(func(i int) string { return "HDEL " + costHash + " " + costName(i) }),
	"many hlen and hincrby": many(func(i int) string { return []string{"HLEN " + costHash, "HINCRBY " + costHash + " z 1"}[i%2] }),
	"many sadd":             many(func(i int) string { return "SADD " + costSet + " new" + costName(i) }),
	"many zadd":             many(func(i int) string { return "ZADD " + costZSet + " 1 new" + costName(i) }),
	"many expire": many(func(i int) string {
		return []string{"HSET " + costHash + " " + costName(i) + " w", "EXPIRE " + costHash + " 9"}[i%2]
	}),
	"many set": many(func(i int) string { return "SET " + costOne + " 1" }),
}

// many is n commands.
func many(of func(i int) string) func(n int) []string {
	return func(n int) []string {
		lines := make([]string, n)
		for i := range lines {
			lines[i] = of(i)
		}
		return lines
	}
}

// restored is RESTORE, under either name, of what DUMP gives, which is no text.
func restored(r *redis, name string) *Batch {
	r.do(Dump + " " + costHash)
	_, payload, _ := strings.Cut(string(r.out.Reply), "\r\n")
	return &Batch{Commands: [][][]byte{{[]byte(name), []byte("{k}new"), []byte("0"), []byte(strings.TrimSuffix(payload, "\r\n"))}}}
}

func costBatch(r *redis, name string, n int) *Batch {
	if strings.HasPrefix(name, "restore") {
		return restored(r, name)
	}
	b := &Batch{}
	for _, line := range costs[name](n) {
		b.Commands = append(b.Commands, words(line))
	}
	b.Multi = len(b.Commands) > 1
	return b
}

// sweeps are measured by the key, in a partition that has many.
func sweeps(partition, n int) map[string]*Batch {
	return map[string]*Batch{
		Scan: ScanBatch(partition, 0, n, "*0*0*0*0*z", ""), Count: CountBatch(partition), Flush: FlushBatch(partition),
	}
}

func costNames() []string {
	names := []string{"restore", "restore-asking"}
	for name := range costs {
		names = append(names, name)
	}
	return names
}

// TestEveryCommandHasACost: a command is added together with what it costs.
func TestEveryCommandHasACost(t *testing.T) {
	for name := range specs {
		_, swept := sweeps(0, 1)[name]
		require.True(t, costs[name] != nil || swept || strings.HasPrefix(name, "restore"), name)
	}
}

// TestWorkIsLinear: what a command that names n fields of a session of m counts
// as work is no more than a multiple of m + n log m, and so for n commands.
// And each does what it is for: no answer is an error.
func TestWorkIsLinear(t *testing.T) {
	for _, n := range []int{100, 1_000, 10_000} {
		bound := 32 * n * (1 + bits.Len(uint(n))/2)
		for _, name := range costNames() {
			r := costStore(t, n, strings.Contains("mget mset del unlink exists touch", name))
			b := costBatch(r, name, n)
			answer := r.run(b)
			require.NotContains(t, answer, "-ERR", name)
			require.NotContains(t, answer, "-OOM", name)
			require.NotContains(t, answer, "-WRONGTYPE", name)
			require.NotContains(t, answer, "-EXEC", name)
			require.Less(t, r.out.Work, bound+200, "%s of %d", name, n)
		}
		r := costStore(t, n, true)
		for name, b := range sweeps(ring.Partition(costHash), n) {
			out, err := b.Run(r.store, ring.Partition(costHash), Env{}, nil)
			require.NoError(t, err)
			require.Less(t, out.Work, bound, name)
		}
	}
}

// BenchmarkCost measures every command by the field.
func BenchmarkCost(b *testing.B) {
	for _, name := range slices.Sorted(slices.Values(costNames())) {
		b.Run(name, func(b *testing.B) {
			most := costtest.All
			if strings.Contains("mset msetnx del unlink", name) { // which name at most maxKeys
				most = 10_000
			}
			costtest.Flat(b, most, func(n int) func() {
				r := costStore(b, n, strings.Contains("mget mset del unlink exists touch", name))
				batch := costBatch(r, name, n)
				batch.Key = "{k}"
				return func() {
					out, err := batch.Run(r.store, ring.Partition("{k}"), Env{}, nil)
					require.NoError(b, err)
					require.NotEqual(b, byte('-'), out.Reply[0], "%.80s", out.Reply)
				}
			})
		})
	}
	for name := range sweeps(0, 1) {
		b.Run(name, func(b *testing.B) {
			costtest.Flat(b, costtest.All, func(n int) func() {
				r := costStore(b, n, true)
				batch := sweeps(ring.Partition(costHash), n)[name]
				return func() {
					_, err := batch.Run(r.store, ring.Partition(costHash), Env{}, nil)
					require.NoError(b, err)
				}
			})
		})
	}
}

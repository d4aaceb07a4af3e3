package command

import (
	"bytes"
	"encoding/hex"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// bulk is the string that a command answers with.
func (r *redis) bulk(line string) []byte {
	r.do(line)
	_, b, _ := bytes.Cut(r.out.Reply, []byte("\r\n"))
	return bytes.Clone(bytes.TrimSuffix(b, []byte("\r\n")))
}

// restore runs RESTORE of a payload, which is no text.
func (r *redis) restore(key, ttl string, payload []byte, options string) string {
	args := append([][]byte{[]byte("RESTORE"), []byte(key), []byte(ttl), payload}, words(options)...)
	return r.run(&Batch{Commands: [][][]byte{args}})
}

func TestDumpAndRestore(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		SET str v -> +OK
		SET ~ v -> -ERR key is empty or longer than 512 bytes
		HSET h f 1 ~ empty g '' -> :3
		SADD s a b ~ -> :3
		ZADD z 1.5 a -inf b +inf c 1e300 d -> :4
		SETNX lock me -> :1
		DUMP none -> $-1
	`)
	for _, key := range []string{"str", "h", "s", "z", "lock"} {
		require.Equal(t, "+OK", r.restore("copy"+key, "5000", r.bulk(Dump+" "+key), ""))
		require.Equal(t, r.do("TYPE "+key), r.do("TYPE copy"+key))
	}
	r.exchanges(t, `
		GET copystr -> $1 v
		TTL copystr -> :5
		HGETALL copyh -> *6 $0  $5 empty $1 f $1 1 $1 g $0
		TTL copyh -> :5
		SMEMBERS copys -> *3 $0  $1 a $1 b
		ZRANGE copyz 0 -1 WITHSCORES -> *8 $1 b $4 -inf $1 a $3 1.5 $1 d $23 1.0000000000000001e+300 $1 c $3 inf
		GET copylock -> $2 me
		SADD copys c -> :1
		ZADD copyz 2 e -> :1
		HSET copyh f 2 -> :0
	`)
	require.False(t, isLockRecord(r.store.Peek("copylock")), "it is for another server")
	require.Equal(t, "-BUSYKEY Target key name already exists.", r.restore("copys", "0", r.bulk(Dump+" str"), ""))
	require.Equal(t, "+OK", r.restore("copys", "0", r.bulk(Dump+" str"), "REPLACE idletime 5"))
	require.Equal(t, "+OK", r.restore("copy2", "1700000001000", r.bulk(Dump+" str"), "absttl FREQ 255"))
	require.Equal(t, "+OK", r.restore("copyh", "1", r.bulk(Dump+" str"), "absttl REPLACE"))
	r.exchanges(t, `
		GET copys -> $1 v
		TTL copys -> :-1
		PTTL copy2 -> :1000
		EXISTS copyh -> :0
		RESTORE-ASKING x 0 garbage -> -ERR DUMP payload version or checksum are wrong
	`)
}

func TestRestoreRefuses(t *testing.T) {
	r := newRedis(t)
	r.do("SET str v")
	good := r.bulk(Dump + " str")
	// Of redis-server 7.0.15.
	list, err := hex.DecodeString("12010210100000000300816102816202816302ff0a00c818b90c9533529e")
	require.NoError(t, err)
	broken := bytes.Clone(good)
	broken[2] ^= 1
	large := rdb.Value{Text: strings.Repeat("x", 1<<20+1)}
	empty := rdb.Value{Kind: rdb.Set}
	for _, c := range []struct{ ttl, options, payload, want string }{
		{"0", "", string(broken), "-ERR DUMP payload version or checksum are wrong"},
		{"0", "", "", "-ERR DUMP payload version or checksum are wrong"},
		{"0", "", string(list), "-ERR Bad data format: not supported: a list"},
		{"0", "", string(empty.Append(nil)), "-ERR Bad data format"},
		{"0", "", string(large.Append(nil)), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"},
		{"-1", "", string(good), "-ERR Invalid TTL value, must be >= 0"},
		{"x", "", string(good), "-ERR value is not an integer or out of range"},
		{"0", "IDLETIME", string(good), "-ERR syntax error"},
		{"0", "IDLETIME 1 FREQ 1", string(good), "-ERR syntax error"},
		{"0", "FREQ 1 IDLETIME 1", string(good), "-ERR syntax error"},
		{"0", "IDLETIME -1", string(good), "-ERR Invalid IDLETIME value, must be >= 0"},
		{"0", "FREQ 256", string(good), "-ERR Invalid FREQ value, must be >= 0 and <= 255"},
		{"0", "FREQ x", string(good), "-ERR value is not an integer or out of range"},
		{"0", "KEEPTTL", string(good), "-ERR syntax error"},
	} {
		require.Equal(t, c.want, r.restore("x", c.ttl, []byte(c.payload), c.options))
		require.Equal(t, ":0", r.do("EXISTS x"))
	}
}

// RESTORE brings back what was deleted a moment ago no more than SET does,
// whether it may replace or not: what it writes is an old value.
func TestRestoreAfterALogout(t *testing.T) {
	r := newRedis(t)
	r.env.RefuseRevive = 30_000
	payloads := map[string][]byte{}
	for _, line := range []string{"SET str v", "HSET hash f v", "SADD set a", "ZADD zset 1 a"} {
		require.NotContains(t, r.do(line), "-")
		key := strings.Fields(line)[1]
		payloads[key] = r.bulk(Dump + " " + key)
		require.Equal(t, ":1", r.do("DEL "+key))
	}
	for _, options := range []string{"", "REPLACE"} {
		require.Equal(t, "-"+string(errRevive), r.restore("str", "0", payloads["str"], options))
		require.Equal(t, "-"+string(errRevive), r.restore("hash", "0", payloads["hash"], options))
	}
	require.Equal(t, "+OK", r.restore("set", "0", payloads["set"], ""))
	require.Equal(t, "+OK", r.restore("zset", "0", payloads["zset"], ""))
	r.clock.advance(31 * time.Second)
	require.Equal(t, "+OK", r.restore("str", "0", payloads["str"], ""))
}

// Whoever copies keys a second time asks for no logout to be undone, however
// long ago it was, and whatever the kind of the value.
func TestRestoreWithoutReviving(t *testing.T) {
	r := newRedis(t)
	for _, line := range []string{"SET str v", "SADD set a"} {
		key := strings.Fields(line)[1]
		require.NotContains(t, r.do(line), "-")
		payload := r.bulk(Dump + " " + key)
		require.Equal(t, "-BUSYKEY Target key name already exists.", r.restore(key, "0", payload, "NOREVIVE"))
		require.Equal(t, ":1", r.do("DEL "+key))
		r.clock.advance(time.Hour)
		require.Equal(t, "-"+string(errDeleted), r.restore(key, "0", payload, "norevive"))
		require.Equal(t, "-"+string(errDeleted), r.restore(key, "0", payload, "REPLACE NOREVIVE"))
		require.Equal(t, ":0", r.do("EXISTS "+key))
		require.Equal(t, "+OK", r.restore(key, "0", payload, ""))
	}
	require.Equal(t, "+OK", r.restore("new", "0", r.bulk(Dump+" str"), "NOREVIVE"))
	r.do("PEXPIRE new 5")
	r.clock.advance(time.Second)
	require.Equal(t, "+OK", r.restore("new", "0", r.bulk(Dump+" str"), "NOREVIVE"), "its time was over, nobody ended it")
}

// WATCH notices a RESTORE, and MULTI takes it.
func TestRestoreInATransaction(t *testing.T) {
	r := newRedis(t)
	r.do("SET {k}a v")
	payload := r.bulk(Dump + " {k}a")
	token := func() uint64 {
		r.do(Token + " {k}b")
		token, ok := TokenOf(r.out.Reply)
		require.True(t, ok)
		return token
	}
	before := token()
	require.Equal(t, "+OK", r.restore("{k}b", "0", payload, ""))
	require.NotEqual(t, before, token())
	b := &Batch{Multi: true, Watches: []Watch{{"{k}b", before}}, Commands: [][][]byte{words("GET {k}b")}}
	require.Equal(t, "*-1", r.run(b))
	restore := [][]byte{[]byte("RESTORE"), []byte("{k}b"), []byte("0"), payload, []byte("REPLACE")}
	b = &Batch{Multi: true, Commands: [][][]byte{restore, words("APPEND {k}b w"), words(Dump + " nothere{k}")}}
	require.Equal(t, "*3 +OK :2 $-1", r.run(b))
}

// A key moves to another partition as a copy, with all that it is here.
func TestCopies(t *testing.T) {
	r := newRedis(t)
	r.do("SETNX lock me")
	require.Equal(t, "$-1", r.do("DUMP none"))
	require.Equal(t, "+OK", r.restore("moved", "0", r.bulk("DUMP lock"), ""))
	require.True(t, isLockRecord(r.store.Peek("moved")))

	_, err := r.store.Do(&session.Op{Kind: session.Put, Key: "http", TTL: time.Minute, Fields: []session.Field{{Name: "a", Value: "1"}}})
	require.NoError(t, err)
	require.Equal(t, "+OK", r.restore("slides", "30000", r.bulk("DUMP http"), ""))
	require.Equal(t, time.Minute.Milliseconds(), r.store.Peek("slides").Expiry().Idle, "it slides on")
	value, ok := r.store.Peek("slides").Value("a")
	require.True(t, ok)
	require.Equal(t, "1", value, "the JSON that HTTP wrote, not bytes")
	r.exchanges(t, "TTL slides -> :30")
	broken := r.bulk("DUMP" + " http")
	broken[12] ^= 1
	require.Equal(t, "-"+string(errPayload), r.restore("x", "0", broken, ""))
}

// Whoever takes a payload in without a command gets what RESTORE makes of it.
func TestRestored(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		SET str v -> +OK
		HSET h f 1 ~ empty g '' -> :3
		SADD s a b ~ -> :3
		ZADD z 1.5 a -inf b -> :2
	`)
	for _, key := range []string{"str", "h", "s", "z"} {
		for _, end := range []int64{0, 1_700_000_009_000} {
			payload := r.bulk(Dump + " " + key)
			require.Equal(t, "+OK", r.restore("{"+key+"}copy", strconv.FormatInt(end, 10), payload, "ABSTTL REPLACE"))
			fields, until, err := Restored(string(payload), end, 1000, 10)
			require.NoError(t, err)
			_, err = r.store.Update(ring.Partition(key), func(tx *session.Tx) error { return tx.Put("{"+key+"}put", fields, until) })
			require.NoError(t, err)
			want, got := r.store.Peek("{"+key+"}copy"), r.store.Peek("{"+key+"}put")
			require.Equal(t, slices.Collect(values(want)), slices.Collect(values(got)), key)
			require.Equal(t, end, got.Expiry().At)
			require.Equal(t, want.Expiry().Idle, got.Expiry().Idle)
		}
	}
	_, until, err := Restored(string(r.bulk(Dump+" str")), math.MaxInt64, 1000, 10)
	require.NoError(t, err)
	require.EqualValues(t, maxMillis, until.At)
	_, _, err = Restored(string(r.bulk(Dump+" h")), 0, 1000, 2)
	require.ErrorIs(t, err, rdb.ErrLarge)
	_, _, err = Restored("x", 0, 1000, 2)
	require.ErrorIs(t, err, rdb.ErrChecksum)
}

// values are the fields of a session without their stamps.
func values(rec *session.Record) iter.Seq[string] {
	return func(yield func(string) bool) {
		for f := range rec.Fields() {
			if !yield(f.Name + "=" + f.Value) {
				return
			}
		}
	}
}

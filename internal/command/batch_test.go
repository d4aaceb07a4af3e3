package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/alloctest"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

func batchOf(lines ...string) *Batch {
	b := &Batch{}
	for _, line := range lines {
		b.Commands = append(b.Commands, words(line))
	}
	return b
}

func TestTransaction(t *testing.T) {
	r := newRedis(t)
	b := batchOf("SET {a}1 x", "INCR {a}1", "GET {a}1")
	b.Multi = true
	require.Equal(t, "*3 +OK -ERR value is not an integer or out of range $1 x", r.run(b))
	b.Multi = false
	require.Equal(t, "+OK -ERR value is not an integer or out of range $1 x", r.run(b))
}

func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		before, between string
		runs            bool
	}{
		{"SET k 1", "GET k", true},
		{"SET k 1", "SET k 1", false},
		{"SET k 1", "EXPIRE k 10", false},
		{"SET k 1", "DEL k", false},
		{"GET k", "SET k 1", false},
		{"GET k", "GET k", true},
		{"HSET k a 1", "HSET k b 1", false},
	} {
		r := newRedis(t)
		r.do(tt.before)
		r.do(Token + " k")
		token, ok := TokenOf(r.out.Reply)
		require.True(t, ok)
		r.do(tt.between)
		b := batchOf("SET {k}2 done")
		b.Multi, b.Watches = true, []Watch{{"k", token}}
		if tt.runs {
			require.Equal(t, "*1 +OK", r.run(b), tt)
		} else {
			require.Equal(t, "*-1", r.run(b), tt)
			require.Equal(t, "$-1", r.do("GET {k}2"), tt)
		}
	}
	_, ok := TokenOf([]byte("$-1\r\n"))
	require.False(t, ok)
}

func TestKindsOfBatches(t *testing.T) {
	for _, tt := range []struct {
		line                       string
		writes, repeatable, delete bool
	}{
		{"GET k", false, true, false},
		{"SET k v", true, true, false},
		{"SET k v EX 9", true, true, false},
		{"SET k v ex 9 nx", true, false, false},
		{"SET k nx", true, true, false},
		{"SET k v GET", true, false, false},
		{"SETNX k v", true, false, false},
		{"INCR k", true, false, false},
		{"DEL k", true, true, true},
		{"UNLINK k", true, true, true},
		{"GETDEL k", true, false, false},
		{"HSET h f v", true, true, false},
		{"EXPIRE k 9", true, true, false},
		{"EXPIRE k 9 gt", true, false, false},
		{"ZADD z 1 a", true, false, false},
		{"RENAME k k", true, false, false},
		{"holdfast.delifeq k v", true, false, false},
	} {
		b := batchOf(tt.line)
		require.Equal(t, tt.writes, b.Writes(), tt.line)
		require.Equal(t, tt.repeatable, b.Repeatable(), tt.line)
		require.Equal(t, tt.delete, b.Deletes(), tt.line)
	}
	require.False(t, batchOf("GET k", "INCR k").Repeatable())
	watched := batchOf("GET k")
	watched.Watches = []Watch{{"k", 1}}
	require.False(t, watched.Repeatable())
}

func TestLookup(t *testing.T) {
	require.Equal(t, "hgetall", Lookup([]byte("HGetAll")).Name)
	require.Nil(t, Lookup([]byte("nope")))
	require.Nil(t, Lookup(make([]byte, 100)))
	require.Zero(t, testing.AllocsPerRun(100, func() { Lookup([]byte("GET")) }))
	for _, s := range All() {
		require.LessOrEqual(t, len(s.Name), maxName)
		require.False(t, s.Internal)
		require.NotEmpty(t, s.Flags.Strings())
	}
	keys, err := Lookup([]byte("mset")).Keys(words("MSET a 1 b 2"))
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a"), []byte("b")}, keys)
	keys, err = Lookup([]byte("object")).Keys(words("OBJECT ENCODING k"))
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("k")}, keys)
	_, err = Lookup([]byte("get")).Keys(words("GET"))
	require.ErrorContains(t, err, "arity is 2")
}

func TestBatchCodec(t *testing.T) {
	anyBytes := rapid.SliceOf(rapid.Byte())
	rapid.Check(t, func(t *rapid.T) {
		b := &Batch{
			Key: rapid.StringN(1, 20, 40).Draw(t, "key"), Multi: rapid.Bool().Draw(t, "multi"), Proto: rapid.IntRange(2, 3).Draw(t, "proto"),
			Commands: rapid.SliceOfN(rapid.SliceOfN(anyBytes, 1, 5), 0, 4).Draw(t, "commands"),
		}
		for _, key := range rapid.SliceOf(rapid.String()).Draw(t, "watches") {
			b.Watches = append(b.Watches, Watch{key, rapid.Uint64().Draw(t, "token")})
		}
		decoded, err := DecodeBatch(b.Append(nil))
		require.NoError(t, err)
		require.Equal(t, b.Append(nil), decoded.Append(nil))
		require.Equal(t, b.Key, decoded.Key)
		require.Len(t, decoded.Commands, len(b.Commands))
	})
}

func FuzzDecodeBatch(f *testing.F) {
	b := batchOf("SET k v", "GET k")
	b.Key, b.Watches = "k", []Watch{{"k", 7}}
	f.Add(b.Append(nil))
	f.Add([]byte("\x00\x01k\x00*-1\r\n"))
	f.Add([]byte("\x00\x01k\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBatch(data)
		if err != nil {
			require.ErrorIs(t, err, session.ErrMalformed)
			return
		}
		again, err := DecodeBatch(b.Append(nil))
		require.NoError(t, err)
		require.Equal(t, b, again)
		r := newRedis(t)
		_, err = b.Run(r.store, ring.Partition(b.Key), Env{}, nil)
		require.NoError(t, err)
	})
}

func TestHotPathAllocations(t *testing.T) {
	r := newRedis(t)
	r.do("SET k v")
	p, dst := ring.Partition("k"), make([]byte, 0, 100)
	get := batchOf("GET k")
	get.Key = "k"
	require.Zero(t, alloctest.Fewest(func() { _, _ = get.Run(r.store, p, Env{}, dst) }))
	set, changed := batchOf("SET k v EX 100"), make([]string, 0, 1)
	set.Key = "k"
	require.LessOrEqual(t, alloctest.Fewest(func() { _, _ = set.Run(r.store, p, Env{Changed: changed}, dst) }), 2.0,
		"the record and its fields")
}

func BenchmarkRun(b *testing.B) {
	for _, line := range []string{"GET k", "SET k 0123456789012345678901234567890123456789 EX 1800"} {
		b.Run(line[:3], func(b *testing.B) {
			r := newRedis(b)
			r.do("SET k 0123456789012345678901234567890123456789")
			batch := batchOf(line)
			batch.Key = "k"
			dst, changed := make([]byte, 0, 100), make([]string, 0, 1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := batch.Run(r.store, ring.Partition("k"), Env{Changed: changed}, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What writes over a key, or deletes it whatever it is, does not look at it.
func TestLooks(t *testing.T) {
	for line, want := range map[string]string{
		"GET k": "k", "MGET a b": "a b", "HSET h f 1": "h", "EXPIRE k 1": "k", "RENAME {a} {a}b": "{a} {a}b", "GETDEL k": "k", "GETSET k v": "k",
		"SET k v": "", "SET k v EX 5": "", "SETEX k 5 v": "", "MSET a 1 b 2": "", "DEL a b": "", "UNLINK a": "",
		"SET k v NX": "k", "SET k v xx EX 5": "k", "SET k v GET": "k", "SET k v keepttl": "k", "SETNX k v": "k", "MSETNX a 1 b 2": "a b",
		"RESTORE k 0 x": "k", "RESTORE k 0 x ABSTTL": "k", "RESTORE k 0 x replace": "", "RESTORE k 0 x ABSTTL norevive": "", "RESTORE-ASKING k 0 x REPLACE": "",
		DeleteIfEqual + " k v": "k", Leave + " k": "", Token + " k": "k", "PING": "", "NONE k": "", "GET": "",
	} {
		var keys []string
		b := &Batch{Commands: [][][]byte{words(line)}}
		b.Looks(func(key string) { keys = append(keys, key) })
		require.Equal(t, want, strings.Join(keys, " "), line)
	}
	var keys []string
	b := &Batch{Watches: []Watch{{Key: "w"}}, Commands: [][][]byte{words("SET k v"), words("GET g")}}
	b.Looks(func(key string) { keys = append(keys, key) })
	require.Equal(t, []string{"w", "g"}, keys)
}

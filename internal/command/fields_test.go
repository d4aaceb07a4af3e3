package command

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

func TestHashes(t *testing.T) {
	newRedis(t).exchanges(t, `
		HSET h a 1 b 2 -> :2
		HSET h a 3 c 4 c 5 -> :1
		HSET h a -> -ERR wrong number of arguments for 'hset' command
		HSET h a 1 b -> -ERR wrong number of arguments for 'hset' command
		HMSET h a 1 b -> -ERR wrong number of arguments for 'hmset' command
		HMSET h d 6 -> +OK
		HGET h a -> $1 3
		HGET h x -> $-1
		HGET none x -> $-1
		HMGET h c x a -> *3 $1 5 $-1 $1 3
		HMGET none a b -> *2 $-1 $-1
		HGETALL h -> *8 $1 a $1 3 $1 b $1 2 $1 c $1 5 $1 d $1 6
		HGETALL none -> *0
		HKEYS h -> *4 $1 a $1 b $1 c $1 d
		HVALS h -> *4 $1 3 $1 2 $1 5 $1 6
		HLEN h -> :4
		HSTRLEN h a -> :1
		HEXISTS h a -> :1
		HEXISTS h x -> :0
		HSETNX h a 9 -> :0
		HSETNX h e 9 -> :1
		HINCRBY h e 1 -> :10
		HINCRBY h new -5 -> :-5
		HINCRBYFLOAT h e 0.5 -> $4 10.5
		HINCRBY h e 1 -> -ERR hash value is not an integer
		HSET h e text -> :0
		HINCRBYFLOAT h e 1 -> -ERR hash value is not a float
		HDEL h a a x b -> :2
		HSCAN h 0 MATCH [cd] COUNT 5 -> *2 $1 0 *4 $1 c $1 5 $1 d $1 6
		HSCAN h x -> -ERR invalid cursor
		HSCAN h 0 COUNT 0 -> -ERR syntax error
		HDEL h c d e new -> :4
		EXISTS h -> :0
		HDEL h c -> :0
		TYPE h -> +none
		HSET h ~ v -> :1
		HGET h ~ -> $1 v
		HSET h f ~ -> :1
		HGET h f -> $0
		TYPE h -> +hash
	`)
}

// Any bytes are a field's name, and none is taken for what is ours.
func TestFieldNames(t *testing.T) {
	r := newRedis(t)
	for _, name := range []string{"", "\x00", session.FieldKind, session.FieldType, "\x01", "\x01\x01x", "\xff"} {
		set := &Batch{Commands: [][][]byte{{[]byte("HSET"), []byte("h"), []byte(name), []byte("v" + name)}}}
		require.Equal(t, ":1", r.run(set), "%q", name)
	}
	require.Equal(t, ":7", r.do("HLEN h"))
	require.Equal(t, "+hash", r.do("TYPE h"))
	all := r.run(&Batch{Commands: [][][]byte{{[]byte("HGET"), []byte("h"), []byte(session.FieldKind)}}})
	require.Contains(t, all, "v"+session.FieldKind)
	require.Equal(t, ":1", r.run(&Batch{Commands: [][][]byte{{[]byte("HDEL"), []byte("h"), []byte("")}}}))
}

// Both endpoints see one session.
func TestHTTPFields(t *testing.T) {
	r := newRedis(t)
	_, err := r.store.Do(&session.Op{Kind: session.Put, Key: "k", Fields: []session.Field{
		{Name: "list", Value: `[1,2]`}, {Name: "n", Value: `41`}, {Name: "text", Value: `"a\u0020\"b"`},
	}})
	require.NoError(t, err)
	r.exchanges(t, `
		HGETALL k -> *6 $4 list $5 [1,2] $1 n $2 41 $4 text $4 a "b
		HINCRBY k n 1 -> :42
		HSET k text {"no":"object"} -> :0
	`)
	res, err := r.store.Do(&session.Op{Kind: session.Patch, Key: "k", Nested: true, Fields: []session.Field{{Name: "text", Value: `{"a":1}`}}})
	require.NoError(t, err)
	value, _ := res.Record.Value("text")
	require.Equal(t, `{"a":1}`, value, "text is no object, whatever it looks like")
	value, _ = res.Record.Value("n")
	require.Equal(t, "\x0042", value)

	r.exchanges(t, "SET opaque bytes -> +OK")
	rec, err := r.store.Get("opaque")
	require.NoError(t, err)
	value, ok := rec.Opaque()
	require.True(t, ok)
	require.Equal(t, "bytes", value)
}

func TestSets(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		SADD s b a b -> :2
		SADD s a c -> :1
		SMEMBERS s -> *3 $1 a $1 b $1 c
		SMEMBERS none -> *0
		SISMEMBER s a -> :1
		SISMEMBER s x -> :0
		SMISMEMBER s a x c -> *3 :1 :0 :1
		SCARD s -> :3
		TYPE s -> +set
		HGET s a -> -WRONGTYPE Operation against a key holding the wrong kind of value
		SSCAN s 0 MATCH [ab] -> *2 $1 0 *2 $1 a $1 b
		SREM s a a x -> :1
		SPOP s 0 -> *0
		SPOP s -1 -> -ERR value is out of range, must be positive
		SREM s b -> :1
		SPOP s -> $1 c
		SPOP s -> $-1
		EXISTS s -> :0
		SADD s a b c -> :3
		EXPIRE s 100 -> :1
		SADD s d -> :1
		TTL s -> :100
		SCARD s -> :4
	`)
	require.Contains(t, r.do("SPOP s 9"), "*4 ")
	r.exchanges(t, "EXISTS s -> :0")
	_, err := r.store.Do(&session.Op{Kind: session.Patch, Key: "s", Fields: []session.Field{{Name: "a", Value: "1"}}})
	require.ErrorIs(t, err, session.ErrDeleted)
	r.exchanges(t, "SADD s a -> :1")
	_, err = r.store.Do(&session.Op{Kind: session.Patch, Key: "s", Fields: []session.Field{{Name: "a", Value: "1"}}})
	require.ErrorIs(t, err, session.ErrType)
}

func TestSortedSets(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		ZADD z 2 b 1 a -> :2
		ZADD z 3 b 3 c -> :1
		ZADD z CH 4 b 3 c -> :1
		ZADD z NX 9 b 5 d -> :1
		ZADD z XX 6 d 9 x -> :0
		ZADD z GT 1 d -> :0
		ZSCORE z d -> $1 6
		ZADD z LT CH 5 d -> :1
		ZADD z INCR 1.5 d -> $3 6.5
		ZADD z NX INCR 1.5 d -> $-1
		ZADD z XX NX 1 d -> -ERR XX and NX options at the same time are not compatible
		ZADD z GT LT 1 d -> -ERR GT, LT, and/or NX options at the same time are not compatible
		ZADD z INCR 1 a 2 b -> -ERR INCR option supports a single increment-element pair
		ZADD z 1 -> -ERR wrong number of arguments for 'zadd' command
		ZADD z 1 a 2 -> -ERR syntax error
		ZADD z x a -> -ERR value is not a valid float
		ZINCRBY z -1 a -> $1 0
		ZCARD z -> :4
		ZRANGE z 0 -1 -> *4 $1 a $1 c $1 b $1 d
		ZRANGE z 0 1 WITHSCORES -> *4 $1 a $1 0 $1 c $1 3
		ZRANGE z 0 1 REV -> *2 $1 d $1 b
		ZREVRANGE z 0 0 WITHSCORES -> *2 $1 d $3 6.5
		ZRANGE z 0 4 BYSCORE -> *3 $1 a $1 c $1 b
		ZRANGE z (0 +inf BYSCORE LIMIT 1 1 -> *1 $1 b
		ZRANGE z 4 (0 BYSCORE REV -> *2 $1 b $1 c
		ZRANGE z 0 1 LIMIT 0 1 -> -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
		ZRANGE z a 1 -> -ERR value is not an integer or out of range
		ZRANGEBYSCORE z -inf (4 WITHSCORES LIMIT 0 -1 -> *4 $1 a $1 0 $1 c $1 3
		ZRANGEBYSCORE z x 4 -> -ERR min or max is not a float
		ZREVRANGEBYSCORE z +inf 3 -> *3 $1 d $1 b $1 c
		ZCOUNT z (0 4 -> :2
		ZRANK z c -> :1
		ZREVRANK z c -> :2
		ZRANK z x -> $-1
		ZMSCORE z a x -> *2 $1 0 $-1
		ZSCAN z 0 MATCH d -> *2 $1 0 *2 $1 d $3 6.5
		ZREM z a x -> :1
		ZREMRANGEBYSCORE z 3 4 -> :2
		TYPE z -> +zset
		ZADD z inf d -> :0
		ZSCORE z d -> $3 inf
		ZINCRBY z -inf d -> -ERR resulting score is not a number (NaN)
		ZREM z d -> :1
		EXISTS z -> :0
	`)
	r.proto = 3
	r.exchanges(t, `
		ZADD z 1.5 a -> :1
		ZRANGE z 0 -1 WITHSCORES -> *1 *2 $1 a ,1.5
		ZSCORE z x -> _
		SADD s a -> :1
		SMEMBERS s -> ~1 $1 a
		HSET h f v -> :1
		HGETALL h -> %1 $1 f $1 v
		GET none -> _
	`)
}

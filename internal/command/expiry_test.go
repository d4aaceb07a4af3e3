package command

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

func TestExpire(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		EXPIRE k 10 -> :0
		TTL k -> :-2
		PERSIST k -> :0
		SET k v -> +OK
		PERSIST k -> :0
		EXPIRE k 10 XX -> :0
		EXPIRE k 10 GT -> :0
		EXPIRE k 10 NX -> :1
		EXPIRE k 20 NX -> :0
		EXPIRE k 5 GT -> :0
		EXPIRE k 15 LT -> :0
		EXPIRE k 20 GT XX -> :1
		EXPIRE k 10 NX GT -> -ERR NX and XX, GT or LT options at the same time are not compatible
		EXPIRE k 10 GT LT -> -ERR GT and LT options at the same time are not compatible
		EXPIRE k 10 YY -> -ERR Unsupported option YY
		EXPIRE k x -> -ERR value is not an integer or out of range
		EXPIRE k 9223372036854775807 -> -ERR invalid expire time in 'expire' command
		PTTL k -> :20000
		PEXPIREAT k 1700000001501 -> :1
		PTTL k -> :1501
		TTL k -> :2
		EXPIREAT k 1700000003 -> :1
		PEXPIRETIME k -> :1700000003000
		PERSIST k -> :1
		TTL k -> :-1
		PEXPIRE k 1000 -> :1
	`)
	r.clock.advance(999 * time.Millisecond)
	r.exchanges(t, `
		PTTL k -> :1
		EXISTS k -> :1
	`)
	r.clock.advance(time.Millisecond)
	r.exchanges(t, `
		GET k -> $-1
		TTL k -> :-2
		SET k v -> +OK
		EXPIRE k -1 -> :1
		EXISTS k -> :0
		SET k v -> +OK
		EXPIREAT k 1 -> :1
		EXISTS k -> :0
	`)
}

// A session that slides goes on to do so, unless it is given a moment.
func TestExpiryOfASlidingSession(t *testing.T) {
	r := newRedis(t)
	put := func() {
		_, err := r.store.Do(&session.Op{Kind: session.Put, Key: "k", Revive: true, TTL: time.Minute, MaxAge: time.Hour,
			Fields: []session.Field{{Name: "a", Value: "1"}}})
		require.NoError(t, err)
	}
	put()
	r.exchanges(t, "TTL k -> :60")
	r.clock.advance(10 * time.Second)
	r.exchanges(t, `
		TTL k -> :50
		HSET k b 2 -> :1
		TTL k -> :60
		EXPIRE k 100 -> :1
		TTL k -> :100
	`)
	r.clock.advance(10 * time.Second)
	r.exchanges(t, `
		HGET k a -> $1 1
		TTL k -> :90
		HSET k b 2 -> :0
		TTL k -> :100
		EXPIRE k 100000 -> :1
		TTL k -> :3580
		EXPIREAT k 1700000030 -> :1
		TTL k -> :10
		HSET k b 2 -> :0
	`)
	r.clock.advance(5 * time.Second)
	r.exchanges(t, `
		HSET k b 2 -> :0
		TTL k -> :5
		PERSIST k -> :1
		TTL k -> :-1
	`)
	put()
	r.exchanges(t, `
		TTL k -> :60
		SET k v -> +OK
		TTL k -> :-1
	`)
}

// What HTTP does to a session with a fixed end leaves that end.
func TestHTTPOverAFixedEnd(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		HSET k a 1 -> :1
		EXPIRE k 100 -> :1
	`)
	r.clock.advance(10 * time.Second)
	res, err := r.store.Do(&session.Op{Kind: session.Patch, Key: "k", Nested: true, Fields: []session.Field{{Name: "b", Value: "{}"}}})
	require.NoError(t, err)
	require.Equal(t, session.Expiry{At: 1700000100000, Deadline: 1700000100000, Stamp: res.Record.Expiry().Stamp}, res.Record.Expiry())
	r.exchanges(t, "TTL k -> :90")
}

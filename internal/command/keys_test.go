package command

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

func TestKeys(t *testing.T) {
	newRedis(t).exchanges(t, `
		RENAME {a}1 {a}2 -> -ERR no such key
		RENAMENX {a}1 {a}2 -> -ERR no such key
		SET {a}1 x EX 100 -> +OK
		SET {a}2 y -> +OK
		RENAMENX {a}1 {a}2 -> :0
		RENAME {a}1 {a}2 -> +OK
		EXISTS {a}1 -> :0
		GET {a}2 -> $1 x
		TTL {a}2 -> :100
		RENAME {a}2 {a}2 -> +OK
		GET {a}2 -> $1 x
		RENAMENX {a}2 {a}1 -> :1
		SADD {a}3 m -> :1
		RENAME {a}3 {a}1 -> +OK
		SMEMBERS {a}1 -> *1 $1 m
		RENAME {a}1 {b}1 -> -CROSSSLOT Keys in request don't hash to the same slot
		SET n 12 -> +OK
		OBJECT ENCODING n -> $3 int
		OBJECT encoding none -> $-1
		OBJECT ENCODING {a}1 -> $9 hashtable
		SET n text -> +OK
		OBJECT ENCODING n -> $6 embstr
	`)
}

func TestScripts(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		holdfast.setexnx lock 30 me -> +OK
		holdfast.setexnx lock 30 you -> $-1
		holdfast.setexnx other 0 you -> -ERR invalid expire time in 'setex' command
		TTL lock -> :30
		holdfast.delifeq lock you -> :0
		GET lock -> $2 me
		holdfast.delifeq lock me -> :1
		holdfast.delifeq lock me -> :0
		holdfast.hsetex h -1 a 1 b 2 -> :1
		TTL h -> :-1
		holdfast.hsetex h 50 a 3 -> :1
		TTL h -> :50
		HMGET h a b -> *2 $1 3 $1 2
		holdfast.delifeq h me -> -WRONGTYPE Operation against a key holding the wrong kind of value
	`)
}

func TestRefuseRevive(t *testing.T) {
	r := newRedis(t)
	r.env.RefuseRevive = 30_000
	r.do("SET k v")
	r.do("DEL k")
	r.clock.advance(29 * time.Second)
	for _, line := range []string{"SET k v", "SET k v KEEPTTL", "SETEX k 9 v", "GETSET k v", "MSET k v", "APPEND k v", "SETRANGE k 0 v", "INCR k",
		"INCRBYFLOAT k 1", "HSET k f v", "HMSET k f v", "HINCRBY k f 1", "holdfast.hsetex k -1 f v"} {
		require.Equal(t, "-"+string(errRevive), r.do(line), line)
	}
	r.exchanges(t, `
		GET k -> $-1
		SET k v NX -> +OK
		SET k w -> +OK
		DEL k -> :1
	`)
	r.clock.advance(30 * time.Second)
	r.exchanges(t, "SET k v -> +OK")
}

func TestOutcome(t *testing.T) {
	r := newRedis(t)
	r.env.Events = true
	for _, tt := range []struct {
		line    string
		changed int
		events  []Event
		exact   bool
		deleted bool
	}{
		{"SET k v EX 1", 1, []Event{{"set", "k"}, {"expire", "k"}}, false, false},
		{"GET k", 0, nil, false, false},
		{"SET k v NX", 0, nil, false, false},
		{"SETNX n v", 1, []Event{{"set", "n"}}, true, false},
		{"EXPIRE k 2", 1, []Event{{"expire", "k"}}, false, false},
		{"PERSIST k", 1, []Event{{"persist", "k"}}, false, false},
		{"EXPIRE k -1", 1, []Event{{"del", "k"}}, false, true},
		{"DEL k", 1, nil, false, true},
		{"SET k v NX PX 5", 1, []Event{{"set", "k"}, {"expire", "k"}}, true, false},
		{"holdfast.delifeq k v", 1, []Event{{"del", "k"}}, false, true},
		{"SET l v", 1, []Event{{"set", "l"}}, false, false},
		{"holdfast.leave l", 1, []Event{{"rename_from", "l"}}, false, true},
		{"holdfast.leave l", 1, nil, false, true},
		{"SADD s a", 1, []Event{{"sadd", "s"}}, false, false},
		{"SADD s a", 0, nil, false, false},
		{"SREM s x", 0, nil, false, false},
		{"SREM s a", 1, []Event{{"srem", "s"}, {"del", "s"}}, false, true},
		{"RENAME n n", 0, []Event{{"rename_from", "n"}, {"rename_to", "n"}}, false, false},
	} {
		r.do(tt.line)
		require.Len(t, r.out.Changed, tt.changed, tt.line)
		require.Equal(t, tt.events, r.out.Events, tt.line)
		require.Equal(t, tt.exact, r.out.Exact, tt.line)
		require.Equal(t, tt.deleted, r.out.Deleted, tt.line)
	}
	r.do("SET k v PX 1")
	r.clock.advance(time.Second)
	r.do("SET k v")
	require.Contains(t, r.out.Events, Event{"expired", "k"}, "nobody else will say so")
}

func TestUnverifiedRunAnswersNoMiss(t *testing.T) {
	r := newRedis(t)
	r.do("SET here v")
	r.do("SET gone v")
	r.do("DEL gone")
	r.env.Unverified = true
	run := func(line string) error {
		args := words(line)
		b := &Batch{Commands: [][][]byte{args}, Key: string(args[1]), Proto: 2}
		_, err := b.Run(r.store, ring.Partition(b.Key), r.env, nil)
		return err
	}
	for _, line := range []string{"GET none", "SET none v NX", "SETNX none v", "SET none v GET", "HSET none f v", "APPEND none v", "EXPIRE none 1"} {
		require.ErrorIs(t, run(line), session.ErrNotFound, line)
	}
	require.Nil(t, r.store.Peek("none"))
	for _, line := range []string{"GET here", "GET gone", "SET gone v NX", "SET none v", "DEL none2"} {
		require.NoError(t, run(line), line)
	}
}

func TestRefusals(t *testing.T) {
	r := newRedis(t, func(c *session.Config) { c.MaxSession, c.MemoryLimit = 100, 2000 })
	long := string(make([]byte, 101))
	r.exchanges(t, `
		SET k `+long+` -> -ERR string exceeds maximum allowed size (proto-max-bulk-len)
		SETRANGE k 536870912 x -> -ERR string exceeds maximum allowed size (proto-max-bulk-len)
		SETRANGE k 99 xx -> -ERR string exceeds maximum allowed size (proto-max-bulk-len)
		SET k v -> +OK
	`)
	full := "OOM command not allowed when used memory > 'maxmemory'."
	for i := 0; ; i++ {
		if got := r.do("SET k" + string(rune('a'+i)) + " v"); got != "+OK" {
			require.Equal(t, "-"+full, got)
			break
		}
		require.Less(t, i, 20)
	}
	r.exchanges(t, `
		SET k w -> +OK
		DEL k -> :1
	`)
}

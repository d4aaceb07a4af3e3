package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/session"
)

func TestKeyedCommandsAreRun(t *testing.T) {
	s, _ := open(t)
	dial(t, s).exchanges(`
		SET k v -> +OK
		get k -> $1 v
		GET nothing -> $-1
		HSET h f v -> :1
		GET h -> -WRONGTYPE Operation against a key holding the wrong kind of value
		GET -> -ERR wrong number of arguments for 'get' command
		SET k v EX -> -ERR syntax error
	`)
}

// Between nodes DUMP is a copy, of which v0.2.0 makes another key. A client gets
// Redis's payload, alone and in a transaction.
func TestClientsGetPayloadsOfRedis(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	value := rdb.Value{Text: "v"}
	payload := value.Append(nil)
	want := fmt.Sprintf("$%d %s", len(payload), payload)
	c.exchanges(`
		SET k v -> +OK
		DUMP none -> $-1
		DUMP -> -ERR wrong number of arguments for 'dump' command
		DUMP a b -> -ERR wrong number of arguments for 'dump' command
	`)
	require.Equal(t, want, c.do("DUMP k"))
	c.exchanges(`
		MULTI -> +OK
		DUMP k -> +QUEUED
	`)
	require.Equal(t, "*1 "+want, c.do("EXEC"))

	_, err := f.store.Do(&session.Op{Kind: session.Put, Key: "http", TTL: time.Minute, Fields: []session.Field{{Name: "a", Value: "1"}}})
	require.NoError(t, err)
	c.exchanges("RENAME http elsewhere -> +OK")
	require.Equal(t, time.Minute.Milliseconds(), f.store.Peek("elsewhere").Expiry().Idle, "it slides on")
}

func TestConnectionCommands(t *testing.T) {
	s, _ := open(t)
	dial(t, s).exchanges(`
		PING -> +PONG
		PING hi -> $2 hi
		PING a b -> -ERR wrong number of arguments for 'ping' command
		ECHO hi -> $2 hi
		SELECT 0 -> +OK
		SELECT 1 -> -ERR DB index is out of range
		SELECT x -> -ERR value is not an integer or out of range
		SELECT 0 -> +OK
		READONLY -> +OK
		READWRITE -> +OK
		ASKING -> +OK
		CLIENT GETNAME -> $-1
		CLIENT SETNAME me -> +OK
		CLIENT GETNAME -> $2 me
		CLIENT SETNAME "a b" -> -ERR Client names cannot contain spaces, newlines or special characters.
		CLIENT SETINFO LIB-NAME go-redis(,go1.26) -> +OK
		CLIENT SETINFO LIB-X y -> -ERR Unrecognized option 'LIB-X'
		CLIENT NO-EVICT on -> +OK
		CLIENT NO-TOUCH on -> +OK
		CLIENT TRACKING ON OPTIN -> -ERR client side caching is not supported, disable it in the client
		CLIENT TRACKING OFF -> +OK
		CLIENT GETREDIR -> :-1
		CLIENT MAINT_NOTIFICATIONS ON -> -ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.
		CLIENT -> -ERR wrong number of arguments for 'client' command
		CLIENT SETNAME -> -ERR wrong number of arguments for 'client|setname' command
		NOSUCH a b -> -ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' 
		SENTINEL MASTERS -> -ERR unknown command 'SENTINEL', with args beginning with: 'MASTERS' 
		holdfast.delifeq k v -> -ERR unknown command 'holdfast.delifeq', with args beginning with: 'k' 'v' 
		RESET -> +RESET
		CLIENT GETNAME -> $-1
		QUIT -> +OK
	`)
}

package redis

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const answerForeign = "-" + string(errForeign)

// What goes on after a SELECT that was refused reaches no session, until it has
// come back.
func TestARefusedSelectKeepsAwayFromTheSessions(t *testing.T) {
	for name, leave := range map[string][]string{
		"plain":       {"SELECT 1 -> -ERR DB index is out of range"},
		"no number":   {"SELECT one -> -ERR value is not an integer or out of range"},
		"transaction": {"MULTI -> +OK", "DEL k -> +QUEUED", "SELECT 1 -> -ERR DB index is out of range"},
		"watch":       {"WATCH k -> +OK", "SELECT 15 -> -ERR DB index is out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, allowFlush)
			c, own := dial(t, s), dial(t, s)
			require.Equal(t, "+OK", own.do("SET k v"))
			for _, line := range leave {
				c.exchanges(line)
			}
			for _, line := range []string{
				"GET k", "SET k foreign", "DEL k", "PEXPIRE k 1", "MULTI", "EXEC", "FLUSHDB", "FLUSHALL ASYNC", "KEYS *", "SCAN 0", "DBSIZE",
				"RENAME k l", "EVAL x 0", "WATCH k", "SUBSCRIBE c", "PUBLISH c m", "MGET k l", "MSET k 1 l 2", "INFO", "CLIENT LIST",
			} {
				require.Equal(t, answerForeign, c.do(line), line)
			}
			require.Equal(t, "$1 v", own.do("GET k"), "nothing was done")
			c.exchanges(`
				PING -> +PONG
				SELECT 2 -> -ERR DB index is out of range
				GET k -> ` + answerForeign + `
				SELECT 0 -> +OK
				EXEC -> -ERR EXEC without MULTI
				GET k -> $1 v
				SELECT 1 -> -ERR DB index is out of range
				RESET -> +RESET
				GET k -> $1 v
				SELECT 1 -> -ERR DB index is out of range
				QUIT -> +OK
			`)
			c.closed()
		})
	}
}

// A pipeline is not looked at answer by answer.
func TestARefusedSelectInAPipeline(t *testing.T) {
	s, _ := open(t, allowFlush)
	own, c := dial(t, s), dial(t, s)
	require.Equal(t, "+OK", own.do("SET k v"))
	c.send("SELECT 1", "DEL k", "FLUSHDB", "SELECT 0", "GET k")
	for _, want := range []string{"-ERR DB index is out of range", answerForeign, answerForeign, "+OK", "$1 v"} {
		require.Equal(t, want, c.read())
	}
}

func TestASelectBeforeAuthCountsToo(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.Password = "secret" })
	dial(t, s).exchanges(`
		SELECT 3 -> -NOAUTH Authentication required.
		AUTH secret -> +OK
		GET k -> ` + answerForeign + `
		SELECT 0 -> +OK
		GET k -> $-1
	`)
}

func TestFlushWantsAFlag(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Equal(t, "+OK", c.do("SET k v"))
	for _, line := range []string{"FLUSHDB", "flushall", "FLUSHALL ASYNC", "FLUSHDB SYNC"} {
		require.Equal(t, "-"+string(errNoFlush), c.do(line), line)
	}
	c.exchanges(`
		MULTI -> +OK
		FLUSHALL -> -` + string(errNoFlush) + `
		EXEC -> -EXECABORT Transaction discarded because of previous errors.
		GET k -> $1 v
	`)
	s, _ = open(t, allowFlush)
	dial(t, s).exchanges(`
		SET k v -> +OK
		FLUSHALL -> +OK
		GET k -> $-1
		MULTI -> +OK
		SELECT 0 -> +QUEUED
		FLUSHDB -> +QUEUED
		EXEC -> *2 +OK +OK
	`)
}

// What would end all sessions, or the node, in Redis does not do so here.
func TestCarelessScriptsEndNothing(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Equal(t, "+OK", c.do("SET k v"))
	for _, line := range []string{
		"FLUSHALL", "FLUSHDB ASYNC", "SHUTDOWN NOSAVE", "DEBUG FLUSHALL", "DEBUG RELOAD", "DEBUG SEGFAULT", "SWAPDB 0 1", "MOVE k 1", "COPY k l DB 1",
		"MIGRATE 127.0.0.1 1 k 0 1", "REPLICAOF 127.0.0.1 1", "SLAVEOF 127.0.0.1 1", "FAILOVER", "CLUSTER RESET HARD", "CLUSTER FLUSHSLOTS",
		"CLUSTER FAILOVER TAKEOVER", "CLUSTER FORGET x", "CLUSTER DELSLOTS 1", "FUNCTION FLUSH", "CONFIG SET maxmemory 1", "CONFIG SET databases 1 maxmemory 1",
		"EVAL \"return redis.call('flushall')\" 0", "EVAL \"return redis.call('flushdb')\" 1 k", "ACL SETUSER default off", "CLIENT PAUSE 100000",
	} {
		require.Equal(t, byte('-'), c.do(line)[0], line)
		require.Equal(t, "$1 v", c.do("GET k"), line)
	}
	require.Equal(t, "+OK", c.do("SCRIPT FLUSH"))
	require.Equal(t, "$1 v", c.do("GET k"))
}

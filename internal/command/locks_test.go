package command

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

// TestLocks: what makes a key a lock, what keeps it one and has to wait for a
// copy, and what makes it a plain key again, for which nobody waits.
func TestLocks(t *testing.T) {
	r := newRedis(t)
	for _, tt := range []struct {
		line  string
		exact bool // a copy is waited for
		lock  bool // k is one afterwards
	}{
		{"SET k v", false, false},
		{"SET k v XX", false, false},
		{"EXPIRE k 9", false, false},
		{"DEL k", false, false},
		{"SET k v NX PX 9000", true, true},
		{"SET k w NX PX 9000", false, true}, // it is held
		{"GET k", false, true},
		{"PEXPIRE k 9000", true, true},
		{"EXPIRE k 1 GT", false, true}, // refused
		{"EXPIRE k 99 GT", true, true},
		{"EXPIREAT k 4000000000", true, true},
		{"PEXPIREAT k 4000000000000", true, true},
		{"GETEX k", false, true},
		{"GETEX k EX 9", true, true},
		{"GETEX k PERSIST", true, true},
		{"PERSIST k", false, true}, // it had no end any more
		{"SET k v XX EX 9", true, true},
		{"SET k v XX KEEPTTL", true, true},
		{"PERSIST k", true, true},
		{"SET k v EX 9", false, false}, // whatever was there
		{"SET k v XX EX 9", false, false},
		{"EXPIRE k 9", false, false},
		{"DEL k", false, false},
		{"SETNX k 1", true, true},
		{"INCR k", false, false}, // a counter
		{"EXPIRE k 9", false, false},
		{"DEL k", false, false},
		{"MSETNX k 1 {k}2 2", true, true},
		{"EXPIRE {k}2 9", true, true},
		{"RENAME k {k}3", false, false},
		{"EXPIRE {k}3 9", true, false},
		{"SET {k}4 v", false, false},
		{"RENAMENX {k}4 k", true, true},
		{"EXPIRE k 9", true, true},
		{"GETSET k v", false, false},
	} {
		b := batchOf(tt.line)
		waits := b.MayWait() || b.Renews(r.store)
		r.do(tt.line)
		require.Equal(t, tt.exact, r.out.Exact, tt.line)
		require.True(t, !tt.exact || waits, "%s: the link's reader would wait for a copy", tt.line)
		rec := r.store.Peek("k")
		lock := false
		if rec != nil {
			_, lock = rec.Value(fieldLock)
		}
		require.Equal(t, tt.lock, lock, tt.line)
	}
}

// TestPlainKeysAreNotWaitedFor: what libraries do to sessions with each request
// of their users is done on the goroutine that reads a link.
func TestPlainKeysAreNotWaitedFor(t *testing.T) {
	r := newRedis(t)
	r.do("SET k v EX 9")
	r.do("HSET h f v")
	for _, line := range []string{"EXPIRE k 9", "PEXPIRE k 9000", "PERSIST k", "EXPIRE h 9", "EXPIRE none 9", "SET k v EX 9", "EXPIRE"} {
		b := batchOf(line)
		require.False(t, b.MayWait() || b.Renews(r.store), line)
	}
}

// TestLockIsAString: nothing that a client sees tells a lock from another
// string.
func TestLockIsAString(t *testing.T) {
	r := newRedis(t)
	r.do("SET k v NX")
	for _, line := range []string{"GET k", "TYPE k", "STRLEN k", "OBJECT ENCODING k", "HGETALL k", "GETRANGE k 0 -1"} {
		lock := r.do(line)
		r.do("SET k v")
		require.Equal(t, r.do(line), lock, line)
		r.do("DEL k")
		r.do("SET k v NX")
	}
}

// BenchmarkExpire is what the owner does to give a key another end.
func BenchmarkExpire(b *testing.B) {
	for name, line := range map[string]string{"plain": "SET k v", "lock": "SET k v NX"} {
		b.Run(name, func(b *testing.B) {
			r := newRedis(b)
			r.do(line)
			expire, changed, dst := batchOf("PEXPIRE k 30000"), make([]string, 0, 1), make([]byte, 0, 100)
			expire.Key = "k"
			for b.Loop() {
				_, _ = expire.Run(r.store, ring.Partition("k"), Env{Changed: changed}, dst)
			}
		})
	}
}

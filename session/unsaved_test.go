package session

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whoever takes all changes, some at a time, has in the end what is held, however
// it came and went.
func TestUnsavedIsAllThatChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const partitions, tombstoneFor = 2, time.Minute
		now := time.UnixMilli(1e12)
		store, err := NewStore(Config{
			Partitions: partitions, PartitionOf: func(key string) int { return int(key[0]) % partitions }, TagOf: func(key string) (string, bool) { return key[:1], true },
			Now: func() time.Time { return now }, TombstoneFor: tombstoneFor, MemoryLimit: 1 << 20,
		})
		require.NoError(t, err)
		store.KeepUnsaved()
		saved := make([]map[string]uint64, partitions)
		ended := make(map[uint64]time.Time) // tombstones that were saved, by their hashes, and when
		for p := range partitions {
			store.Open(p)
			saved[p] = make(map[string]uint64)
		}
		take := func(p, most int) (more bool) {
			cleared, some, more := store.TakeUnsaved(p, most)
			require.LessOrEqual(t, len(some), most)
			if cleared {
				clear(saved[p])
			}
			for _, u := range some {
				if u.Record == nil {
					delete(saved[p], u.Key)
				} else {
					require.Equal(t, u.Key, u.Record.Key())
					saved[p][u.Key] = u.Record.Hash()
					if u.Record.Dead() {
						ended[u.Record.Hash()] = u.Record.Version().Time()
					}
				}
			}
			return more
		}
		key := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%c%d", 'a'+rapid.IntRange(0, 3).Draw(t, "tag"), rapid.IntRange(0, 4).Draw(t, "n"))
		})
		do := func(op *Op) { _, _ = store.Do(op) } // that some are refused is part of it
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2:
				do(&Op{Kind: Put, Key: k, TTL: time.Duration(rapid.IntRange(1, 100).Draw(t, "ttl")) * time.Second, Fields: []Field{{Name: "f", Value: k}}})
			case 3:
				do(&Op{Kind: Touch, Key: k})
			case 4:
				do(&Op{Kind: Delete, Key: k})
			case 5:
				do(&Op{Kind: Rotate, Key: k, NewKey: k[:1] + "new"})
			case 6:
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
				store.Expire()
			case 7:
				store.Drop(store.cfg.PartitionOf(k))
			case 8:
				require.NoError(t, store.RaiseFloor(store.cfg.PartitionOf(k), now.Add(30*time.Second).UnixMilli()))
			case 9:
				take(store.cfg.PartitionOf(k), rapid.IntRange(0, 3).Draw(t, "most"))
			}
		}
		for p := range partitions {
			for store.HasUnsaved(p) {
				take(p, 2)
			}
			require.False(t, take(p, 2))
			held := make(map[string]uint64)
			for _, rec := range store.Records(p) {
				held[rec.Key()] = rec.Hash()
			}
			for key, hash := range saved[p] { // of what is compacted the key is not known here
				if rec := store.Peek(key); held[key] == 0 && rec != nil && rec.Dead() {
					require.Equal(t, rec.Hash(), hash)
					held[key] = hash
				}
				// Nor is it when that is over its time: who has saved it finds out.
				if at, dead := ended[hash]; dead && held[key] == 0 && now.Sub(at) >= tombstoneFor {
					delete(saved[p], key)
				}
			}
			require.Equal(t, held, maps.Clone(saved[p]))
		}
	})
}

// A store of which nobody wants to know keeps nothing.
func TestUnsavedOfNobody(t *testing.T) {
	t.Parallel()
	store, err := NewStore(Config{Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false }})
	require.NoError(t, err)
	store.Open(0)
	_, err = store.Do(&Op{Kind: Put, Key: "k", Fields: []Field{{Name: "f"}}})
	require.NoError(t, err)
	require.False(t, store.HasUnsaved(0))
	store.Drop(0)
	require.False(t, store.HasUnsaved(0))
}

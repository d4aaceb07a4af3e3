package session

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func newTable() *table {
	t := new(table)
	t.clear()
	return t
}

func tableEntry(key string, i int) held {
	return held{rec: newSession(key, 1, 1, Expiry{Stamp: 1}, []Field{{Value: fmt.Sprint(i), Stamp: 1}}), until: int64(i + 1)}
}

func TestSlotSize(t *testing.T) {
	require.Equal(t, uintptr(32), unsafe.Sizeof(slot{}), "two fill a cache line")
}

// TestTableIsAMap: a table and a map that are told the same say the same, also
// where keys share a tag, after most have gone, and after all have.
func TestTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, model := newTable(), make(map[string]held)
		keys := rapid.IntRange(1, 200).Draw(t, "keys")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range rapid.IntRange(1, 2000).Draw(t, "steps") {
			key := fmt.Sprint("key-", rng.IntN(keys))
			switch rng.IntN(10) {
			case 0, 1, 2:
				table.remove(key)
				delete(model, key)
			case 3:
				if h, ok := model[key]; ok { // a touch
					h.until = int64(i + 1)
					table.put(h)
					model[key] = h
				}
			case 4:
				if rng.IntN(50) == 0 {
					table.clear()
					clear(model)
				}
				table.trim()
			default:
				h := tableEntry(key, i)
				table.put(h)
				model[key] = h
			}
			h, ok := table.find(key)
			want, has := model[key]
			require.Equal(t, has, ok)
			require.Equal(t, want, h)
			require.Equal(t, len(model), table.size)
			require.LessOrEqual(t, table.size, table.taken)
			if slots := len(*table.array.Load()); table.taken > 0 {
				require.LessOrEqual(t, table.taken, slots/4*3, "a seeker must come to an end")
			}
		}
		all := make(map[string]held)
		for h := range table.all() {
			require.NotContains(t, all, h.rec.key)
			all[h.rec.key] = h
		}
		require.Equal(t, model, all)
		for key := range model {
			_, ok := table.find(key)
			require.True(t, ok)
		}
	})
}

// TestTableTellsKeysOfOneTagApart has two keys with equal tags: it looks for
// them among keys of one length, of which 32 bits of hash are the rest.
func TestTableTellsKeysOfOneTagApart(t *testing.T) {
	seen := make(map[uint64]string)
	var a, b string
	for i := 0; a == ""; i++ {
		key := fmt.Sprintf("%08x", i)
		if other, ok := seen[tagOf(key)]; ok {
			a, b = other, key
		}
		seen[tagOf(key)] = key
	}
	table := newTable()
	table.put(tableEntry(a, 1))
	_, ok := table.find(b)
	require.False(t, ok)
	table.put(tableEntry(b, 2))
	h, ok := table.find(b)
	require.True(t, ok)
	require.Equal(t, int64(3), h.until)
	table.remove(a)
	_, ok = table.find(a)
	require.False(t, ok)
	_, ok = table.find(b)
	require.True(t, ok, "behind a slot that has lost its session")
	table.put(tableEntry(a, 4))
	require.Equal(t, 2, table.taken, "the slot is used again")
	require.Equal(t, 2, table.size)
}

// TestReadersWithoutTheLock: a session that is never removed is always found
// while others come and go, its value and its end are always of one write, and
// no reader sees a write undone.
func TestReadersWithoutTheLock(t *testing.T) {
	const readers, rounds = 3, 20_000
	table := newTable()
	table.put(tableEntry("stays", 0))
	var done atomic.Bool
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			last := int64(0)
			for !done.Load() {
				h, ok := table.find("stays")
				if !ok {
					t.Error("not found")
					return
				}
				value, _ := h.rec.Opaque()
				if h.until == 0 {
					continue // it is being written
				}
				if value != fmt.Sprint(h.until-1) || h.until < last {
					t.Errorf("value %s with the end %d, after the end %d", value, h.until, last)
					return
				}
				last = h.until
				if h, ok := table.find("goes"); ok && h.rec.key != "goes" {
					t.Errorf("looked for %q and found %q", "goes", h.rec.key)
					return
				}
			}
		})
	}
	for i := range rounds {
		table.put(tableEntry("stays", i))
		switch key := fmt.Sprint("other-", i%100); i % 3 {
		case 0:
			table.put(tableEntry("goes", i))
			table.put(tableEntry(key, i))
		case 1:
			table.remove("goes")
			table.remove(key)
		}
		if i%1000 == 0 {
			table.trim()
			table.resize(table.size)
		}
	}
	done.Store(true)
	wg.Wait()
}

// TestKeysKeepNoSession: what outlives a session, its tombstone and its entry
// in the heap, does not keep the session's memory.
func TestKeysKeepNoSession(t *testing.T) {
	s, _ := testStore(t)
	rec := do(t, s, Op{Kind: Put, Key: "k", Fields: []Field{{Value: strings.Repeat("v", 1000)}}}).Record
	do(t, s, Op{Kind: Delete, Key: "k"})
	p := s.partition("k")
	require.Len(t, p.dead, 1)
	for key := range p.dead {
		require.NotSame(t, unsafe.StringData(rec.key), unsafe.StringData(key))
	}
	for _, d := range p.deadDue {
		require.NotSame(t, unsafe.StringData(rec.key), unsafe.StringData(d.key))
	}
}

// TestPrefetchFindsAnything: it is given whatever clients send.
func TestPrefetchFindsAnything(t *testing.T) {
	s, _ := testStore(t)
	put(t, s, "k")
	do(t, s, Op{Kind: Delete, Key: "k"})
	put(t, s, "l")
	keys := []string{"", "k", "l", "unknown"}
	for range 100 {
		keys = append(keys, "l")
	}
	s.Prefetch(keys)
	s.Prefetch(nil)
	checkInvariants(t, s)
}

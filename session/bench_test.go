package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cespare/xxhash/v2"
)

const million = 1_000_000

// benchStore is a store as a node sets it up: 1,024 open partitions, the real
// clock.
func benchStore(tb testing.TB) *Store {
	return testStoreWith(tb, Config{
		Partitions:  1024,
		PartitionOf: func(key string) int { return int(xxhash.Sum64String(key) % 1024) },
		TagOf:       braceTag,
	})
}

// braceTag is the hash tag rule of Redis Cluster.
func braceTag(key string) (string, bool) {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag, true
		}
	}
	return key, false
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("sess:%016x", xxhash.Sum64String(fmt.Sprint(i)))
	}
	return keys
}

// filled is a store with a session of 300 bytes under each of a million keys,
// and these in another order than that of the store's memory. The keys
// themselves lie in reading order, as a request's key is at hand.
func filled(tb testing.TB) (*Store, []string) {
	s, keys := benchStore(tb), benchKeys(million)
	fill(tb, s, keys)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for i, key := range keys {
		keys[i] = strings.Clone(key)
	}
	runtime.GC()
	return s, keys
}

func fill(tb testing.TB, s *Store, keys []string) {
	value := strings.Repeat("v", 300)
	for _, key := range keys {
		if _, err := s.Do(&Op{Kind: Put, Key: key, Fields: []Field{{Value: value}}}); err != nil {
			tb.Fatal(err)
		}
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// eachKey runs do for the keys in turn, on GOMAXPROCS goroutines that are far
// apart from each other.
func eachKey(b *testing.B, keys []string, do func(key string) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var starts atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		i := int(starts.Add(million / 2))
		for ; pb.Next(); i++ {
			if err := do(keys[i%million]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGet reads one session after another of a million. Nearly all of it
// is waiting for memory, so a bare map of the same sessions runs beside it as
// the measure of the machine.
func BenchmarkGet(b *testing.B) {
	s, keys := filled(b)
	b.Run("store", func(b *testing.B) {
		eachKey(b, keys, func(key string) error {
			_, err := s.Get(key)
			return err
		})
	})
	b.Run("map", func(b *testing.B) {
		m := make(map[string]*Record)
		for p := range 1024 {
			for _, rec := range s.Records(p) {
				m[rec.key] = rec
			}
		}
		eachKey(b, keys, func(key string) error {
			if m[key] == nil {
				return ErrNotFound
			}
			return nil
		})
	})
	b.Run("one key", func(b *testing.B) { // what is left when memory is not waited for
		eachKey(b, keys, func(string) error {
			_, err := s.Get(keys[0])
			return err
		})
	})
}

// BenchmarkPut replaces sessions of 300 bytes, of a million and of a thousand.
func BenchmarkPut(b *testing.B) {
	s, keys := filled(b)
	value := strings.Repeat("w", 300)
	b.Run("million", func(b *testing.B) {
		eachKey(b, keys, func(key string) error {
			_, err := s.Do(&Op{Kind: Put, Key: key, Fields: []Field{{Value: value}}})
			return err
		})
	})
	b.Run("thousand", func(b *testing.B) {
		var next atomic.Uint32
		eachKey(b, keys, func(string) error {
			key := keys[next.Add(1)%1000]
			_, err := s.Do(&Op{Kind: Put, Key: key, Fields: []Field{{Value: value}}})
			return err
		})
	})
}

func BenchmarkTouch(b *testing.B) {
	s, keys := filled(b)
	eachKey(b, keys, func(key string) error {
		_, err := s.Do(&Op{Kind: Touch, Key: key})
		return err
	})
}

// BenchmarkMerge brings in a million records that are newer than what is held,
// as a successor does.
func BenchmarkMerge(b *testing.B) {
	s, keys := filled(b)
	encoded := make([][]byte, 10_000)
	for i := range encoded {
		rec := s.Peek(keys[i])
		newer := newRecord(rec.key+rec.body, len(rec.key), rec.rank, rec.base+1, rec.expiry, rec.base+1)
		encoded[i] = newer.Append(nil)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		rec, _, err := DecodeRecord(encoded[i%len(encoded)])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Merge(rec); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkMemory measures once, whatever b.N, what a session of 300 bytes in
// one field, and then its tombstone, take beyond the bytes of key and value.
func BenchmarkMemory(b *testing.B) {
	keys := benchKeys(million)
	keyLen := float64(len(keys[0]))
	before := heapInUse()
	s := benchStore(b)
	fill(b, s, keys)
	b.ReportMetric(float64(heapInUse()-before)/million-keyLen-300, "overhead-B/session")
	for _, key := range keys {
		if _, err := s.Do(&Op{Kind: Delete, Key: key}); err != nil {
			b.Fatal(err)
		}
	}
	s.Expire()
	b.ReportMetric(float64(heapInUse()-before)/million-keyLen, "overhead-B/tombstone")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(s)
	runtime.KeepAlive(keys)
}

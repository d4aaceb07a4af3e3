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

// benchStore is a store as a node sets it up: 1,024 partitions and a real clock.
func benchStore(tb testing.TB) *Store {
	tb.Helper()
	s, err := NewStore(Config{
		Partitions:  1024,
		PartitionOf: func(key string) int { return int(xxhash.Sum64String(key) % 1024) },
		TagOf:       braceTag,
	})
	if err != nil {
		tb.Fatal(err)
	}
	for p := range 1024 {
		s.Open(p)
	}
	return s
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("sess:%016x", xxhash.Sum64String(fmt.Sprint(i)))
	}
	return keys
}

func fill(tb testing.TB, s *Store, keys []string) {
	tb.Helper()
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

func braceTag(key string) (string, bool) {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag, true
		}
	}
	return key, false
}

func BenchmarkGet(b *testing.B) {
	s, keys := benchStore(b), benchKeys(million)
	fill(b, s, keys)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for i, key := range keys {
		keys[i] = strings.Clone(key) // in reading order, as a request's key is at hand
	}
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		i := int(next.Add(million / 2))
		for ; pb.Next(); i++ {
			if _, err := s.Get(keys[i%million]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s, keys := benchStore(b), benchKeys(million)
	fill(b, s, keys)
	value := strings.Repeat("w", 300)
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			op := Op{Kind: Put, Key: keys[uint32(i)*2654435761%million], Fields: []Field{{Value: value}}}
			if _, err := s.Do(&op); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkTouch(b *testing.B) {
	s, keys := benchStore(b), benchKeys(million)
	fill(b, s, keys)
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Do(&Op{Kind: Touch, Key: keys[uint32(i)*2654435761%million]}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMemory measures what a session of 300 bytes in one field, and the
// tombstone of it, take beyond the bytes of key and value.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		keys := benchKeys(million)
		keyLen := int64(len(keys[0]))
		before := heapInUse()
		s := benchStore(b)
		fill(b, s, keys)
		used := heapInUse() - before
		b.ReportMetric(float64(used)/million-float64(keyLen+300), "overhead-B/session")
		b.ReportMetric(float64(s.Stats().Bytes)/float64(used), "counted/used")
		for _, key := range keys {
			s.Do(&Op{Kind: Delete, Key: key})
		}
		runtime.KeepAlive(s)
		s.Expire()
		used = heapInUse() - before
		b.ReportMetric(float64(used)/million-float64(keyLen), "overhead-B/tombstone")
		b.ReportMetric(float64(s.Stats().Bytes)/float64(used), "counted/used-tombstones")
		runtime.KeepAlive(s)
		runtime.KeepAlive(keys)
	}
}

package persist

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/session"
)

// benchPartitions is as many as a node has.
const benchPartitions = 1024

// benchBegin opens a directory of a real disk: HOLDFAST_BENCH_DIR, or else that
// of temporary files.
func benchBegin(b *testing.B, dir string) (*Persister, *session.Store, Loaded) {
	store, err := session.NewStore(session.Config{
		Partitions: benchPartitions, PartitionOf: func(key string) int {
			n := 0
			for _, c := range key {
				n = 10*n + int(c-'0')
			}
			return n % benchPartitions
		}, TagOf: func(key string) (string, bool) { return key, false }, Now: time.Now,
	})
	require.NoError(b, err)
	files, err := disk.OpenDir(dir)
	require.NoError(b, err)
	journal, err := disk.Open(files, disk.Identity{Cluster: "bench", Name: "ada"})
	require.NoError(b, err)
	p := New(Config{
		Journal: journal, Store: store, Partitions: benchPartitions,
		Clock: clock.New(time.Now), Log: slog.New(slog.DiscardHandler), Events: events.New(time.Now),
	})
	found, err := p.Load()
	require.NoError(b, err)
	for i := range benchPartitions {
		store.Open(i)
	}
	return p, store, found
}

func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(os.Getenv("HOLDFAST_BENCH_DIR"), "benchdisk")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func benchPut(b *testing.B, store *session.Store, i int) {
	value := fmt.Sprintf("%0300d", i)
	_, err := store.Do(&session.Op{Kind: session.Put, Key: fmt.Sprint(i), TTL: time.Hour, Fields: []session.Field{{Value: value}}})
	require.NoError(b, err)
}

// BenchmarkFlush is what it takes to bring one session of 300 bytes from the
// store into the journal: 10,000 have changed each time.
func BenchmarkFlush(b *testing.B) {
	const each = 10_000
	p, store, _ := benchBegin(b, benchDir(b))
	defer p.cfg.Journal.Close()
	var bytes int64
	for b.Loop() {
		b.StopTimer()
		for i := range each {
			benchPut(b, store, i)
		}
		before := p.cfg.Journal.Size()
		b.StartTimer()
		require.NoError(b, p.flush())
		bytes += p.cfg.Journal.Size() - before
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/record")
	b.ReportMetric(float64(bytes)/float64(b.N*each), "bytes/record")
}

// BenchmarkLoad is how long a node with a million sessions of 300 bytes takes to
// have them again.
func BenchmarkLoad(b *testing.B) {
	const sessions = 1_000_000
	dir := benchDir(b)
	p, store, _ := benchBegin(b, dir)
	for i := range sessions {
		benchPut(b, store, i)
	}
	require.True(b, p.turn(true))
	require.NoError(b, p.cfg.Journal.Close())
	for b.Loop() {
		p, _, found := benchBegin(b, dir)
		require.Equal(b, sessions, found.Records)
		b.StopTimer()
		require.NoError(b, p.cfg.Journal.Close())
		b.StartTimer()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/load")
}

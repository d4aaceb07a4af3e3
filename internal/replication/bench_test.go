//go:build unix

package replication

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	benchPartitions = 1024
	benchRecords    = 1 << 17
	recordBytes     = 256
)

func benchStore(b *testing.B) *session.Store {
	store, err := session.NewStore(session.Config{
		Partitions:  benchPartitions,
		PartitionOf: func(key string) int { return int(session.KeyHash(key) % benchPartitions) },
		TagOf:       func(key string) (string, bool) { return key, false },
	})
	require.NoError(b, err)
	for p := range benchPartitions {
		store.Open(p)
	}
	return store
}

func benchKeys() []string {
	keys := make([]string, benchRecords)
	for i := range keys {
		keys[i] = fmt.Sprintf("sess:%08x", i)
	}
	return keys
}

// fill puts a record of recordBytes bytes on the wire under each key.
func fill(b *testing.B, store *session.Store, keys []string) {
	value := strings.Repeat("v", recordBytes-42)
	for _, key := range keys {
		_, err := store.Do(&session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "v", Value: value}}})
		require.NoError(b, err)
	}
	require.InDelta(b, recordBytes, len(store.Peek(keys[0]).Append(nil)), 8)
}

// overTCP opens a peer link over loopback whose other side is the Replicator
// that to holds.
func overTCP(b *testing.B, to *atomic.Pointer[Replicator]) *peer.Link {
	self := func() peer.Identity { return peer.Identity{Cluster: "bench", Name: "n", Boot: "1", Role: "node"} }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			_ = peer.Accept(context.Background(), conn, peer.Config{Self: self}, servedBy{to})
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(b, err)
	link, err := peer.Connect(context.Background(), conn, peer.Config{Self: self})
	require.NoError(b, err)
	b.Cleanup(func() {
		link.Close()
		listener.Close()
		<-served
	})
	return link
}

// tcpPeer is a link as a Peer.
type tcpPeer struct {
	*peer.Link
	older
}

type servedBy struct{ to *atomic.Pointer[Replicator] }

func (s servedBy) Serve(r *peer.Request) {
	answer, err := s.to.Load().Serve(older{}, r.Type, r.Payload)
	if err != nil {
		r.Fail(err)
		return
	}
	r.Reply(answer)
}

// BenchmarkReplicate ships 131,072 records of 256 bytes from one store into
// another over a peer link on loopback, in batches as the sender makes them: an
// op is marking all and waiting for the last confirmation. "new" merges them
// into an empty store, "changed" over the version before. cpu-ns/record is the
// process's CPU time, both sides and the kernel's work for them.
func BenchmarkReplicate(b *testing.B) {
	for _, name := range []string{"new", "changed"} {
		b.Run(name, func(b *testing.B) {
			store, keys := benchStore(b), benchKeys()
			fill(b, store, keys)
			r := New(Config{Store: store, Partitions: benchPartitions})
			defer r.Close()
			var to atomic.Pointer[Replicator]
			reset := func() { to.Store(New(Config{Store: benchStore(b), Partitions: benchPartitions})) }
			reset()
			r.Attach(b.Context(), "b", tcpPeer{overTCP(b, &to), older{}})
			ship := func() {
				for _, key := range keys {
					r.Mark([]string{"b"}, key)
				}
				// The last in the queue is confirmed last.
				require.Equal(b, 1, r.Wait(b.Context(), []string{"b"}, keys[len(keys)-1], 1))
				for dirty, _ := r.Lag(); dirty > 0; dirty, _ = r.Lag() {
					time.Sleep(50 * time.Microsecond)
				}
			}
			ship()
			b.ReportAllocs()
			b.ResetTimer()
			var used time.Duration
			for range b.N {
				b.StopTimer()
				if name == "new" {
					reset()
				} else {
					fill(b, store, keys)
				}
				before := cpuTime(b)
				b.StartTimer()
				ship()
				used += cpuTime(b) - before
			}
			b.StopTimer()
			records := float64(b.N) * benchRecords
			b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(used)/records, "cpu-ns/record")
		})
	}
}

// BenchmarkMark is what replication adds to a write that waits for nothing, on
// two members.
func BenchmarkMark(b *testing.B) {
	r := New(Config{Store: benchStore(b), Partitions: benchPartitions})
	defer r.Close()
	silent := peerFunc(func(ctx context.Context, _ byte, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ids, keys := []string{"b", "c"}, benchKeys()
	fill(b, r.cfg.Store, keys)
	for _, id := range ids {
		r.Attach(b.Context(), id, silent)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			r.Mark(ids, keys[uint32(i)*2654435761%benchRecords])
		}
	})
}

func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

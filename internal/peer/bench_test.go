//go:build unix

package peer

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkCall measures calls of 300 bytes answered by 300 bytes over loopback
// TCP, client and server in this process. cpu-ns/op is the process's CPU time
// per call, both sides and the kernel's work for them.
func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			reply := make([]byte, 300)
			l := overTCP(b, func(r *Request) { r.Reply(reply) })
			payload := make([]byte, 300)
			b.ReportAllocs()
			measureCPU(b, func() { inParallel(b, callers, func() error { return discard(l.Call(b.Context(), 1, payload)) }) })
		})
	}
}

// BenchmarkBatches measures a stream of 256-byte records in frames of the given
// size, a few of them unanswered at a time, as replication sends them. One op
// is one record.
func BenchmarkBatches(b *testing.B) {
	const record = 256
	for _, frame := range []int{64 << 10, 256 << 10} {
		b.Run("frame="+strconv.Itoa(frame>>10)+"KiB", func(b *testing.B) {
			l := overTCP(b, func(r *Request) { r.Reply(nil) })
			payload := make([]byte, frame)
			b.SetBytes(record)
			start := time.Now()
			measureCPU(b, func() {
				inParallelN(b, 4, (b.N+frame/record-1)/(frame/record), func() error { return discard(l.Call(b.Context(), 1, payload)) })
			})
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "records/s")
		})
	}
}

func discard(_ []byte, err error) error { return err }

func inParallel(b *testing.B, callers int, call func() error) { inParallelN(b, callers, b.N, call) }

// inParallelN makes n calls, from so many goroutines.
func inParallelN(b *testing.B, callers, n int, call func() error) {
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// measureCPU runs what is measured and reports the CPU time of the process per
// op.
func measureCPU(b *testing.B, run func()) {
	b.ResetTimer()
	before := cpuTime(b)
	run()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// overTCP opens a link over loopback, and closes it when the benchmark ends.
func overTCP(b *testing.B, serve func(*Request)) *Link {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err == nil {
			_ = Accept(context.Background(), conn, Config{Self: self("server")}, handlerFunc(serve))
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(b, err)
	l, err := Connect(context.Background(), conn, Config{Self: self("client")})
	require.NoError(b, err)
	b.Cleanup(func() {
		l.Close()
		listener.Close()
		<-served
	})
	return l
}

//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

// BenchmarkFailover starts three nodes and a router as processes, puts them
// under 500 requests a second, kills a node with SIGKILL, and reports how long
// it takes until a session of the dead node is answered again, by its
// successor (median and worst of the runs), and how many requests failed.
// One run is one cluster: -benchtime 20x makes twenty.
func BenchmarkFailover(b *testing.B) {
	var took []time.Duration
	failed, requests := int64(0), int64(0)
	for b.Loop() {
		f := newFailover(b)
		took = append(took, f.run())
		b.Logf("%v, %d of %d failed", took[len(took)-1].Round(100*time.Microsecond), f.failed.Load(), f.requests.Load())
		f.stop()
		failed += f.failed.Load()
		requests += f.requests.Load()
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "ms-to-answer(median)")
	b.ReportMetric(ms(took[len(took)-1]), "ms-to-answer(worst)")
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric(float64(requests), "requests")
}

const (
	failoverRate = 500 // requests a second, by workerCount clients together
	workerCount  = 25
	victim       = "node-2"
)

type failover struct {
	b      *testing.B
	dev    *child
	base   int
	client *http.Client
	keys   []string // sessions that the victim owns

	requests, failed atomic.Int64
	killed           atomic.Int64 // when, in unix nanoseconds; 0 not yet
	answered         chan time.Duration
}

func newFailover(b *testing.B) *failover {
	dev, base := spawnDev(b, 3, nil)
	dev.await(`^  curl `)
	f := &failover{
		b: b, dev: dev, base: base, answered: make(chan time.Duration, 1),
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workerCount}},
	}
	for i := 0; len(f.keys) < 100; i++ {
		key := fmt.Sprintf("failover-%d", i)
		resp := f.send(http.MethodPut, key, `{"n":1}`)
		require.NotNil(b, resp)
		require.Equal(b, http.StatusCreated, resp.StatusCode)
		if resp.Header.Get("Holdfast-Node") == victim {
			f.keys = append(f.keys, key)
		}
	}
	return f
}

func (f *failover) stop() {
	f.client.CloseIdleConnections()
	f.dev.tell("quit")
	require.Zero(f.b, f.dev.exit())
}

// send returns the answer, its body read, or nil.
func (f *failover) send(method, key, body string) *http.Response {
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/v1/sessions/%s", f.base, key), strings.NewReader(body))
	require.NoError(f.b, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Holdfast-Ack", "replica")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

func (f *failover) run() time.Duration {
	stop := make(chan struct{})
	pace := time.NewTicker(time.Second / failoverRate) // one for all, so that requests come evenly
	defer pace.Stop()
	var workers sync.WaitGroup
	for w := range workerCount {
		workers.Go(func() { f.work(w, pace.C, stop) })
	}
	time.Sleep(time.Second) // under way
	pid := f.pidOf(victim)
	f.killed.Store(time.Now().UnixNano())
	require.NoError(f.b, syscall.Kill(pid, syscall.SIGKILL))
	var took time.Duration
	select {
	case took = <-f.answered:
	case <-time.After(patience):
		require.FailNow(f.b, "no session of the dead node was answered again")
	}
	time.Sleep(time.Second) // what fails late counts too
	close(stop)
	workers.Wait()
	return took
}

func (f *failover) work(w int, pace <-chan time.Time, stop <-chan struct{}) {
	for i := w; ; i += workerCount {
		select {
		case <-stop:
			return
		case <-pace:
		}
		method := [...]string{http.MethodGet, http.MethodPatch}[i%2]
		resp := f.send(method, f.keys[i%len(f.keys)], `{"n":2}`)
		f.requests.Add(1)
		if resp == nil || resp.StatusCode != http.StatusOK {
			f.failed.Add(1)
			continue
		}
		if at := f.killed.Load(); at > 0 && resp.Header.Get("Holdfast-Node") != victim {
			select {
			case f.answered <- time.Duration(time.Now().UnixNano() - at):
			default: // not the first
			}
		}
	}
}

func (f *failover) pidOf(name string) int {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/admin/ring", f.base+1))
	require.NoError(f.b, err)
	defer resp.Body.Close()
	var ring adminapi.Ring
	require.NoError(f.b, json.NewDecoder(resp.Body).Decode(&ring))
	for _, m := range ring.Members {
		if m.Name == name {
			return m.Pid
		}
	}
	require.FailNow(f.b, "no such member", name)
	return 0
}

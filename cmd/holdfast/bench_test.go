package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// memory is a cluster as bench sees one. answer may answer a request in its
// place.
func memory(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request) bool) string {
	var mu sync.Mutex
	sessions, n := make(map[string][]byte), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n++
		if answer != nil && answer(n, w, r) {
			return
		}
		w.Header().Set("Holdfast-Node", "node-"+strconv.Itoa(n%2+1))
		key := path.Base(r.URL.Path)
		if r.Method == http.MethodPut {
			sessions[key], _ = io.ReadAll(r.Body)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		body, ok := sessions[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func benchAt(t *testing.T, url string, args ...string) (result, benchResult) {
	t.Helper()
	r := holdfast(t, append([]string{"bench", "-json", "-url", url, "-connections", "2", "-users", "5", "-duration", "1m"}, args...)...)
	var told benchResult
	if r.stdout != "" {
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &told))
	}
	return r, told
}

func TestBenchCountsAnswers(t *testing.T) {
	users, writes, reads := make(map[string]bool), 0, 0
	url := memory(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		users[r.URL.Path] = true
		if r.Method == http.MethodPut {
			writes++
			require.Equal(t, "replica", r.Header.Get("Holdfast-Ack"))
			require.Equal(t, "5m", r.URL.Query().Get("ttl"))
		} else {
			reads++
		}
		return false
	})
	r, told := benchAt(t, url, "-requests", "200", "-ack", "replica", "-writes", "0")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, 200, told.Done)
	require.Equal(t, map[string]int{"node-1": 100, "node-2": 100}, told.Servers)
	require.Zero(t, told.Missing+told.Old+len(told.Failed))
	require.Positive(t, told.P50)
	require.GreaterOrEqual(t, told.Max, told.P99)
	// A connection has users of its own, and a slow one may not come to all.
	require.Len(t, users, writes, "each user's first")
	require.LessOrEqual(t, writes, 5)
	require.Greater(t, writes, 1)
	require.Equal(t, 200, writes+reads)
}

// A cluster that forgets is found out, and that is a failure where it was asked
// for more.
func TestBenchFindsWhatIsLost(t *testing.T) {
	forgets := func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && n > 50 {
			w.WriteHeader(http.StatusNoContent) // and keeps the one before
			return true
		}
		return false
	}
	r, told := benchAt(t, memory(t, forgets), "-requests", "200", "-writes", "50")
	require.Equal(t, exitOK, r.code, "async promises no more: %s", r.stderr)
	require.Positive(t, told.Old)

	r, told = benchAt(t, memory(t, forgets), "-requests", "200", "-writes", "50", "-ack", "all")
	require.Equal(t, exitFailed, r.code)
	require.Positive(t, told.Old)
	// A user whose first write was forgotten as well has nothing to read.
	require.Equal(t, "holdfast bench: "+plural(told.Old+told.Missing, "read")+" without what had been acknowledged with -ack all\n", r.stderr)

	loses := func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n > 50 && r.Method == http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	r, told = benchAt(t, memory(t, loses), "-requests", "200", "-ack", "replica")
	require.Equal(t, exitFailed, r.code)
	require.Positive(t, told.Missing)
	require.Equal(t, 200, told.Done, "a miss is an answer")
}

func TestBenchNamesFailures(t *testing.T) {
	url := memory(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n%4 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n%4 == 0
	})
	r, told := benchAt(t, url, "-requests", "200")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, map[string]int{"503 Service Unavailable": 50}, told.Failed)
	require.Equal(t, 150, told.Done)
	require.Zero(t, told.Missing+told.Old, "a write that failed is not missed, nor held against a read")

	server := httptest.NewServer(nil)
	server.Close() // nobody listens there now
	r, _ = benchAt(t, server.URL, "-requests", "4")
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, "holdfast bench: no request to "+server.URL+" was answered: dial: connect: connection refused\n", r.stderr)
}

func TestBenchLines(t *testing.T) {
	second := newTally()
	second.took = time.Second
	second.failed["503 Service Unavailable"], second.failed["dial: connect: connection refused"] = 2, 3
	second.missing, second.old = 0, 1
	second.servers = map[string]int{"node-10": 1, "node-2": 2}
	for _, d := range []time.Duration{830 * time.Microsecond, 12 * time.Millisecond, 1234 * time.Millisecond} {
		second.latency.add(d)
	}
	var b strings.Builder
	lines := benchLines{look: look{whole: true}}
	require.NoError(t, lines.print(&b, second, 3*time.Second))
	silent := newTally()
	silent.took = time.Second
	require.NoError(t, lines.print(&b, silent, 4*time.Second))
	require.NoError(t, second.write(&b))
	golden(t, "bench.txt", b.String())

	b.Reset()
	lines.look.coloured = true
	require.NoError(t, lines.print(&b, second, 3*time.Second))
	require.Contains(t, b.String(), red+"5"+resetColour)
	require.Contains(t, b.String(), yellow+"1"+resetColour)
	require.NotContains(t, b.String(), red+"0")
}

// Whatever the width, what was lost is there and no line is too long; and the
// columns stay where they are when servers come and go.
func TestBenchLinesFitTheTerminal(t *testing.T) {
	for columns := 60; columns <= 140; columns++ {
		var b strings.Builder
		lines := benchLines{look: look{columns: columns}}
		for n, servers := range []int{3, 2, 5, 3} {
			second := newTally()
			second.took = time.Second
			for i := range servers {
				second.servers["node-"+strconv.Itoa(i)] = 1
				second.latency.add(1234 * time.Millisecond)
			}
			require.NoError(t, lines.print(&b, second, time.Duration(n)*time.Hour))
		}
		for line := range strings.Lines(b.String()) {
			require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), columns, line)
		}
		require.Contains(t, b.String(), "FAILED  MISSING  OLD  ANSWERED BY")
		require.LessOrEqual(t, strings.Count(b.String(), "ANSWERED"), 2, "once, and once more for five servers")
		if columns >= 80 {
			require.Contains(t, b.String(), "node-0 33%  node-1 33%  node-2 33%\n")
		}
	}
}

func TestBenchPrintsItsHeaderAgain(t *testing.T) {
	var b strings.Builder
	lines := benchLines{look: look{whole: true}}
	for range 2*headerEvery + 1 {
		second := newTally()
		second.took = time.Second
		require.NoError(t, lines.print(&b, second, time.Second))
	}
	require.Equal(t, 3, strings.Count(b.String(), "MISSING"))
	require.Contains(t, b.String(), "P50")
}

// A quantile is never less than the true one, and at most a sixteenth more.
func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "durations")
		var h, half histogram
		for i, d := range all {
			if i%2 == 0 {
				h.add(time.Duration(d))
			} else {
				half.add(time.Duration(d))
			}
		}
		h.merge(&half)
		slices.Sort(all)
		for _, part := range []float64{0, 0.5, 0.99} {
			exact := all[int(part*float64(len(all)))]
			got := int64(h.quantile(part))
			require.GreaterOrEqual(t, got, exact)
			require.LessOrEqual(t, got, exact+exact/16)
		}
		require.EqualValues(t, all[len(all)-1], h.quantile(1))
	})
	var none histogram
	require.Zero(t, none.quantile(0.5))
}

// With a rate the connections share it out, and a request that is late does not
// delay the time from which the next one counts.
func TestBenchKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(&benchCommand{Rate: 20, Connections: 2, Users: 2})
		w, began := b.workers[0], time.Now()
		due := w.await(t.Context(), began)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		time.Sleep(250 * time.Millisecond) // the answer
		for i := range 3 {
			due = w.await(t.Context(), due)
			require.Equal(t, time.Duration(i+2)*100*time.Millisecond, due.Sub(began))
		}
		require.Equal(t, 400*time.Millisecond, time.Since(began))
	})
}

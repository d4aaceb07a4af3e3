package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/dump"
)

// sink is a member that takes all sessions but those whose keys begin with bad.
type sink struct {
	mu      sync.Mutex
	queries []string
	keys    []string
	largest int // lines at a time
	status  int // that is answered instead, if not 0
	stop    func()
}

func (m *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries = append(m.queries, r.Method+" "+r.URL.String())
	if m.stop != nil {
		m.stop()
	}
	if m.status != 0 {
		w.WriteHeader(m.status)
		return
	}
	a := adminapi.Load{Fingerprint: "1", Refused: []adminapi.Refused{}}
	n := 0
	for text := range bytes.Lines(body) {
		n++
		s, err := dump.ReadLine(text)
		if err != nil || strings.HasPrefix(s.Key, "bad") {
			a.Refused = append(a.Refused, adminapi.Refused{Line: n, Error: "cannot be"})
			continue
		}
		a.Loaded++
		m.keys = append(m.keys, s.Key)
	}
	m.largest = max(m.largest, n)
	_ = json.NewEncoder(w).Encode(a)
}

// dumpOf is a dump of hashes, of which a key that begins with { is a whole line.
func dumpOf(t *testing.T, missing []int, keys ...string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := dump.NewWriter(&b, dump.Header{Cluster: "test"})
	require.NoError(t, err)
	for _, key := range keys {
		text := []byte(key + "\n")
		if key[0] != '{' {
			text, err = dump.AppendLine(nil, &dump.Session{Key: key, Kind: dump.Hash})
			require.NoError(t, err)
		}
		require.NoError(t, w.Lines(text, 1))
	}
	require.NoError(t, w.End(missing))
	return b.String()
}

// loadInto runs load with a dump on its standard input.
func loadInto(t *testing.T, m *sink, text string, args ...string) result {
	t.Helper()
	server := httptest.NewServer(m)
	defer server.Close()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"load", "-admin", server.URL}, args...), strings.NewReader(text), &stdout, &stderr)
	return result{code, stdout.String(), withoutProgress(stderr.String())}
}

// withoutProgress leaves out what a slow machine makes a command say.
func withoutProgress(stderr string) string {
	return strings.Join(slices.DeleteFunc(strings.SplitAfter(stderr, "\n"), func(line string) bool { return strings.HasPrefix(line, "loading: ") }), "")
}

func TestLoadSendsBatches(t *testing.T) {
	var keys []string
	for i := range 3*batchLines + 1 {
		keys = append(keys, fmt.Sprintf("%04d", i))
	}
	var m sink
	r := loadInto(t, &m, dumpOf(t, []int{5}, keys...), "-replace", "-revive")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, "loaded 769 sessions; 0 were there already, 0 have ended, 0 were logged out, 0 refused\n"+
		"the dump itself lacks sessions: 1 partition could not be read when it was made\n", r.stdout)
	slices.Sort(m.keys)
	require.Equal(t, keys, m.keys)
	require.Equal(t, batchLines, m.largest)
	require.Equal(t, slices.Repeat([]string{"POST /admin/load?replace=1&revive=1"}, 4), m.queries)
}

func TestRefusedLinesOfALoad(t *testing.T) {
	text := dumpOf(t, nil, "a", "bad1", `{"key":`, "b", "bad2", "c")
	var m sink
	r := loadInto(t, &m, text, "-keep-going")
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, "loaded 3 sessions; 0 were there already, 0 have ended, 0 were logged out, 3 refused\n", r.stdout)
	require.Equal(t, "line 4: not a line of a dump: unexpected EOF\nline 3: cannot be\nline 6: cannot be\nholdfast load: 3 lines refused\n", r.stderr)
	require.Equal(t, []string{"a", "b", "c"}, m.keys)

	m = sink{}
	r = loadInto(t, &m, text)
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, []string{"a"}, m.keys, "nothing that comes after the line")
	require.Contains(t, r.stderr, "line 4: not a line of a dump: unexpected EOF\n")

	keys := []string{"bad"}
	for i := range 100 * batchLines {
		keys = append(keys, fmt.Sprint(i))
	}
	m = sink{}
	r = loadInto(t, &m, dumpOf(t, nil, keys...))
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, "line 2: cannot be\nholdfast load: 1 line refused\n", r.stderr)
	require.Less(t, len(m.queries), 90, "those that are under way end, and no more are begun")
}

func TestLoadOfHalfADump(t *testing.T) {
	whole := dumpOf(t, nil, "a", "b")
	lines := strings.SplitAfter(whole, "\n")
	for name, c := range map[string]struct {
		text, says string
		keys       []string
	}{
		"nothing":     {"", "line 1: the dump was cut short: there is nothing in it", nil},
		"no trailer":  {strings.Join(lines[:3], ""), "line 4: the dump was cut short: the trailer is missing", []string{"a", "b"}},
		"half a line": {strings.Join(lines[:2], "") + lines[2][:9], "line 3: the dump was cut short: half a line of 9 bytes", []string{"a"}},
		"no dump":     {"hello\n", "line 1: not a line of a dump: it does not begin as one", nil},
	} {
		for _, args := range [][]string{nil, {"-keep-going"}} {
			var m sink
			r := loadInto(t, &m, c.text, args...)
			require.Equal(t, exitFailed, r.code, name)
			require.Contains(t, r.stderr, c.says, name)
			require.Equal(t, c.keys, m.keys, name)
		}
	}
}

func TestLoadWithoutAMember(t *testing.T) {
	m := sink{status: http.StatusTeapot}
	r := loadInto(t, &m, dumpOf(t, nil, "a", "b"), "-keep-going")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "holdfast load: lines 2 to 3: POST ")
	require.Contains(t, r.stderr, "the load can be run again")
	require.Contains(t, r.stdout, "loaded 0 sessions")
	r = holdfast(t, "load", "-i", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "-in: open ")
}

// What is under way when a load is stopped is counted.
func TestLoadIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := sink{stop: cancel}
	server := httptest.NewServer(&m)
	defer server.Close()
	var keys []string
	for i := range 100 * batchLines {
		keys = append(keys, fmt.Sprint(i))
	}
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"load", "-admin", server.URL}, strings.NewReader(dumpOf(t, nil, keys...)), &stdout, &stderr)
	require.Equal(t, exitFailed, code)
	require.Equal(t, "holdfast load: load stopped: context canceled; it can be run again\n", withoutProgress(stderr.String()))
	require.Less(t, len(m.keys), len(keys)/2)
	require.Contains(t, stdout.String(), fmt.Sprintf("loaded %d sessions;", len(m.keys)))
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/dump"
	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// cluster starts nodes in this process, and waits until they serve everything.
func cluster(t *testing.T, names ...string) (nodes []*node.Node) {
	t.Helper()
	var join []string
	for _, name := range names {
		ctx, cancel := context.WithCancel(t.Context())
		n, err := node.Start(ctx, node.Config{
			Name: name, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", Join: join,
		})
		require.NoError(t, err)
		t.Cleanup(func() { cancel(); <-n.Done() })
		join = []string{n.View().Member(n.ID()).Gossip}
		nodes = append(nodes, n)
	}
	require.Eventually(t, func() bool {
		serving := 0
		for _, n := range nodes {
			if len(n.View().Nodes()) != len(nodes) || inspect.Of(n).Cold() > 0 {
				return false
			}
			for _, here := range inspect.Of(n).Serving() {
				if here {
					serving++
				}
			}
		}
		return serving == ring.Partitions
	}, 15*time.Second, 5*time.Millisecond, "%v serve everything", names)
	return nodes
}

func adminOf(n *node.Node) string { return "http://" + n.View().Member(n.ID()).Admin }

// readDump returns the sessions of a dump by key.
func readDump(t *testing.T, text string) (map[string]dump.Session, dump.Header) {
	t.Helper()
	r, err := dump.NewReader(strings.NewReader(text))
	require.NoError(t, err)
	all := make(map[string]dump.Session)
	for {
		l, err := r.Next()
		if err == io.EOF {
			return all, r.Header()
		}
		require.NoError(t, err)
		require.NotContains(t, all, l.Session.Key, "a session is in a dump once")
		all[l.Session.Key] = l.Session
	}
}

// What two nodes hold goes into a file, and from there into another cluster.
func TestDumpAndLoad(t *testing.T) {
	from, to := cluster(t, "ada", "bob"), cluster(t, "cyd")
	want := map[string][]session.Field{
		"opaque":   {{Value: "\x89PNG\x00\xff"}, {Name: session.FieldType, Value: "image/png"}},
		"set":      {{Name: session.FieldKind, Value: session.KindSet}, {Name: "m"}, {Name: "\xfe"}},
		"zset":     {{Name: session.FieldKind, Value: session.KindSortedSet}, {Name: "m", Value: "2.5"}},
		"\xff\x00": {{Name: "bytes", Value: "\x00\xff"}, {Name: "json", Value: `{"a": ["<é>"]}`}},
		"empty":    nil,
	}
	for i := range 3000 { // more than a page in one partition, and some in all
		want[fmt.Sprintf("{one}%d", i%1200)] = []session.Field{{Name: "n", Value: strconv.Itoa(i % 1200)}}
		want[fmt.Sprint("user", i)] = []session.Field{{Name: "n", Value: strconv.Itoa(i)}}
	}
	for key, fields := range want {
		_, err := from[0].Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields, TTL: time.Hour, MaxAge: 2 * time.Hour}, session.AckAsync)
		require.NoError(t, err)
	}
	require.NoError(t, from[0].Sessions().Delete(t.Context(), "user7"))
	delete(want, "user7")

	file := filepath.Join(t.TempDir(), "sessions.jsonl")
	r := holdfast(t, "dump", "-admin", adminOf(from[1]), "-o", file)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, fmt.Sprintf("dumped %d sessions\n", len(want)))
	require.Empty(t, r.stdout)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	dumped, header := readDump(t, string(text))
	require.Equal(t, "holdfast", header.Cluster)
	require.Len(t, dumped, len(want))

	r = holdfast(t, "load", "-admin", adminOf(to[0]), "-i", file)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, fmt.Sprintf("loaded %d sessions; 0 were there already, 0 have ended, 0 were logged out, 0 refused\n", len(want)), r.stdout)
	r = holdfast(t, "dump", "-admin", adminOf(to[0]))
	require.Equal(t, exitOK, r.code, r.stderr)
	loaded, _ := readDump(t, r.stdout)
	require.Len(t, loaded, len(want))
	for key, fields := range want {
		was, is := dumped[key], loaded[key]
		require.ElementsMatch(t, fields, is.Put(time.Now()).Fields, "%q", key)
		require.InDelta(t, was.Deadline, is.Deadline, 2000, "%q", key)
		require.Equal(t, []any{was.Kind, was.ContentType, was.Fields, was.Idle}, []any{is.Kind, is.ContentType, is.Fields, is.Idle})
	}

	// Again, from the standard input.
	var stdout, stderr bytes.Buffer
	require.NoError(t, to[0].Sessions().Delete(t.Context(), "user8"))
	code := run(t.Context(), []string{"load", "-admin", adminOf(to[0])}, bytes.NewReader(text), &stdout, &stderr)
	require.Equal(t, exitOK, code, stderr.String())
	require.Equal(t, fmt.Sprintf("loaded 0 sessions; %d were there already, 0 have ended, 1 were logged out, 0 refused\n", len(want)-1), stdout.String())
}

func TestDumpFile(t *testing.T) {
	admin := httptest.NewServer(&pages{}).URL
	file := filepath.Join(t.TempDir(), "d.jsonl")
	r := holdfast(t, "dump", "-admin", admin, "-out", file)
	require.Equal(t, exitOK, r.code, r.stderr)
	private := func() {
		t.Helper()
		info, err := os.Stat(file)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, os.FileMode(0o600), info.Mode())
		}
	}
	private()

	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o644))
	require.NoError(t, os.Chmod(file, 0o644))
	r = holdfast(t, "dump", "-admin", admin, "-o", file)
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, "holdfast dump: -out "+file+": is there already; -force writes over it\n", r.stderr)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))

	r = holdfast(t, "dump", "-admin", admin, "-o", file, "-force")
	require.Equal(t, exitOK, r.code, r.stderr)
	private()
	text, err = os.ReadFile(file)
	require.NoError(t, err)
	dumped, _ := readDump(t, string(text))
	require.Len(t, dumped, 3*ring.Partitions)

	r = holdfast(t, "dump", "-admin", admin, "-o", os.DevNull, "-force")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "is no regular file")
}

// A dump that fails leaves the file alone that it was to replace.
func TestForcedDumpThatFails(t *testing.T) {
	admin := httptest.NewServer(&pages{never: map[int]bool{3: true, 4: true, 9: true}}).URL
	file := filepath.Join(t.TempDir(), "d.jsonl")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	r := holdfast(t, "dump", "-admin", admin, "-o", file, "-force", "-wait", "1ms")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "3 partitions could not be read within 1ms, all or in part: 3-4, 9; the last cause: ")
	require.Contains(t, r.stderr, "503 Service Unavailable: Owner unavailable")
	require.Regexp(t, `d\.jsonl\.\d+ is not complete\n$`, r.stderr)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))

	r = holdfast(t, "dump", "-admin", admin, "-wait", "1ms")
	require.Equal(t, exitFailed, r.code)
	require.True(t, strings.HasSuffix(r.stdout, `{"dump_end":true,"sessions":3063,"missing":[3,4,9]}`+"\n"), "the trailer says what is missing")
}

// pages is a member that has three sessions of each partition, one a page.
type pages struct {
	mu     sync.Mutex
	asked  int
	fail   func(n int) bool // the nth question
	never  map[int]bool     // partitions that nobody serves
	cut    bool             // answers are, when they fail
	garble string           // what is answered instead
}

func (m *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/admin/cluster" {
		_ = json.NewEncoder(w).Encode(adminapi.Cluster{Cluster: "test", Fingerprint: "1"})
		return
	}
	m.mu.Lock()
	m.asked++
	n := m.asked
	m.mu.Unlock()
	p, _ := strconv.Atoi(r.URL.Query().Get("partition"))
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	failing := m.never[p] || m.fail != nil && m.fail(n)
	if failing && !m.cut {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"title":"Owner unavailable"}`)
		return
	}
	var page []byte
	if next := max(after, 10*p) + 1; next <= 10*p+3 { // numbers of as many digits, so that keys are in order
		page, _ = dump.AppendLine(nil, &dump.Session{Key: fmt.Sprintf("%06d", next), Kind: dump.Hash})
	}
	if m.garble != "" {
		page = []byte(m.garble)
	}
	w.Header().Set("Content-Type", dump.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	if failing && len(page) > 1 {
		page = page[:len(page)-2]
	}
	_, _ = w.Write(page)
}

// Partitions whose owner changes, and answers that break off, are asked for
// again from where they were.
func TestDumpAsksAgain(t *testing.T) {
	for name, cut := range map[string]bool{"refused": false, "cut off": true} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(&pages{cut: cut, fail: func(n int) bool { return n%7 == 0 }})
			defer server.Close()
			var out, progress bytes.Buffer
			w, err := dump.NewWriter(&out, dump.Header{Cluster: "test"})
			require.NoError(t, err)
			d := &dumper{base: adminURL(server.URL), client: manyRequests(dumpReaders), wait: time.Minute, again: time.Millisecond, to: w}
			defer d.client.CloseIdleConnections()
			require.NoError(t, d.run(t.Context(), &progress))
			dumped, _ := readDump(t, out.String())
			require.Len(t, dumped, 3*ring.Partitions)
		})
	}
}

func TestDumpOfNoMember(t *testing.T) {
	for garble, says := range map[string]string{
		"hello\n":                               "not a line of a dump",
		`{"key":"000000","kind":"hash"}` + "\n": "the keys are not in order", // the second time
	} {
		server := httptest.NewServer(&pages{garble: garble})
		r := holdfast(t, "dump", "-admin", server.URL, "-wait", "1ms")
		server.Close()
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, says)
	}
}

// A dump that is stopped has no trailer.
func TestDumpIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(&pages{fail: func(n int) bool {
		if n == 100 {
			cancel()
		}
		return false
	}})
	defer server.Close()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"dump", "-admin", server.URL}, strings.NewReader(""), &stdout, &stderr)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr.String(), "dump stopped after ")
	require.NotContains(t, stdout.String(), "dump_end")
}

func TestRangesOf(t *testing.T) {
	require.Equal(t, "1, 3-5, 9-10", rangesOf([]int{1, 3, 4, 5, 9, 10}))
	require.Empty(t, rangesOf(nil))
}

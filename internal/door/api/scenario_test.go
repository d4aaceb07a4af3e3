package api

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata/*.txt")

// TestScenarios plays the conversations in testdata/*.txt with a door over one
// real store, and compares the answers. A file is a series of steps:
//
//	=== what this step shows
//	PUT /v1/sessions/alice?ttl=30m
//	Content-Type: application/json
//
//	{"n":1}
//	---
//	201
//	Etag: "v1"
//
// "=== advance 31m" moves the clock and "=== next FAULT" makes the next
// operation fail (see [oneNode]); neither has a request. Versions appear as v1,
// v2 … in the order in which they are first seen, in requests too. A body that
// would not survive a text file is written as ! and a Go string. What every
// answer has is checked and not shown: no-store, nosniff, the right length.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			got := newPlay(t).run(string(text))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got, "go test -update rewrites the answers; read the difference first")
		})
	}
}

// play is one scenario on its way.
type play struct {
	t        *testing.T
	node     *oneNode
	door     http.Handler
	versions []string // the nth is written vn
}

// The limits in scenarios, small enough to be overstepped in one line.
const (
	testMaxSession = 256
	testMaxKey     = 32
)

func newPlay(t *testing.T) *play {
	node := newOneNode(t, session.Config{MaxSession: testMaxSession, MaxKey: testMaxKey})
	return &play{t: t, node: node, door: New(Config{
		Sessions: node, MaxSession: testMaxSession, MaxKey: testMaxKey,
		NewID: node.newID, SamePartition: node.samePartition,
		Untold: func(r *http.Request) bool { return r.Header.Get("Visitor") != "" },
		Log:    slog.New(slog.NewTextHandler(&node.log, nil)),
	})}
}

// run plays all steps and returns the file with the answers there were.
func (p *play) run(text string) string {
	intro, steps, _ := strings.Cut("\n"+text, "\n=== ")
	out := strings.TrimPrefix(intro, "\n")
	if out != "" {
		out += "\n"
	}
	for step := range strings.SplitSeq(steps, "\n=== ") {
		title, request, _ := strings.Cut(step, "\n")
		request, _, _ = strings.Cut("\n"+request, "\n---")
		request = strings.Trim(request, "\n")
		out += "=== " + title + "\n"
		switch verb, arg, _ := strings.Cut(title, " "); {
		case request != "":
			out += request + "\n---\n" + p.exchange(request)
		case verb == "advance":
			d, err := time.ParseDuration(arg)
			require.NoError(p.t, err)
			p.node.now = p.node.now.Add(d)
		case verb == "next":
			p.node.next = arg
		default:
			require.Fail(p.t, "step without a request: "+title)
		}
		out += "\n"
	}
	return strings.TrimRight(out, "\n") + "\n"
}

// exchange sends one request and writes down its answer.
func (p *play) exchange(request string) string {
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	if quoted, ok := strings.CutPrefix(body, "!"); ok {
		var err error
		body, err = strconv.Unquote(quoted)
		require.NoError(p.t, err)
	}
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, rd)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		r.Header.Add(name, p.realVersions(strings.TrimSpace(value)))
	}
	w := httptest.NewRecorder()
	p.door.ServeHTTP(w, r)
	return p.show(r, w.Result())
}

func (p *play) show(r *http.Request, resp *http.Response) string {
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(p.t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	if len(body) > 0 {
		require.Equal(p.t, strconv.Itoa(len(body)), resp.Header.Get("Content-Length"))
	}
	resp.Header.Del("Cache-Control")
	resp.Header.Del("X-Content-Type-Options")
	resp.Header.Del("Content-Length")

	out := strconv.Itoa(resp.StatusCode) + "\n"
	names := make([]string, 0, len(resp.Header))
	for name := range resp.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range resp.Header[name] {
			if name == "Etag" {
				value = p.shortVersions(value)
			}
			out += name + ": " + value + "\n"
		}
	}
	if len(body) == 0 || r.Method == http.MethodHead { // net/http drops it
		return out
	}
	text := p.shortVersions(strings.TrimSuffix(string(body), "\n"))
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }) {
		text = "!" + strconv.Quote(text)
	}
	return out + "\n" + text + "\n"
}

var (
	versionText = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	versionName = regexp.MustCompile(`"v[0-9]+"`)
)

func (p *play) shortVersions(s string) string {
	return versionText.ReplaceAllStringFunc(s, func(version string) string {
		if !slices.Contains(p.versions, version) {
			p.versions = append(p.versions, version)
		}
		return fmt.Sprintf("v%d", slices.Index(p.versions, version)+1)
	})
}

func (p *play) realVersions(s string) string {
	return versionName.ReplaceAllStringFunc(s, func(name string) string {
		n, err := strconv.Atoi(strings.Trim(name, `"v`))
		require.NoError(p.t, err)
		require.LessOrEqual(p.t, n, len(p.versions), "version %s was not seen yet", name)
		return `"` + p.versions[n-1] + `"`
	})
}

// oneNode is [Sessions] over a real store that owns every key, with a clock
// that only a test moves and faults on demand.
type oneNode struct {
	store *session.Store
	now   time.Time
	next  string // the fault of the next operation, see Do
	ids   int
	log   strings.Builder
	hook  func(op *session.Op) // called before each operation; nil none
}

func newOneNode(tb testing.TB, cfg session.Config) *oneNode {
	node := &oneNode{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	cfg.Partitions, cfg.PartitionOf = ring.Partitions, ring.Partition
	cfg.TagOf = func(key string) (string, bool) {
		tag := ring.Tag(key)
		return tag, tag != key
	}
	cfg.Now = func() time.Time { return node.now }
	store, err := session.NewStore(cfg)
	require.NoError(tb, err)
	for p := range ring.Partitions {
		store.Open(p)
	}
	node.store = store
	return node
}

// faults are the errors that a step can ask for.
var faults = map[string]error{
	"unavailable": fmt.Errorf("%w: dial 10.0.0.2:8083: %w", session.ErrUnavailable, context.DeadlineExceeded),
	"uncertain":   fmt.Errorf("%w: link closed", session.ErrUncertain),
	"not served":  session.ErrNotServed,
	"timeout":     context.DeadlineExceeded,
	"full":        fmt.Errorf("put: %w", session.ErrFull),
	"malformed":   session.ErrMalformed,
	"internal":    errors.New("the disk of alice is on fire"),
}

func (n *oneNode) Do(_ context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	reply := session.Reply{Node: "node-1", Ring: "ring-1", Acked: ack.Copies(1)}
	if n.hook != nil {
		n.hook(op)
	}
	fault := n.next
	if fault != "" {
		n.next = ""
	}
	switch fault {
	case "":
	case "panic":
		panic("no such thing as " + op.Key)
	case "degraded":
		reply.Degraded = true
	case "unconfirmed":
		reply.Unconfirmed = true
	default:
		return reply, cmp.Or(faults[fault], fmt.Errorf("no such fault: %s", fault))
	}
	var err error
	reply.Result, err = n.store.Do(op)
	return reply, err
}

func (n *oneNode) newID() string {
	n.ids++
	return fmt.Sprintf("id-%d", n.ids)
}

// samePartition counts until it has an id of id's partition, so that the ids
// of a scenario are the same in each run.
func (n *oneNode) samePartition(id string) string {
	n.ids++
	if tag := ring.Tag(id); tag != id {
		return fmt.Sprintf("{%s}:id-%d", tag, n.ids)
	}
	for i := 0; ; i++ {
		if next := fmt.Sprintf("id-%d-%d", n.ids, i); ring.Partition(next) == ring.Partition(id) {
			return next
		}
	}
}

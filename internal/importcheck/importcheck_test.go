package importcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/seed-95a32959/holdfast"

// Modules that are named more than once below.
const (
	prometheus = "github.com/prometheus/client_golang/prometheus"
	memberlist = "github.com/hashicorp/memberlist"
	redis      = "github.com/redis/go-redis/v9"
	xxhash     = "github.com/cespare/xxhash/v2"
	xsync      = "golang.org/x/sync"
	xsys       = "golang.org/x/sys"
	xtime      = "golang.org/x/time"
)

// rules say what each package may import beside the standard library: our
// packages by their folder, other modules by their path. Imports of tests are
// free. A pattern that ends in /... speaks of a folder and all below it; the
// longest that fits counts. Only cmd and examples may import anything.
//
// One rule is one line, in the order of the names, so that two changes meet
// only where they speak of the same package.
var rules = []ruling{
	// The package at the root.
	rule(module, "session", "internal/problem"),
	rule("adapters/fiber", "session", "adapters/internal/opaque"),
	rule("adapters/internal/opaque", "session"),
	rule("adapters/scs", "session", "adapters/internal/opaque"),
	rule("cmd/...", "..."),
	rule("examples/...", "..."),
	rule("internal/absence", "session", "internal/clock", "internal/member", "internal/mesh", "internal/events", "internal/wait", "internal/planted"),
	rule("internal/adminapi"),
	rule("internal/admit"),
	rule("internal/alloctest"),
	rule("internal/attempt", "session"),
	rule("internal/buffers"),
	rule("internal/census", "ring", "internal/member", "internal/mesh", "internal/clock", "internal/events", "internal/wait", "internal/planted"),
	rule("internal/clock", "internal/planted"),
	rule("internal/command", "session", "internal/resp", "internal/glob", "internal/rdb"),
	rule("internal/compattest", "github.com/stretchr/testify/require"),
	rule("internal/costtest"),
	rule("internal/disk", "session", xsys),
	rule("internal/disk/disktest", "internal/disk"),
	rule("internal/dispatch", "session", "ring", "internal/replication", "internal/command", "internal/peer", "internal/attempt", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/repair", "internal/clock", "internal/metric", "internal/wait", "internal/planted"),
	rule("internal/door", "internal/admit", "internal/buffers", "internal/hostcheck", "internal/metric", "internal/steady", xtime),
	rule("internal/door/admin", "session", "ring", "internal/census", "internal/door", "internal/web", "internal/adminapi", "internal/dump", "internal/member", "internal/mesh", "internal/events", "internal/drain", "internal/metric", "internal/hostcheck", "internal/problem", prometheus),
	rule("internal/door/api", "session", "internal/header", "internal/problem", "internal/buffers"),
	rule("internal/door/app", module, "router", "ring", "session", "internal/door/public", "internal/attempt", "internal/member", "internal/header", "internal/problem", "internal/metric", "internal/events", "internal/wait"),
	rule("internal/door/public", "router", "ring", "session", "internal/door", "internal/door/api", "internal/attempt", "internal/member", "internal/ownership", "internal/header", "internal/problem", "internal/hostcheck", "internal/admit", "internal/buffers", "internal/metric"),
	rule("internal/door/redis", "session", "ring", "internal/resp", "internal/command", "internal/buffers", "internal/glob", "internal/hangup", "internal/metric", xsync),
	rule("internal/door/rediscluster", "session", "ring", "internal/resp", "internal/replication", "internal/command", "internal/door/redis", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/dispatch", "internal/pubsub", "internal/clock", "internal/wait"),
	rule("internal/drain", "session", "ring", "internal/member", "internal/ownership", "internal/events"),
	rule("internal/dump", "session"),
	rule("internal/events", "internal/wait"),
	rule("internal/exchange", "internal/resp"),
	rule("internal/fields"),
	rule("internal/glob"),
	rule("internal/hangup", xsys),
	rule("internal/header"),
	rule("internal/hostcheck"),
	rule("internal/http1"),
	rule("internal/importcheck"),
	rule("internal/importer", redis, xsync, xtime),
	rule("internal/inbound", "session", "internal/absence", "ring", "internal/peer", "internal/replication", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/dispatch", "internal/pubsub", "internal/door/admin", "internal/door/rediscluster"),
	rule("internal/inspect", "session", "ring", "internal/census", "internal/clock", "internal/replication", "internal/owner", "internal/repair"),
	rule("internal/member", "ring", "internal/planted"),
	rule("internal/member/membertest", "ring", "internal/member"),
	rule("internal/membership", "ring", "internal/member", "internal/mesh", "internal/clock", "internal/events", "internal/metric", "internal/wait", "internal/planted", memberlist, xtime),
	rule("internal/mesh", "internal/peer", "internal/member", "internal/clock", "internal/metric", "internal/planted", "internal/wait", xtime),
	rule("internal/mesh/meshtest", "internal/peer", "ring", "internal/member", "internal/member/membertest", "internal/mesh", "internal/clock", "internal/metric", "internal/wait", "github.com/stretchr/testify/require"),
	rule("internal/metric"),
	rule("internal/network", "internal/member", memberlist, xsys),
	rule("internal/owner", "session", "ring", "internal/member", "internal/mesh", "internal/ownership", "internal/clock", "internal/events", "internal/metric", "internal/wait"),
	rule("internal/ownership", "ring", "internal/member", "internal/planted", xxhash),
	rule("internal/ownership/explore", "ring", "internal/member", "internal/ownership", xxhash),
	rule("internal/peer"),
	rule("internal/persist", "session", "internal/disk", "internal/clock", "internal/events", "internal/metric", "internal/wait", "internal/planted"),
	rule("internal/planted"),
	rule("internal/problem"),
	rule("internal/pubsub", "session", "internal/member", "internal/mesh", "internal/metric"),
	rule("internal/rdb"),
	rule("internal/repair", "session", "ring", "internal/replication", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/clock", "internal/events", "internal/metric", "internal/wait", "internal/planted", xsync),
	rule("internal/replication", "session", "internal/peer", xtime, "internal/planted"),
	rule("internal/resp"),
	rule("internal/snapshot", "internal/clock", "internal/events", "internal/metric"),
	rule("internal/socket"),
	rule("internal/steady", xsys, "internal/buffers"),
	rule("internal/timekeeper", "internal/clock", "internal/events", "internal/metric", "internal/wait", "internal/planted"),
	rule("internal/upstream", "session", "internal/clock", "internal/importer", "internal/metric", "internal/rdb", "internal/wait", redis),
	rule("internal/upstream/upstreamtest", "internal/rdb", "github.com/stretchr/testify/require"),
	rule("internal/visits", module, "session", "internal/header", "internal/problem"),
	rule("internal/wait"),
	rule("internal/web"),
	rule("node", "session", "internal/adminapi", "internal/disk", "internal/persist", "ring", "internal/peer", "internal/replication", "router", "internal/absence", "internal/buffers", "internal/census", "internal/clock", "internal/door", "internal/door/admin", "internal/door/app", "internal/door/public", "internal/drain", "internal/events", "internal/fields", "internal/inbound", "internal/inspect", "internal/member", "internal/membership", "internal/mesh", "internal/metric", "internal/network", "internal/owner", "internal/ownership", "internal/repair", "internal/snapshot", "internal/socket", "internal/timekeeper", "internal/upstream", "internal/visits", "internal/wait", "internal/dispatch", "internal/pubsub", "internal/planted", "internal/door/redis", "internal/door/rediscluster", memberlist),
	rule("ring", xxhash, "internal/planted"),
	rule("router", "ring", "session", "internal/header", "internal/problem", "internal/http1", "internal/hostcheck"),
	rule("session", xxhash, "internal/planted"),
	// Sees holdfast from outside, as a user would, and speaks its protocols.
	rule("test/abuse", "ring", "internal/resp", "internal/peer", "test/internal/nursery", "test/internal/operator", "internal/adminapi"),
	rule("test/bench/resp"),
	rule("test/bench/router", "ring", "router"),
	// Sees holdfast from outside, as a user would.
	rule("test/chaos", "ring", "test/internal/nursery", "test/internal/operator"),
	rule("test/explore", "internal/ownership/explore"),
	rule("test/internal/nursery"),
	rule("test/internal/operator", "ring", "internal/adminapi"),
	rule("test/respdiff", "internal/resp", "internal/exchange"),
	rule("test/selftest", "internal/planted"),
	rule("test/simulation", "internal/disk/disktest", "node", "ring", "session", "internal/header", "internal/inspect", "internal/problem", "internal/resp", memberlist),
}

// ruling is what the packages of one pattern may import.
type ruling struct {
	pattern string
	imports []string
}

func rule(pattern string, imports ...string) ruling { return ruling{pattern, imports} }

// listed is what this test reads of `go list -json`.
type listed struct {
	ImportPath string
	Imports    []string
}

func (l listed) name() string { return strings.TrimPrefix(l.ImportPath, module+"/") }

func TestImportsPointDown(t *testing.T) {
	packages := list(t)
	require.NotEmpty(t, packages)
	for _, complaint := range append(refused(rules, packages), idle(rules, packages)...) {
		t.Error(complaint)
	}
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS=linux") // the same imports whoever asks
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else {
			require.NoError(t, err)
		}
		packages = append(packages, p)
	}
}

// refused returns a complaint for each import that the rules do not allow.
func refused(rules []ruling, packages []listed) (complaints []string) {
	for _, p := range packages {
		r, ok := ruleOf(rules, p.name())
		if !ok {
			complaints = append(complaints, fmt.Sprintf("%s: no rule says what it may import; add one here", p.name()))
			continue
		}
		for _, path := range p.Imports {
			if !standard(path) && !slices.ContainsFunc(r.imports, func(allowed string) bool { return permits(allowed, path) }) {
				complaints = append(complaints, fmt.Sprintf("%s imports %s; allowed are the standard library and %v", p.name(), path, r.imports))
			}
		}
	}
	return complaints
}

// idle returns a complaint for each rule that speaks of no package, and for
// each import that a rule allows and no package of it makes.
func idle(rules []ruling, packages []listed) (complaints []string) {
	imported := make(map[string][]string) // by the packages of each pattern
	for _, p := range packages {
		if r, ok := ruleOf(rules, p.name()); ok {
			imported[r.pattern] = append(imported[r.pattern], p.Imports...)
		}
	}
	for _, r := range rules {
		paths, ok := imported[r.pattern]
		if !ok {
			complaints = append(complaints, fmt.Sprintf("%s: the rule speaks of no package; remove it", r.pattern))
			continue
		}
		for _, allowed := range r.imports {
			if !slices.ContainsFunc(paths, func(path string) bool { return permits(allowed, path) }) {
				complaints = append(complaints, fmt.Sprintf("%s may import %s and does not; remove it from the rule", r.pattern, allowed))
			}
		}
	}
	return complaints
}

// ruleOf returns the rule of the longest pattern that fits.
func ruleOf(rules []ruling, name string) (found ruling, ok bool) {
	for _, r := range rules {
		if matches(r.pattern, name) && (!ok || len(folder(r.pattern)) > len(folder(found.pattern))) {
			found, ok = r, true
		}
	}
	return found, ok
}

// standard reports whether a path is of the standard library, where alone the
// first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// permits reports whether an import that a rule allows is this one.
func permits(allowed, path string) bool {
	name, ours := strings.CutPrefix(path, module+"/")
	switch {
	case ours && strings.HasPrefix(name, "cmd/"):
		return false // a command is nobody's library
	case ours:
		return matches(allowed, name)
	}
	return allowed == "..." || path == allowed || strings.HasPrefix(path, allowed+"/")
}

func matches(pattern, name string) bool {
	if f := folder(pattern); f != pattern {
		return strings.HasPrefix(name+"/", f)
	}
	return pattern == name
}

func folder(pattern string) string { return strings.TrimSuffix(pattern, "...") }

// One place for each rule, and not two rules of one package.
func TestRulesAreInOrder(t *testing.T) {
	var names []string
	for _, r := range rules {
		names = append(names, strings.TrimPrefix(r.pattern, module))
	}
	require.IsIncreasing(t, names)
}

func of(name string, imports ...string) listed {
	return listed{ImportPath: module + "/" + name, Imports: imports}
}

func TestRefused(t *testing.T) {
	for _, good := range []listed{
		of("ring", "slices", xxhash),
		of("internal/replication", "sync", module+"/session", module+"/internal/peer"),
		of("node", module+"/internal/door/public", module+"/ring", memberlist),
		of("test/simulation", module+"/node", memberlist),
		of("cmd/holdfast", module+"/node", "github.com/alecthomas/kong"),
	} {
		require.Empty(t, refused(rules, []listed{good}), good.ImportPath)
	}
	for _, bad := range []listed{
		of("ring", module+"/session"),
		of("session", module+"/ring"),
		of("internal/peer", module+"/internal/planted"),
		of("internal/peer", xxhash),
		of("router", module+"/node"),
		of("internal/replication", module+"/router"),
		of("internal/door/api", module+"/node"),
		of("internal/door/api", memberlist),
		of("internal/door/public", module+"/node"),
		of("internal/door/public", module+"/internal/door/app"),
		of("internal/door/app", module+"/node"),
		of("node", module+"/cmd/holdfast"),
		of("examples/shop", module+"/cmd/holdfast"),
		of("session", "github.com/stretchr/testify/require"),
		of("ring", xxhash+"x"),
		of("util"),
	} {
		require.Len(t, refused(rules, []listed{bad}), 1, bad.ImportPath)
	}
}

func TestIdle(t *testing.T) {
	packages := []listed{of("a", module+"/b", "golang.org/x/sys/unix"), of("b"), of("deep/c", module+"/a"), of("deep/d", module+"/b")}
	require.Empty(t, idle([]ruling{rule("a", "b", xsys), rule("b"), rule("deep/...", "a", "b")}, packages))
	require.Equal(t, []string{
		"a may import c and does not; remove it from the rule",
		"a may import " + xxhash + " and does not; remove it from the rule",
		"deep/... may import b and does not; remove it from the rule",
		"gone: the rule speaks of no package; remove it",
	}, idle([]ruling{rule("a", "b", "c", xsys, xxhash), rule("b"), rule("deep/...", "a", "b"), rule("deep/d", "b"), rule("gone", "a")}, packages))
}

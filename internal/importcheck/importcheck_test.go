package importcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/seed-95a32959/holdfast"

// Modules that are named more than once below.
const (
	consistent = "github.com/buraksezer/consistent"
	prometheus = "github.com/prometheus/client_golang/prometheus"
	memberlist = "github.com/hashicorp/memberlist"
	xxhash     = "github.com/cespare/xxhash/v2"
	xsync      = "golang.org/x/sync"
	xsys       = "golang.org/x/sys"
	xtime      = "golang.org/x/time"
)

// allowed says what each package may import beside the standard library: our
// packages by their folder, other modules by their path. Imports of tests are
// free. A pattern that ends in /... speaks of a folder and all below it; the
// longest that fits counts. Only cmd and examples may import anything.
var allowed = map[string][]string{
	module:                       {"session", "internal/problem"}, // the package at the root
	"adapters/...":               {"session", "adapters/internal/opaque"},
	"internal/problem":           nil,
	"internal/glob":              nil,
	"internal/header":            nil,
	"internal/buffers":           nil,
	"internal/hangup":            {xsys},
	"internal/hostcheck":         nil,
	"internal/admit":             nil,
	"internal/costtest":          nil,
	"internal/steady":            {xsys, "internal/buffers"},
	"internal/owner":             {"session", "ring", "internal/member", "internal/mesh", "internal/ownership", "internal/clock", "internal/events", "internal/metric", "internal/wait"},
	"internal/dispatch":          {"session", "ring", "replication", "command", "peer", "internal/attempt", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/repair", "internal/clock", "internal/metric", "internal/wait", "internal/planted"},
	"internal/pubsub":            {"session", "internal/member", "internal/mesh"},
	"internal/door/rediscluster": {"session", "ring", "resp", "replication", "command", "internal/door/redis", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/dispatch", "internal/pubsub", "internal/clock", "internal/wait"},
	"internal/door/redis":        {"session", "ring", "resp", "command", "internal/buffers", "internal/glob", "internal/hangup", xtime},
	"internal/repair":            {"session", "ring", "replication", "internal/member", "internal/mesh", "internal/owner", "internal/ownership", "internal/clock", "internal/events", "internal/metric", "internal/wait", "internal/planted", xsync},
	"internal/mesh/meshtest":     {"peer", "ring", "internal/member", "internal/mesh", "internal/clock", "internal/metric", "internal/wait", "github.com/stretchr/testify/require"},
	"internal/membership":        {"ring", "internal/member", "internal/mesh", "internal/clock", "internal/events", "internal/metric", "internal/wait", "internal/planted", memberlist, xsync},
	"internal/mesh":              {"peer", "internal/member", "internal/clock", "internal/metric", "internal/wait"},
	"internal/ownership":         {"ring", "internal/member", "internal/planted", xxhash},
	"internal/planted":           nil,
	"internal/wait":              nil,
	"internal/alloctest":         nil,
	"internal/selftest":          {"internal/planted"},
	"internal/nursery":           nil,
	"internal/operator":          {"ring", "internal/adminapi"},
	"internal/chaos":             {"ring", "internal/nursery", "internal/operator"},                                      // otherwise it sees holdfast from outside, as a user would
	"internal/abuse":             {"ring", "resp", "peer", "internal/nursery", "internal/operator", "internal/adminapi"}, // likewise, and speaks its protocols
	"internal/http1":             nil,
	"internal/adminapi":          nil,
	"internal/clock":             nil,
	"internal/door/admin":        {"session", "ring", "web", "internal/adminapi", "internal/member", "internal/mesh", "internal/events", "internal/metric", "internal/hostcheck", "internal/problem", prometheus},
	"internal/attempt":           {"session"},
	"internal/door":              {"internal/admit", "internal/buffers", "internal/steady"},
	"internal/door/api":          {"session", "internal/header", "internal/problem", "internal/buffers"},
	"internal/door/public":       {"router", "ring", "session", "internal/door", "internal/door/api", "internal/attempt", "internal/member", "internal/ownership", "internal/header", "internal/problem", "internal/hostcheck", "internal/admit", "internal/buffers", "internal/metric"},
	"internal/door/app":          {module, "router", "ring", "session", "internal/door/public", "internal/attempt", "internal/member", "internal/header", "internal/problem", "internal/metric", "internal/events", "internal/wait"},
	"internal/events":            {"internal/wait"},
	"internal/metric":            nil,
	"internal/member":            {"ring", "internal/planted"},
	"internal/socket":            nil,
	"internal/visits":            {module, "session", "internal/header", "internal/problem"},
	"internal/importcheck":       nil,
	"internal/routerbench":       {"ring", "router"},
	"internal/exchange":          {"resp"},
	"internal/respdiff":          {"resp", "internal/exchange"},
	"internal/benchresp":         nil,
	"resp":                       nil,
	"command":                    {"session", "resp", "internal/glob"},
	"web":                        nil,
	"peer":                       nil,
	"ring":                       {consistent, xxhash, "internal/planted"},
	"session":                    {xxhash, "internal/planted"},
	"replication":                {"session", "ring", "peer", xtime, "internal/planted"},
	"router":                     {"ring", "session", "internal/header", "internal/problem", "internal/http1", "internal/hostcheck"},
	"node/...":                   {module, "session", "ring", "peer", "replication", "router", "resp", "command", "internal/hostcheck", "internal/admit", "internal/buffers", "internal/hangup", "internal/glob", "internal/planted", "internal/member", "internal/membership", "internal/mesh", "internal/owner", "internal/repair", "internal/dispatch", "internal/pubsub", "internal/door/redis", "internal/door/rediscluster", "internal/ownership", "internal/wait", "internal/clock", "internal/events", "internal/metric", "internal/visits", "internal/socket", "internal/attempt", "internal/door", "internal/door/admin", "internal/door/public", "internal/door/app", "node/...", memberlist, xxhash, xsync, xtime},
	"cmd/...":                    {"..."},
	"examples/...":               {"..."},
	"internal/ownership/explore": {"ring", "internal/member", "internal/ownership", xxhash},
	"internal/explore":           {"internal/ownership/explore"},
}

// listed is what this test reads of `go list -json`.
type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	packages := list(t)
	require.NotEmpty(t, packages)
	for _, p := range packages {
		for _, complaint := range check(p) {
			t.Error(complaint)
		}
	}
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", module+"/...")
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

// check returns a complaint for each import that the rules do not allow.
func check(p listed) (complaints []string) {
	name := strings.TrimPrefix(p.ImportPath, module+"/")
	rule, ok := ruleOf(name)
	if !ok {
		return []string{fmt.Sprintf("%s: no rule says what it may import; add one here", name)}
	}
	for _, path := range p.Imports {
		if !standard(path) && !permits(rule, path) {
			complaints = append(complaints, fmt.Sprintf("%s imports %s; allowed are the standard library and %v", name, path, rule))
		}
	}
	return complaints
}

// ruleOf returns the rule of the longest pattern that fits.
func ruleOf(name string) (rule []string, ok bool) {
	longest := -1
	for pattern, imports := range allowed {
		if n := len(strings.TrimSuffix(pattern, "...")); matches(pattern, name) && n > longest {
			rule, longest = imports, n
		}
	}
	return rule, longest >= 0
}

// standard reports whether a path is of the standard library, where alone the
// first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func permits(rule []string, path string) bool {
	name, ours := strings.CutPrefix(path, module+"/")
	if ours && strings.HasPrefix(name, "cmd/") {
		return false // a command is nobody's library
	}
	return slices.ContainsFunc(rule, func(pattern string) bool {
		if ours {
			return matches(pattern, name)
		}
		return pattern == "..." || path == pattern || strings.HasPrefix(path, pattern+"/")
	})
}

func matches(pattern, name string) bool {
	folder, wide := strings.CutSuffix(pattern, "...")
	if !wide {
		return pattern == name
	}
	return strings.HasPrefix(name+"/", folder)
}

func TestCheckRefuses(t *testing.T) {
	of := func(name string, imports ...string) listed {
		return listed{ImportPath: module + "/" + name, Imports: imports}
	}
	for _, good := range []listed{
		of("ring", "slices", consistent, xxhash),
		of("replication", "sync", module+"/session", module+"/peer"),
		of("node", module+"/internal/door/public", module+"/ring", memberlist, "golang.org/x/sync/errgroup"),
		of("node/nodetest", module+"/node", memberlist),
		of("cmd/holdfast", module+"/node", "github.com/alecthomas/kong"),
	} {
		require.Empty(t, check(good), good.ImportPath)
	}
	for _, bad := range []listed{
		of("ring", module+"/session"),
		of("session", module+"/ring"),
		of("peer", module+"/internal/planted"),
		of("peer", xxhash),
		of("router", module+"/node"),
		of("replication", module+"/router"),
		of("internal/door/api", module+"/node"),
		of("internal/door/api", memberlist),
		of("internal/door/public", module+"/node"),
		of("internal/door/public", module+"/internal/door/app"),
		of("internal/door/app", module+"/node"),
		of("node", module+"/cmd/holdfast"),
		of("examples/shop", module+"/cmd/holdfast"),
		of("session", "github.com/stretchr/testify/require"),
		of("ring", consistent+"x"),
		of("util"),
	} {
		require.Len(t, check(bad), 1, bad.ImportPath)
	}
}

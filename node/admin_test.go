package node

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/ring"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// adminDoor looks at the operator's endpoint of a cluster that is well.
func adminDoor(t *testing.T, nodes []*Node) {
	n := nodes[0]
	put(t, n, "alice", "x")
	for name, path := range map[string]string{"ring": "/admin/ring", "ring_key": "/admin/ring?key=alice", "members": "/admin/members", "stats": "/admin/stats"} {
		t.Run("shape of "+name, func(t *testing.T) {
			resp, body := send(t, "GET", n.office(path), "")
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
			golden(t, name, body)
		})
	}
	t.Run("ring is the table", func(t *testing.T) {
		var a adminapi.Ring
		_, body := send(t, "GET", n.office("/admin/ring"), "")
		require.NoError(t, json.Unmarshal([]byte(body), &a))
		table := n.View().Table
		require.Equal(t, table.Fingerprint(), a.Fingerprint)
		require.Len(t, a.Members, 3)
		require.Len(t, a.Partitions, ring.Partitions)
		share, owned := 0.0, 0
		for _, m := range a.Members {
			share, owned = share+m.Share, owned+m.Partitions
			require.Equal(t, table.Owned(m.Name), m.Partitions)
		}
		require.InDelta(t, 1, share, 1e-9)
		require.Equal(t, ring.Partitions, owned)
		for p, part := range a.Partitions {
			require.Equal(t, p, part.ID)
			require.Equal(t, table.Holders(p), append([]string{part.Owner}, part.Successors...))
		}
	})
	t.Run("a key and who holds it", func(t *testing.T) {
		var a adminapi.Key
		_, body := send(t, "GET", n.office("/admin/ring?key=alice"), "")
		require.NoError(t, json.Unmarshal([]byte(body), &a))
		table := n.View().Table
		require.Equal(t, ring.Slot("alice"), a.Slot)
		require.Equal(t, table.Owner(ring.Partition("alice")), a.Owner)
		versions := make(map[string]bool)
		for _, h := range a.Holders {
			want := "none"
			if slices.Contains(table.Holders(a.Partition), h.Name) {
				want = "live"
				versions[h.Version] = true
			}
			require.Equal(t, want, h.State, h.Name)
		}
		require.Len(t, versions, 1, "all copies are one version: %v", a.Holders)
	})
	t.Run("bad keys", func(t *testing.T) {
		for _, key := range []string{"", strings.Repeat("k", 513)} {
			resp, body := send(t, "GET", n.office("/admin/ring?key="+key), "")
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			require.Contains(t, body, "accepted are 1 to 512")
		}
	})
	t.Run("GET changes nothing", func(t *testing.T) { getChangesNothing(t, nodes) })
	t.Run("cluster", func(t *testing.T) { clusterGathered(t, nodes) })
	t.Run("events of all", func(t *testing.T) { eventsOfAll(t, n) })
	t.Run("metrics", func(t *testing.T) { metricsOf(t, n) })
	t.Run("events", func(t *testing.T) { eventsFlow(t, n) })
}

func getChangesNothing(t *testing.T, nodes []*Node) {
	type standing struct {
		ring, state string
		claims      uint64
		digests     [ring.Partitions]uint64
	}
	look := func(n *Node) (s standing) {
		s = standing{ring: n.View().Table.Fingerprint(), state: n.members.State().String(), claims: n.owner.Gate().ClaimsHash()}
		for p := range s.digests {
			s.digests[p] = n.store.Digest(p)
		}
		return s
	}
	require.Eventually(t, func() bool { // heartbeats have told everybody of every claim
		hash := nodes[0].owner.Gate().ClaimsHash()
		return !slices.ContainsFunc(nodes, func(n *Node) bool { return n.owner.Gate().ClaimsHash() != hash })
	}, time.Minute, 20*time.Millisecond)
	var before []standing
	for _, n := range nodes {
		before = append(before, look(n))
	}
	for path, want := range map[string]int{
		"/": 200, "/admin/ring": 200, "/admin/ring?key=new": 200, "/admin/members": 200, "/admin/cluster": 200, "/metrics": 200, "/assets/main.js": 200, "/assets/": 404, "/admin/dev/members": 404, "/admin/stats": 200, "/healthz": 200, "/readyz": 200,
		"/debug/pprof/": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/symbol": 200,
		"/admin/drain": 405, "/admin/drain?force=1": 405, "/nothing": 404,
	} {
		resp, _ := send(t, "GET", nodes[0].office(path), "")
		require.Equal(t, want, resp.StatusCode, path)
	}
	for i, n := range nodes {
		require.Equal(t, before[i], look(n), n.id.Name)
	}
}

func eventsFlow(t *testing.T, n *Node) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.office("/admin/events"), nil)
	require.NoError(t, err)
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	n.events.Add("marker", "x", 1)
	text := ""
	for buf := make([]byte, 4096); !strings.Contains(text, "event: marker\ndata: {"); {
		k, err := resp.Body.Read(buf)
		text += string(buf[:k])
		require.NoError(t, err, text)
	}
	require.Contains(t, text, "id: 1\nevent: ")
	require.Contains(t, text, "event: joined\n")
}

// golden compares the names and types of an answer with testdata/<name>.shape:
// scripts rely on them.
func golden(t *testing.T, name, body string) {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(body), &v))
	got := strings.Join(shape("", v), "\n") + "\n"
	file := filepath.Join("testdata", name+".shape")
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// shape lists the paths of all values in a JSON document and their types.
func shape(path string, v any) (lines []string) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			lines = append(lines, shape(path+"."+name, value)...)
		}
	case []any:
		for _, value := range v {
			lines = append(lines, shape(path+"[]", value)...)
		}
	default:
		lines = []string{fmt.Sprintf("%s %T", path, v)}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// askAdmin has the admin endpoint answer in the test.
func askAdmin(n *Node, path string) *httptest.ResponseRecorder {
	r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
	r.Host = "localhost"
	n.operator.Handler().ServeHTTP(w, r)
	return w
}

// The endpoint goes by the names that the member is configured with, and what
// it refuses is counted.
func TestAdminEndpointGoesByTheNamesOfItsMember(t *testing.T) {
	t.Parallel()
	n := still(t, "ada", func(c *Config) {
		c.Admin, c.Advertise, c.AdminHosts = "admin.example:8081", "ops.example", []string{"proxy.example"}
	})
	n.see(t)
	ask := func(host, site string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("GET", "/healthz", nil), httptest.NewRecorder()
		r.Host = host
		r.Header.Set("Sec-Fetch-Site", site)
		n.operator.Handler().ServeHTTP(w, r)
		return w
	}
	for _, host := range []string{"localhost", "127.0.0.1:8081", "admin.example:8081", "ops.example", "proxy.example", "ada:8081"} {
		require.Equal(t, http.StatusOK, ask(host, "none").Code, host)
	}
	w := ask("evil.example", "none")
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Contains(t, w.Body.String(), "and the names of -admin-host")
	require.Equal(t, http.StatusForbidden, ask("ada", "cross-site").Code)
	counters := n.operator.Stats().Counters
	require.EqualValues(t, 1, counters["refused_hosts"])
	require.EqualValues(t, 1, counters["refused_sites"])
}

func TestReadyTellsWhyNot(t *testing.T) {
	t.Parallel()
	n := still(t, "ada")
	ready := func() (int, string) {
		w := askAdmin(n, "/readyz")
		return w.Code, w.Body.String()
	}
	n.see(t)
	code, body := ready()
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "1024 partitions are cold")
	for p := range ring.Partitions {
		n.serving(t, p, 1)
	}
	v := n.see(t, membertest.Up("bob", 1))
	key := "k"
	p := ring.Partition(key)
	_, err := n.store.Do(putOf(key))
	require.NoError(t, err)
	code, body = ready()
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "1 keys lack a copy that can be made")
	n.repairer.SetSynced(v.CopyHolders(p)[0], p)
	code, body = ready()
	require.Equal(t, http.StatusOK, code, body)

	require.NoError(t, n.members.SetState(StateLeaving))
	code, body = ready()
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "leaving")
}

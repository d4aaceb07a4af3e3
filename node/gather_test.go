package node

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/events"
)

// clusterGathered checks that one member tells the figures of all.
func clusterGathered(t *testing.T, nodes []*Node) {
	var a adminapi.Cluster
	_, body := send(t, "GET", nodes[0].office("/admin/cluster"), "")
	require.NoError(t, json.Unmarshal([]byte(body), &a))
	require.Equal(t, nodes[0].id.Name, a.Self)
	require.False(t, a.Dev)
	require.Len(t, a.Members, len(nodes))
	for _, m := range a.Members {
		require.Empty(t, m.Error)
		require.NotNil(t, m.Stats, m.Name)
		require.Equal(t, m.Name, m.Stats.Name, "each one's own")
		require.Equal(t, m.Member.Partitions, m.Stats.Partitions.Owned)
	}
}

// eventsOfAll reads until each node has told of its own claim.
func eventsOfAll(t *testing.T, n *Node) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.office("/admin/events?scope=cluster"), nil)
	require.NoError(t, err)
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	told, seen := make(map[string]bool), make(map[string]bool)
	for lines := bufio.NewScanner(resp.Body); len(told) < 3; {
		require.True(t, lines.Scan(), "%v before the claims of all: %v", lines.Err(), told)
		require.NotContains(t, lines.Text(), "id: ", "no number orders the events of several logs")
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var ev struct {
			events.Event
			At, Boot string
		}
		require.NoError(t, json.Unmarshal([]byte(data), &ev))
		key := fmt.Sprint(ev.At, ev.Boot, ev.ID)
		require.False(t, seen[key], "told twice: %s", data)
		seen[key] = true
		if ev.Kind == "claimed" {
			told[ev.At] = true
		}
	}
}

var sample = regexp.MustCompile(`(?m)^(holdfast_[a-z_]+)(?:\{([^}]*)\})? (\S+)$`)

func metricsOf(t *testing.T, n *Node) {
	put(t, n, "a-key-that-is-nobodys-business", "a-value-too")
	resp, body := send(t, "GET", n.office("/metrics"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Contains(t, resp.Header.Get("Content-Type"), "text/plain; version=0.0.4")
	require.NotContains(t, body, "business")
	require.NotContains(t, body, "a-value")
	values := make(map[string]string)
	for _, m := range sample.FindAllStringSubmatch(body, -1) {
		values[m[1]+"{"+m[2]+"}"] = m[3]
	}
	require.Equal(t, "3", values[`holdfast_members{role="node",state="ready"}`])
	require.Equal(t, fmt.Sprint(n.View().Table.Owned(n.id.Name)), values[`holdfast_partitions{state="owned"}`])
	require.Equal(t, "0", values[`holdfast_partitions{state="cold"}`])
	require.Equal(t, "0", values[`holdfast_split_suspected{}`])
	for _, name := range []string{"sessions", "tombstones", "session_bytes", "below_target", "replication_lag_seconds", "replication_dirty"} {
		require.Contains(t, values, "holdfast_"+name+"{}")
	}
	require.NotEqual(t, "0", values[`holdfast_peer_bytes_in_total{}`])
	require.NotEqual(t, "0", values[`holdfast_http_answer_seconds_count{code="2xx"}`])
}

// What is counted is in the stats and in the metrics, under one name and with a
// sentence about it.
func TestEveryCounterIsAMetric(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{RoleNode, RoleRouter} {
		n := still(t, "ada", func(c *Config) { c.Role, c.RESP = role, "127.0.0.1:0" })
		n.see(t)
		n.counts.Counter("counted_here", "What a test counts.").Add(7)
		w := askAdmin(n, "/metrics")
		stats, listed := n.operator.Stats().Counters, 0
		n.counts.Each(func(name, help string, value int64) {
			listed++
			require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, name)
			require.Regexp(t, `^[A-Z].*[^ ]\.$`, help, name)
			require.Equal(t, value, stats[name], name)
			require.Contains(t, w.Body.String(), fmt.Sprintf("# HELP holdfast_%[1]s_total %[2]s\n# TYPE holdfast_%[1]s_total counter\nholdfast_%[1]s_total %[3]d\n", name, help, value))
		})
		require.Len(t, stats, listed, "two counters have one name")
		require.EqualValues(t, 7, stats["counted_here"])
		_, serves := stats["served"]
		require.Equal(t, role == RoleNode, serves, "a router has no store")
	}
}

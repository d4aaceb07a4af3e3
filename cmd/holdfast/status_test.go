package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

func exampleStatus() adminapi.Cluster {
	node := func(name string, sessions int) adminapi.ClusterMember {
		s := &adminapi.Stats{Uptime: 3725.5, Fingerprint: "0123456789abcdef", Sessions: sessions, Bytes: int64(sessions) * 700, Lag: 1.26}
		s.Partitions.Owned, s.Partitions.Warm = 512, 512
		return adminapi.ClusterMember{SeenMember: adminapi.SeenMember{Member: adminapi.Member{Name: name, Role: "node", State: "ready"}}, Stats: s}
	}
	router := adminapi.ClusterMember{SeenMember: adminapi.SeenMember{Member: adminapi.Member{Name: "router", Role: "router", State: "ready"}},
		Stats: &adminapi.Stats{Uptime: 3.2, Fingerprint: "0123456789abcdef"}}
	return adminapi.Cluster{Copies: 2, Members: []adminapi.ClusterMember{node("node-1", 1200), node("node-2", 1), router}}
}

func TestWriteStatus(t *testing.T) {
	for name, change := range map[string]func([]adminapi.ClusterMember){
		"well":      func([]adminapi.ClusterMember) {},
		"below":     func(m []adminapi.ClusterMember) { m[1].Stats.BelowTarget = 7 },
		"cold":      func(m []adminapi.ClusterMember) { m[0].Stats.Partitions.Cold = 3 },
		"two-rings": func(m []adminapi.ClusterMember) { m[2].Stats.Fingerprint = "fedcba9876543210" },
		"gone": func(m []adminapi.ClusterMember) {
			m[0].State, m[0].Stats = "gone", nil
			m[1].Stats.Partitions.Owned, m[1].Stats.Partitions.Warm = 1024, 1024
		},
		"weights": func(m []adminapi.ClusterMember) { m[0].Weight, m[1].Weight = 1, 2.5 },
		"silent":  func(m []adminapi.ClusterMember) { m[1].Stats, m[1].Error = nil, "connection refused" },
	} {
		cluster := exampleStatus()
		change(cluster.Members)
		var b strings.Builder
		require.NoError(t, writeStatus(&b, cluster, nil, look{columns: 132}))
		golden(t, "status-"+name+".txt", b.String())
	}
}

// What would be lost, or is not served, is never called well.
func TestVerdictOnTooFewNodes(t *testing.T) {
	for _, c := range []struct {
		says   string
		change func(*adminapi.Cluster)
	}{
		{"one ring, every copy in place", func(*adminapi.Cluster) {}},
		{"no node is in the ring", func(c *adminapi.Cluster) { c.Members = c.Members[2:] }},
		{"no node is in the ring", func(c *adminapi.Cluster) { // drained, with nobody to take over
			c.Members = c.Members[:1]
			c.Members[0].State, c.Members[0].Stats.Partitions.Owned = "leaving", 0
		}},
		{"1 node for 2 copies: a crash would lose what it holds", func(c *adminapi.Cluster) {
			c.Members = c.Members[:1]
			c.Members[0].Stats.Partitions.Owned = 1024
		}},
		{"1 node for 2 copies", func(c *adminapi.Cluster) {
			c.Members[1].State, c.Members[1].Stats.Partitions.Owned, c.Members[0].Stats.Partitions.Owned = "leaving", 0, 1024
		}},
		{"one ring, every copy in place", func(c *adminapi.Cluster) {
			c.Copies, c.Members = 1, c.Members[:1]
			c.Members[0].Stats.Partitions.Owned = 1024
		}},
		{"2 nodes for 3 copies: each session has at most 2", func(c *adminapi.Cluster) { c.Copies = 3 }},
		{"one ring, every copy in place; weights and zones do not count while", func(c *adminapi.Cluster) {
			c.Uniform, c.Members[0].Zone, c.Members[1].Zone = true, "x", "y"
		}},
		{"one ring, every copy in place; weights and zones do not count while", func(c *adminapi.Cluster) {
			c.Uniform, c.Members[0].Weight = true, 2
		}},
		{"one ring, every copy in place; zones do not count while node-2 states none", func(c *adminapi.Cluster) { c.Members[0].Zone = "x" }},
		{"one ring, every copy in place", func(c *adminapi.Cluster) { c.Uniform = true }}, // nobody states any
		{"512 partitions without an owner", func(c *adminapi.Cluster) { c.Members = c.Members[:1] }},
	} {
		cluster := exampleStatus()
		c.change(&cluster)
		require.Contains(t, verdict(cluster), "; "+c.says)
	}
}

// Whatever the width, what matters most is there and no line is too long.
func TestStatusFitsTheTerminal(t *testing.T) {
	for columns := 50; columns <= 140; columns++ {
		var b strings.Builder
		require.NoError(t, writeStatus(&b, exampleStatus(), nil, look{columns: columns}))
		tableText, _, _ := strings.Cut(b.String(), "\n\n")
		for line := range strings.Lines(tableText) {
			require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), columns, line)
		}
		require.Contains(t, tableText, "BELOW TARGET")
		require.NotContains(t, b.String(), "\x1b", "no colour was asked for")
	}
}

func TestStatusInColours(t *testing.T) {
	cluster := exampleStatus()
	members := cluster.Members
	members[0].State, members[0].Stats = "gone", nil
	members[1].Stats.BelowTarget = 7
	var b strings.Builder
	require.NoError(t, writeStatus(&b, cluster, nil, look{columns: 120, coloured: true}))
	require.Contains(t, b.String(), red+"gone"+resetColour)
	require.Contains(t, b.String(), green+"ready"+resetColour)
	require.Contains(t, b.String(), yellow+"7"+resetColour)
	plain := regexp.MustCompile(`\x1b\[\d*m`).ReplaceAllString(b.String(), "")
	var without strings.Builder
	require.NoError(t, writeStatus(&without, cluster, nil, look{columns: 120}))
	require.Equal(t, without.String(), plain, "colours move nothing")
}

func TestStatusCommandAsksOneMember(t *testing.T) {
	t.Setenv("COLUMNS", "120")
	members := append(exampleStatus().Members, adminapi.ClusterMember{SeenMember: adminapi.SeenMember{Member: adminapi.Member{Name: "node-3", Role: "node", State: "ready"}}, Error: "no answer within 500ms"})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/admin/cluster", r.URL.Path)
		_ = json.NewEncoder(w).Encode(map[string]any{"members": members, "cluster": "holdfast", "fingerprint": "0123456789abcdef"})
	}))
	defer server.Close()

	r := holdfast(t, "status", "-admin", server.URL)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^node-1 .* 1200 .*\n^node-2 .* 1 .*\n^node-3  node    no answer .*$`, r.stdout)
	require.Contains(t, r.stdout, "1 member did not answer: node-3: no answer within 500ms")

	r = holdfast(t, "status", "-json", "-admin", server.URL)
	require.Equal(t, exitOK, r.code, r.stderr)
	var got struct {
		Cluster string
		Members []adminapi.ClusterMember
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	require.Equal(t, "holdfast", got.Cluster)
	require.Len(t, got.Members, 4)
	require.Equal(t, 1200, got.Members[0].Stats.Sessions)
	require.Nil(t, got.Members[3].Stats)
}

func TestSpeeds(t *testing.T) {
	var s speeds
	members := exampleStatus().Members
	members[0].Boot, members[1].Boot = "a", "b"
	require.Empty(t, s.of(members), "nothing is known at the first look")
	later := exampleStatus().Members
	later[0].Boot, later[1].Boot = "a", "new"
	later[0].Stats.Uptime += 2
	later[0].Stats.Counters = map[string]int64{"served": 500}
	require.Equal(t, map[string]float64{"a": 250}, s.of(later), "a new boot counts from zero")
}

func TestByteText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 40: "5.0 TiB", 1 << 60: "1048576.0 TiB"} {
		require.Equal(t, want, byteText(n))
	}
}

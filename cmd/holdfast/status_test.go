package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

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
		"below":     func(m []adminapi.ClusterMember) { m[1].Stats.BelowTarget, m[1].Stats.CopiesDue = 7, 7 },
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
		require.NoError(t, writeStatus(&b, cluster, findingsOf(cluster, nil), nil, look{columns: 132}))
		golden(t, "status-"+name+".txt", b.String())
	}
}

// A member that gossip has forgotten is in the table as long as it is missing.
func TestMissingMembersAreListed(t *testing.T) {
	cluster := exampleStatus()
	cluster.Missing = []adminapi.Missing{{Name: "node-3", Role: "node"}}
	var b strings.Builder
	require.NoError(t, writeStatus(&b, cluster, findingsOf(cluster, nil), nil, look{columns: 132}))
	require.Regexp(t, `(?m)^node-3  node    missing `, b.String())
	require.Contains(t, b.String(), "; 1 thing is wrong\n")
	require.Len(t, cluster.Members, 3)
}

// What is lost, would be lost, or is not served is never called well, and each
// thing is said on a line of its own.
func TestFindings(t *testing.T) {
	at := time.Date(2026, 11, 29, 14, 3, 5, 0, time.Local)
	lone := func(c *adminapi.Cluster) {
		c.Members = c.Members[:1]
		c.Members[0].Stats.Partitions.Owned = 1024
	}
	for name, c := range map[string]struct {
		change func(*adminapi.Cluster)
		before func(*adminapi.Cluster) // how it was two seconds ago
		wrong  []string
		notes  []string
	}{
		"well":    {change: func(*adminapi.Cluster) {}},
		"no node": {change: func(c *adminapi.Cluster) { c.Members = c.Members[2:] }, wrong: []string{"no node is in the ring"}},
		"drained alone": {change: func(c *adminapi.Cluster) {
			lone(c)
			c.Members[0].State, c.Members[0].Stats.Partitions.Owned = "leaving", 0
		}, wrong: []string{"no node is in the ring"}},
		"one node ever": {change: func(c *adminapi.Cluster) {
			lone(c)
			c.Members[0].Stats.MostNodes, c.Members[0].Stats.BelowTarget = 1, 1200
		},
			notes: []string{"one node, and no copies: its end loses all that it holds"}},
		"one node with a disk": {change: func(c *adminapi.Cluster) {
			lone(c)
			c.Members[0].Stats.MostNodes, c.Members[0].Stats.Disk = 1, &adminapi.Disk{Fsync: "everysec", Lag: 900, SnapshotAge: 7000, SnapshotEvery: 3600}
		},
			notes: []string{"one node, and no copies: what it holds is on its disk alone"}},
		"disks": {change: func(c *adminapi.Cluster) {
			c.Members[0].Stats.Disk = &adminapi.Disk{Lag: 90_000, Error: "write log-00000001: no space left on device"}
			c.Members[1].Stats.Disk = &adminapi.Disk{Lag: 1100, SnapshotAge: 7201, SnapshotEvery: 3600}
		},
			wrong: []string{
				"the disk of node-1 has failed, and what has changed since is in memory alone: write log-00000001: no space left on device",
				"the disk of node-2 is 1.1s behind, and writers are slowed down",
				"the newest snapshot of node-2 was begun 2h0m1s ago, and one is due every 1h0m0s: its log says why there is none"}},
		"one node for one copy": {change: func(c *adminapi.Cluster) { lone(c); c.Copies, c.Members[0].Stats.MostNodes = 1, 3 }, notes: []string{"one node, and no copies: its end loses all that it holds"}},
		"one node of three": {change: func(c *adminapi.Cluster) {
			lone(c)
			c.Members[0].Stats.MostNodes, c.Members[0].Stats.BelowTarget = 3, 1200
		},
			wrong: []string{"1 node for 2 copies: 1200 sessions below target, and a crash may lose them"}},
		"two of three died": {change: func(c *adminapi.Cluster) {
			lone(c)
			c.Members[0].Stats.MostNodes, c.Members[0].Stats.BelowTarget = 3, 1200
			c.SessionsLost, c.LostWith = 522, []string{"node-2", "node-3"}
			c.Missing = []adminapi.Missing{{Name: "node-2", LastSeen: at, Ended: true}, {Name: "node-3", LastSeen: at}}
		}, wrong: []string{
			"about 522 sessions lost: no member has a copy left. When this is known: holdfast forget node-2 node-3",
			"node-2 is missing, last seen 2026-11-29 14:03:05: its process has ended. Start it again, or: holdfast forget node-2",
			"node-3 is missing, last seen 2026-11-29 14:03:05: it does not answer: frozen, or cut off. Start it again, or: holdfast forget node-3",
			"1 node for 2 copies: 1200 sessions below target, and a crash may lose them",
		}},
		"three copies":  {change: func(c *adminapi.Cluster) { c.Copies = 3; c.Members[0].Stats.MostNodes = 3 }, wrong: []string{"2 nodes for 3 copies: 0 sessions below target, and a crash may lose them"}},
		"silent":        {change: func(c *adminapi.Cluster) { c.Members[1].Stats, c.Members[1].Error = nil, "no answer within 500ms" }, wrong: []string{"node-2 does not answer: no answer within 500ms"}},
		"split":         {change: func(c *adminapi.Cluster) { c.Members[0].Stats.Split = true }, wrong: []string{"less than half of the cluster is here: the network may be split"}},
		"unowned":       {change: func(c *adminapi.Cluster) { c.Members[0].Stats.Partitions.Owned = 510 }, wrong: []string{"2 partitions without an owner: nobody serves their sessions"}},
		"copies coming": {change: func(c *adminapi.Cluster) { c.Members[0].Stats.CopiesDue = 7 }, notes: []string{"7 sessions without a copy that is being made"}},
		"copies stuck": {change: func(c *adminapi.Cluster) { c.Members[0].Stats.CopiesDue = 7 }, before: func(c *adminapi.Cluster) { c.Members[0].Stats.CopiesDue = 7 },
			wrong: []string{"7 sessions without a copy that is being made"}},
		"fewer copies due": {change: func(c *adminapi.Cluster) { c.Members[0].Stats.CopiesDue = 7 }, before: func(c *adminapi.Cluster) { c.Members[0].Stats.CopiesDue = 8 },
			notes: []string{"7 sessions without a copy that is being made"}},
		"cold for long": {change: func(c *adminapi.Cluster) { c.Members[0].Stats.Partitions.Cold = 3 }, before: func(c *adminapi.Cluster) { c.Members[0].Stats.Partitions.Cold = 3 },
			wrong: []string{"3 partitions still cold: their owners ask the other holders first"}},
		"over the limit": {change: func(c *adminapi.Cluster) { c.Members[0].Stats.OverLimit = 2048 }, wrong: []string{"node-1 holds 2.0 KiB more than its -memory, in copies that it had to take"}},
		"full": {change: func(c *adminapi.Cluster) { c.Members[1].Stats.Full = true },
			wrong: []string{"no room for sessions at node-2: those that have a copy there do not grow, and copies are not made there"}},
		"a wrong clock": {change: func(c *adminapi.Cluster) {
			c.Members[0].Stats.MostNodes, c.Members[0].Stats.Partitions.Owned = 2, 1024
			c.Members[1].State, c.Members[1].Stats.Partitions.Owned = "unfit", 0
		}, wrong: []string{"node-2 owns nothing: its /readyz says why", "1 node for 2 copies: 0 sessions below target, and a crash may lose them"}},
		"zones, and an old member": {change: func(c *adminapi.Cluster) { c.Uniform, c.Members[0].Zone, c.Members[1].Zone = true, "x", "y" },
			notes: []string{"weights and zones do not count while a member of an older version runs"}},
		"weights, and an old member": {change: func(c *adminapi.Cluster) { c.Uniform, c.Members[0].Weight = true, 2 },
			notes: []string{"weights and zones do not count while a member of an older version runs"}},
		"moving in": {change: func(c *adminapi.Cluster) {
			c.Members[0].Stats.Upstream = &adminapi.Upstream{Address: "old:6379", Taken: 40, Lately: 2}
			c.Members[1].Stats.Upstream = &adminapi.Upstream{Address: "old:6379", Taken: 2, Dropped: 3}
		}, notes: []string{
			"42 sessions taken over from the old Redis at old:6379, 2 of them in the last five minutes",
			"3 deletes at the old Redis given up: what has ended here may still be there",
		}},
		"moved in, nearly": {change: func(c *adminapi.Cluster) {
			c.Members[0].Stats.Upstream = &adminapi.Upstream{Address: "old:6379", Taken: 42}
		}, notes: []string{
			"42 sessions taken over from the old Redis at old:6379, 0 of them in the last five minutes: once it stays so, -upstream can be taken off",
			"-upstream is given to node-1 and not to node-2, which takes nothing over",
		}},
		"moving in, and what keeps it": {change: func(c *adminapi.Cluster) {
			c.Members[0].Stats.Upstream = &adminapi.Upstream{Address: "old:6379", Error: "connection refused"}
			c.Members[1].Stats.Upstream = &adminapi.Upstream{Address: "old:6379"}
			c.Missing = []adminapi.Missing{{Name: "node-3", Role: "node", LastSeen: at}, {Name: "node-4", Role: "node", LastSeen: at, Ended: true}}
		}, wrong: []string{
			"node-3 is missing, last seen 2026-11-29 14:03:05: it does not answer: frozen, or cut off. Start it again, or: holdfast forget node-3",
			"node-4 is missing, last seen 2026-11-29 14:03:05: its process has ended. Start it again, or: holdfast forget node-4",
			"the old Redis at old:6379 does not answer node-1, and sessions that are only there are missed: connection refused",
			"nothing is taken over while node-3 is missing, for it may have ended what would be",
		}, notes: []string{"0 sessions taken over from the old Redis at old:6379, 0 of them in the last five minutes"}},
		"one without a zone":   {change: func(c *adminapi.Cluster) { c.Members[0].Zone = "x" }, notes: []string{"zones do not count while node-2 states none"}},
		"an old member, alike": {change: func(c *adminapi.Cluster) { c.Uniform = true }},
		"three copies are asked for": {change: func(c *adminapi.Cluster) {
			c.Members[0].Params, c.Members[0].Wants = "partitions=1024 vnodes=400 load=1.1 copies=2", "load=1.1 copies=3"
			c.Members[1].Params = c.Members[0].Params
		}, notes: []string{"copies=3 is asked for by node-1: the cluster takes it once all its nodes ask for it"}},
		"memory short": {change: func(c *adminapi.Cluster) { c.Members[0].Stats.MemoryShort = 2048 },
			notes: []string{"if a node is lost, the others lack 2.0 KiB of -memory for its sessions' copies: add a node, or memory"}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := exampleStatus()
			c.change(&cluster)
			var before *adminapi.Cluster
			if c.before != nil {
				was := exampleStatus()
				c.before(&was)
				before = &was
			}
			var wrong, notes []string
			for _, f := range findingsOf(cluster, before) {
				if f.wrong {
					wrong = append(wrong, f.text)
				} else {
					notes = append(notes, f.text)
				}
			}
			require.Equal(t, c.wrong, wrong)
			require.Equal(t, c.notes, notes)
		})
	}
}

// Whatever the width, what matters most is there and no line is too long.
func TestStatusFitsTheTerminal(t *testing.T) {
	for columns := 50; columns <= 140; columns++ {
		var b strings.Builder
		require.NoError(t, writeStatus(&b, exampleStatus(), nil, nil, look{columns: columns}))
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
	require.NoError(t, writeStatus(&b, cluster, nil, nil, look{columns: 120, coloured: true}))
	require.Contains(t, b.String(), red+"gone"+resetColour)
	require.Contains(t, b.String(), green+"ready"+resetColour)
	require.Contains(t, b.String(), yellow+"7"+resetColour)
	plain := regexp.MustCompile(`\x1b\[\d*m`).ReplaceAllString(b.String(), "")
	var without strings.Builder
	require.NoError(t, writeStatus(&without, cluster, nil, nil, look{columns: 120}))
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
	require.Equal(t, exitUnwell, r.code, r.stderr)
	require.Empty(t, r.stderr)
	require.Regexp(t, `(?m)^node-1 .* 1200 .*\n^node-2 .* 1 .*\n^node-3  node    no answer .*$`, r.stdout)
	require.Contains(t, r.stdout, "  wrong  node-3 does not answer: no answer within 500ms\n")

	r = holdfast(t, "status", "-json", "-admin", server.URL)
	require.Equal(t, exitUnwell, r.code, r.stderr)
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

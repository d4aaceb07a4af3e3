package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/ring"
)

type statusCommand struct {
	adminFlags
	watchFlags
}

func (c *statusCommand) Run(ctx context.Context, s *streams) error {
	look := lookOf(s.out)
	var speeds speeds
	return c.show(ctx, s.out, func(ctx context.Context, w io.Writer) error {
		body, err := askAdmin(ctx, c.Admin, "/admin/cluster")
		if err != nil {
			return err
		}
		if c.JSON {
			return writeAnswer(w, body, c.Admin)
		}
		cluster, err := decodeStatus(body, c.Admin)
		if err != nil {
			return err
		}
		return writeStatus(w, cluster, speeds.of(cluster.Members), look)
	})
}

// clusterStatus asks one member how all of them do, as it has heard from each.
func clusterStatus(ctx context.Context, base adminURL) (adminapi.Cluster, error) {
	body, err := askAdmin(ctx, base, "/admin/cluster")
	if err != nil {
		return adminapi.Cluster{}, err
	}
	return decodeStatus(body, base)
}

func decodeStatus(body []byte, base adminURL) (cluster adminapi.Cluster, err error) {
	if err := decodeAnswer(body, base, &cluster); err != nil {
		return adminapi.Cluster{}, err
	}
	slices.SortFunc(cluster.Members, func(a, b adminapi.ClusterMember) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), naturalCompare(a.Name, b.Name))
	})
	return cluster, nil
}

// speeds tells operations per second between two looks, by the boot that did
// them and its own clock.
type speeds struct{ last map[string]adminapi.Stats }

// of returns what is known for each member; nothing at the first look.
func (s *speeds) of(members []adminapi.ClusterMember) map[string]float64 {
	now, speed := make(map[string]adminapi.Stats), make(map[string]float64)
	for _, m := range members {
		if m.Stats == nil {
			continue
		}
		now[m.Boot] = *m.Stats
		if before, ok := s.last[m.Boot]; ok && m.Stats.Uptime > before.Uptime {
			speed[m.Boot] = float64(m.Stats.Counters["served"]-before.Counters["served"]) / (m.Stats.Uptime - before.Uptime)
		}
	}
	s.last = now
	return speed
}

// asked reports whether a member takes part and has figures of its own that can
// be had: a router is not asked, for it holds nothing and listens to no peer.
func asked(m *adminapi.ClusterMember) bool { return present(m.State) && m.Role == "node" }

// writeStatus writes a line for each member and then what needs attention.
func writeStatus(w io.Writer, cluster adminapi.Cluster, speed map[string]float64, look look) error {
	t := table{
		header: []string{"MEMBER", "ROLE", "STATE", "UP", "SESSIONS", "MEMORY", "OWNED", "COLD", "OPS/S", "LAG", "BELOW TARGET", "WEIGHT", "RING"},
		right:  []int{3, 4, 5, 6, 7, 8, 9, 10, 11}, look: look,
	}
	members, most := cluster.Members, 0
	for _, m := range members {
		row := []string{m.Name, m.Role, m.State, "-", "-", "-", "-", "-", "-", "-", "-", weightText(m.Weight), orDash(m.Ring)}
		if s := m.Stats; s != nil {
			row[3], row[12] = time.Duration(s.Uptime*float64(time.Second)).Truncate(time.Second).String(), s.Fingerprint
			if m.Role == "node" {
				most = max(most, s.Sessions)
				row = append(row[:4], strconv.Itoa(s.Sessions), byteText(s.Bytes), strconv.Itoa(s.Partitions.Owned),
					strconv.Itoa(s.Partitions.Cold), fmt.Sprintf("%.0f", speed[m.Boot]), lagText(s.Lag), strconv.Itoa(s.BelowTarget), row[11], s.Fingerprint)
			}
		} else if asked(&m) {
			row[2] = "no answer"
		}
		t.rows = append(t.rows, row)
	}
	if !slices.ContainsFunc(members, func(m adminapi.ClusterMember) bool { return weighted(&m.Member) }) {
		t.remove(11)
	}
	if len(speed) == 0 {
		t.remove(8)
	}
	room := t.fit("RING", "WEIGHT", "MEMORY", "UP", "ROLE", "OWNED", "COLD") - columnGap
	if room = min(room, mostBar); room >= leastBar && most > 0 {
		t.header = append(t.header, "")
		for i, m := range members {
			text := ""
			if m.Stats != nil {
				text = bar(m.Stats.Sessions, most, room)
			}
			t.rows[i] = append(t.rows[i], text)
		}
	}
	t.colour = statusColours(members, t.header)
	if err := t.write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict(cluster))
	return err
}

// weighted says whether a member is a node of another weight than 1.
func weighted(m *adminapi.Member) bool { return m.Weight != 0 && m.Weight != 1 }

func weightText(w float64) string {
	if w == 0 {
		return "-"
	}
	return strconv.FormatFloat(w, 'f', -1, 64)
}

// mostBar is the widest column of bars beside other figures.
const mostBar = 24

func statusColours(members []adminapi.ClusterMember, header []string) func(row, column int) string {
	return func(row, column int) string {
		m := members[row]
		switch name := header[column]; {
		case name == "":
			return cyan
		case name == "STATE" && asked(&m) && m.Stats == nil:
			return red
		case name == "STATE":
			return stateColour(m.State)
		case m.Stats == nil:
			return ""
		case name == "BELOW TARGET" && m.Stats.BelowTarget > 0, name == "COLD" && m.Stats.Partitions.Cold > 0:
			return yellow
		default:
			return ""
		}
	}
}

// verdict says in one line whether all is as it should be.
func verdict(cluster adminapi.Cluster) string {
	sessions, below, cold, silent, split := 0, 0, 0, 0, false
	ready, owned := 0, 0 // nodes in the ring, and the partitions that they own
	rings, weights, zones, unzoned := map[string]bool{}, false, false, ""
	for _, m := range cluster.Members {
		if !present(m.State) {
			continue
		}
		if asked(&m) && m.State == "ready" {
			ready++
			weights = weights || weighted(&m.Member)
			zones = zones || m.Zone != ""
			if m.Zone == "" {
				unzoned = m.Name
			}
		}
		if m.Stats == nil {
			if asked(&m) {
				silent++
			}
			continue
		}
		owned += m.Stats.Partitions.Owned
		split = split || m.Stats.Split
		sessions += m.Stats.Sessions
		below += m.Stats.BelowTarget
		cold += m.Stats.Partitions.Cold
		rings[m.Stats.Fingerprint] = true
	}
	text := plural(sessions, "session") + " held, copies included; "
	switch {
	case silent > 0:
		return text + plural(silent, "member") + " did not answer: " + silentReason(cluster.Members)
	case ready == 0:
		return text + "no node is in the ring"
	case split:
		return text + "less than half of the cluster is here: the network may be split"
	case len(rings) > 1:
		return text + fmt.Sprintf("members show %d different rings: a change is under way, or a network is cut", len(rings))
	case owned < ring.Partitions:
		return text + plural(ring.Partitions-owned, "partition") + " without an owner: nobody serves their sessions"
	case cold > 0:
		return text + plural(cold, "partition") + " still cold: their owners ask the other holders first"
	case ready == 1 && cluster.Copies > 1:
		return text + fmt.Sprintf("1 node for %d copies: a crash would lose what it holds", cluster.Copies)
	case ready < cluster.Copies:
		return text + fmt.Sprintf("%d nodes for %d copies: each session has at most %d", ready, cluster.Copies, ready)
	case below > 0:
		return text + fmt.Sprintf("%d below target: copies are being made", below)
	case zones && unzoned != "":
		return text + "one ring, every copy in place; zones do not count while " + unzoned + " states none"
	case cluster.Uniform && (weights || zones):
		return text + "one ring, every copy in place; weights and zones do not count while a member of an older version runs"
	default:
		return text + "one ring, every copy in place"
	}
}

func silentReason(members []adminapi.ClusterMember) string {
	for _, m := range members {
		if asked(&m) && m.Stats == nil {
			return m.Name + ": " + m.Error
		}
	}
	return ""
}

func lagText(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Microsecond).String()
}

// byteText rounds to three digits or so.
func byteText(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 3 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[prefix])
}

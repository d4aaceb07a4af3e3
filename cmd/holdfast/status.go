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
)

type statusCommand struct {
	adminFlags
	watchFlags
}

func (*statusCommand) Detail() string {
	return `What needs attention stands below the table, a line each: "wrong" is what an operator should look at, "note" what
is as it was asked for, or passes by itself. Where a change is under way it looks twice, two seconds apart, and what has
not moved is wrong.

The exit code is for scripts, and the same with -json:

  0  nothing is wrong
  1  the member at -admin does not answer
  2  the command line is wrong
  3  something is wrong: a member is missing or does not answer, sessions are
     lost, nodes are fewer than -copies, a partition is served by nobody, copies
     are not being made, a node has no room or holds more than its -memory

With -watch it is 0.`
}

// secondLook is how long after the first one it is looked again whether a
// change that is under way has moved on.
const secondLook = 2 * time.Second

func (c *statusCommand) Run(ctx context.Context, s *streams) error {
	look := lookOf(s.out)
	var speeds speeds
	wrong := false
	err := c.show(ctx, s.out, func(ctx context.Context, w io.Writer) error {
		cluster, body, err := clusterStatus(ctx, c.Admin)
		if err != nil {
			return err
		}
		var before *adminapi.Cluster
		if !c.Watch && underWay(cluster) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(secondLook):
			}
			first := cluster
			if cluster, body, err = clusterStatus(ctx, c.Admin); err != nil {
				return err
			}
			before = &first
		}
		findings := findingsOf(cluster, before)
		wrong = slices.ContainsFunc(findings, func(f finding) bool { return f.wrong })
		if c.JSON {
			return writeAnswer(w, body, c.Admin)
		}
		return writeStatus(w, cluster, findings, speeds.of(cluster.Members), look)
	})
	if err == nil && wrong && !c.Watch {
		return errUnwell
	}
	return err
}

// clusterStatus asks one member how all of them do, as it has heard from each.
// body is the answer as it came.
func clusterStatus(ctx context.Context, base adminURL) (cluster adminapi.Cluster, body []byte, err error) {
	if body, err = askAdmin(ctx, base, "/admin/cluster"); err != nil {
		return adminapi.Cluster{}, nil, err
	}
	cluster, err = decodeStatus(body, base)
	return cluster, body, err
}

func decodeStatus(body []byte, base adminURL) (cluster adminapi.Cluster, err error) {
	if err := decodeAnswer(body, base, &cluster); err != nil {
		return adminapi.Cluster{}, err
	}
	sortMembers(cluster.Members)
	return cluster, nil
}

func sortMembers(members []adminapi.ClusterMember) {
	slices.SortStableFunc(members, func(a, b adminapi.ClusterMember) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), naturalCompare(a.Name, b.Name))
	})
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
func writeStatus(w io.Writer, cluster adminapi.Cluster, findings []finding, speed map[string]float64, look look) error {
	t := table{
		header: []string{"MEMBER", "ROLE", "STATE", "UP", "SESSIONS", "MEMORY", "OWNED", "COLD", "OPS/S", "LAG", "BELOW TARGET", "WEIGHT", "RING"},
		right:  []int{3, 4, 5, 6, 7, 8, 9, 10, 11}, look: look,
	}
	members, most := withMissing(cluster), 0
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
		if isMissing(cluster, &m) && !present(m.State) {
			row[2] = "missing"
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
	_, err := fmt.Fprintf(w, "\n%s", summary(cluster, findings))
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

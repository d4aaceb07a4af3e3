package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

type statusCommand struct {
	adminFlags
	JSON bool `name:"json" help:"Print members and their figures as JSON."`
}

// memberStatus is a member, with its own figures or why there are none.
type memberStatus struct {
	memberInfo
	Stats *statsInfo `json:"stats"`
	Error string     `json:"error,omitempty"`
}

func (c *statusCommand) Run(ctx context.Context, s *streams) error {
	members, err := clusterStatus(ctx, c.Admin)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(s.out, map[string]any{"members": members})
	}
	return writeStatus(s.out, members)
}

// clusterStatus asks one member who the others are, and each of them, all at
// once, how it does.
func clusterStatus(ctx context.Context, base adminURL) ([]memberStatus, error) {
	body, err := askAdmin(ctx, base, "/admin/members")
	if err != nil {
		return nil, err
	}
	var members []memberStatus
	if err := decodeAnswer(body, base, &members); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b memberStatus) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), naturalCompare(a.Name, b.Name))
	})
	var asking sync.WaitGroup
	for i := range members {
		if members[i].present() {
			asking.Go(func() { members[i].ask(ctx) })
		}
	}
	asking.Wait()
	return members, nil
}

func (m *memberStatus) ask(ctx context.Context) {
	base := adminURL("http://" + m.Admin)
	body, err := askAdmin(ctx, base, "/admin/stats")
	if err == nil {
		m.Stats = new(statsInfo)
		err = decodeAnswer(body, base, m.Stats)
	}
	if err != nil {
		m.Stats, m.Error = nil, err.Error()
	}
}

// writeStatus writes a line for each member and then what needs attention.
func writeStatus(w io.Writer, members []memberStatus) error {
	t := table{
		header: []string{"MEMBER", "ROLE", "STATE", "UP", "SESSIONS", "MEMORY", "OWNED", "COLD", "LAG", "BELOW TARGET", "RING"},
		right:  []int{3, 4, 5, 6, 7, 8, 9},
	}
	for _, m := range members {
		row := []string{m.Name, m.Role, m.State, "-", "-", "-", "-", "-", "-", "-", "-"}
		if m.present() {
			row[10] = "no answer"
		}
		if s := m.Stats; s != nil {
			row[3] = time.Duration(s.Uptime * float64(time.Second)).Truncate(time.Second).String()
			row[10] = s.Fingerprint
			if m.Role == "node" {
				row = append(row[:4], strconv.Itoa(s.Sessions), byteText(s.Bytes), strconv.Itoa(s.Partitions.Owned),
					strconv.Itoa(s.Partitions.Cold), lagText(s.Lag), strconv.Itoa(s.BelowTarget), s.Fingerprint)
			}
		}
		t.rows = append(t.rows, row)
	}
	if err := t.write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict(members))
	return err
}

// verdict says in one line whether all is as it should be.
func verdict(members []memberStatus) string {
	sessions, below, cold, silent := 0, 0, 0, 0
	rings := map[string]bool{}
	for _, m := range members {
		if !m.present() {
			continue
		}
		if m.Stats == nil {
			silent++
			continue
		}
		sessions += m.Stats.Sessions
		below += m.Stats.BelowTarget
		cold += m.Stats.Partitions.Cold
		rings[m.Stats.Fingerprint] = true
	}
	text := plural(sessions, "session") + " held, copies included; "
	switch {
	case silent > 0:
		return text + plural(silent, "member") + " did not answer: " + silentReason(members)
	case len(rings) > 1:
		return text + fmt.Sprintf("members show %d different rings: a change is under way, or a network is cut", len(rings))
	case cold > 0:
		return text + plural(cold, "partition") + " still cold: their owners ask the other holders first"
	case below > 0:
		return text + fmt.Sprintf("%d below target: copies are being made", below)
	default:
		return text + "one ring, every copy in place"
	}
}

func silentReason(members []memberStatus) string {
	for _, m := range members {
		if m.present() && m.Stats == nil {
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

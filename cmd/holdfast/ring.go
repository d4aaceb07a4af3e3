package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/ring"
)

type ringCommand struct {
	Key string `arg:"" optional:"" help:"Show who owns this key, and why. Without it: how the partitions are spread over the members."`
	adminFlags
	watchFlags
}

func (c *ringCommand) Run(ctx context.Context, s *streams) error {
	look := lookOf(s.out)
	return c.show(ctx, s.out, func(ctx context.Context, w io.Writer) error { return c.draw(ctx, w, look) })
}

func (c *ringCommand) draw(ctx context.Context, w io.Writer, look look) error {
	path := "/admin/ring"
	if c.Key != "" {
		path += "?key=" + url.QueryEscape(c.Key)
	}
	body, err := askAdmin(ctx, c.Admin, path)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeAnswer(w, body, c.Admin)
	}
	if c.Key != "" {
		var k adminapi.Key
		if err := decodeAnswer(body, c.Admin, &k); err != nil {
			return err
		}
		return writeKey(w, k, look)
	}
	var r adminapi.Ring
	if err := decodeAnswer(body, c.Admin, &r); err != nil {
		return err
	}
	return writeRing(w, r, look)
}

// leastBar is the narrowest column in which a bar still tells something.
const leastBar = 8

// writeRing writes the members with the share of each as a bar, in lines that
// fit where the names leave room for that. The longest bar is the fullest
// node's.
func writeRing(w io.Writer, r adminapi.Ring, look look) error {
	members := slices.Clone(r.Members)
	slices.SortFunc(members, func(a, b adminapi.Member) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), naturalCompare(a.Name, b.Name))
	})
	most, nodes := 0, 0
	t := table{header: []string{"MEMBER", "ROLE", "STATE", "ZONE", "WEIGHT", "PARTITIONS", "SHARE"}, right: []int{4, 5, 6}, look: look}
	for _, m := range members {
		most = max(most, m.Partitions)
		row := []string{m.Name, m.Role, m.State, orDash(m.Zone), weightText(m.Weight), "-", "-"}
		if m.Partitions > 0 {
			nodes++
			row[5], row[6] = strconv.Itoa(m.Partitions), fmt.Sprintf("%.1f%%", 100*float64(m.Partitions)/ring.Partitions)
		}
		t.rows = append(t.rows, row)
	}
	if !slices.ContainsFunc(members, func(m adminapi.Member) bool { return weighted(&m) }) {
		t.remove(4)
	}
	if room := t.fit("ZONE", "WEIGHT", "ROLE", "PARTITIONS") - columnGap; room >= leastBar && most > 0 {
		t.header = append(t.header, "")
		for i, m := range members {
			t.rows[i] = append(t.rows[i], bar(m.Partitions, most, room))
		}
	}
	state, bars := slices.Index(t.header, "STATE"), slices.Index(t.header, "")
	t.colour = func(row, column int) string {
		switch column {
		case state:
			return stateColour(members[row].State)
		case bars:
			return cyan
		default:
			return ""
		}
	}
	if _, err := fmt.Fprintf(w, "ring %s: %d partitions on %s, %s of each session\n\n", r.Fingerprint,
		len(r.Partitions), plural(nodes, "node"), copiesText(r.Copies)); err != nil {
		return err
	}
	return t.write(w)
}

func copiesText(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return strconv.Itoa(n) + " copies"
}

// writeKey writes who owns one key, step by step as the owner is found.
func writeKey(w io.Writer, k adminapi.Key, look look) error {
	t := table{look: look}
	add := func(name, value, why string) { t.rows = append(t.rows, []string{name, value, why}) }
	if tag := ring.Tag(k.Key); tag != k.Key {
		add("tag", tag, "what stands in the braces alone decides")
	}
	add("slot", strconv.Itoa(k.Slot), fmt.Sprintf("CRC-16 of it, mod %d, as in Redis Cluster", ring.Slots))
	add("partition", strconv.Itoa(k.Partition), fmt.Sprintf("slot / %d; a partition has one owner", ring.SlotsPerPartition))
	if k.Owner == "" {
		add("owner", "-", "no node is in the ring")
	} else {
		add("owner", k.Owner, "serves every request of this key")
	}
	for i, name := range k.Successors {
		why := "holds a copy"
		if i == 0 {
			why = "holds a copy, owns the key when " + k.Owner + " is gone"
		}
		add("successor "+strconv.Itoa(i+1), name, why)
	}
	for _, h := range k.Holders {
		switch h.State {
		case "none":
		case "silent":
			add("held by", h.Name, "did not answer")
		default:
			add("held by", h.Name, h.State+", version "+h.Version)
		}
	}
	add("ring", k.Fingerprint, "members that show the same name the same owner")
	t.wrapLast()
	// The key may be long, and must not take the room of the reasons.
	if _, err := fmt.Fprintf(w, "%-*s  %s\n", t.widths()[0], "key", printable(k.Key)); err != nil {
		return err
	}
	return t.write(w)
}

// bar draws value out of most in at most width columns, to half a column.
func bar(value, most, width int) string {
	halves := value * 2 * width / most
	return strings.Repeat("█", halves/2) + strings.Repeat("▌", halves%2)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

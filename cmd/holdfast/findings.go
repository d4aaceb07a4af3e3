package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/ring"
)

// finding is one thing that an operator should know of a cluster, on one line.
type finding struct {
	wrong bool // and should look at
	text  string
}

// state adds up what the members say of themselves.
type state struct {
	ready, mostNodes     int // nodes on the ring, and most of them ever seen
	owned, cold          int // partitions
	sessions, below, due int
	silent               []adminapi.ClusterMember
	missing              []adminapi.Missing
	split                bool
	rings                map[string]bool
	full                 []string // nodes without room for sessions
	over, short          int64    // bytes: over -memory, and lacking without a node
	overAt               string   // who is over it the furthest
	unfit                []string // nodes that own nothing for what is wrong with them
	weights, zones       bool     // some node states one
	unzoned              string   // a node that states no zone
	disks                int      // that work
}

func stateOf(cluster adminapi.Cluster) state {
	s := state{rings: make(map[string]bool), missing: cluster.Missing}
	for _, m := range cluster.Members {
		if !present(m.State) {
			continue
		}
		if asked(&m) && m.State == "ready" {
			s.ready++
			s.weights = s.weights || weighted(&m.Member)
			s.zones = s.zones || m.Zone != ""
			if m.Zone == "" {
				s.unzoned = m.Name
			}
		}
		if m.State == "unfit" {
			s.unfit = append(s.unfit, m.Name)
		}
		if m.Stats == nil {
			if asked(&m) {
				s.silent = append(s.silent, m)
			}
			continue
		}
		s.owned += m.Stats.Partitions.Owned
		s.split = s.split || m.Stats.Split
		s.sessions += m.Stats.Sessions
		s.below += m.Stats.BelowTarget
		s.due += m.Stats.CopiesDue
		s.cold += m.Stats.Partitions.Cold
		s.mostNodes = max(s.mostNodes, m.Stats.MostNodes)
		s.short = max(s.short, m.Stats.MemoryShort)
		if m.Stats.OverLimit > s.over {
			s.over, s.overAt = m.Stats.OverLimit, m.Name
		}
		if m.Stats.Disk != nil && m.Stats.Disk.Error == "" {
			s.disks++
		}
		if m.Stats.Full {
			s.full = append(s.full, m.Name)
		}
		s.rings[m.Stats.Fingerprint] = true
	}
	if s.ready >= cluster.Copies {
		s.due = max(s.due, s.below) // of a version that does not tell them apart
	}
	return s
}

// underWay says whether something is in motion that should come to rest.
func underWay(cluster adminapi.Cluster) bool {
	s := stateOf(cluster)
	return len(s.rings) > 1 || s.cold > 0 || s.due > 0
}

// findingsOf returns what there is to know, the most important first. before is
// how the cluster was a moment ago, nil if that was not looked at: then what is
// in motion is taken for moving.
func findingsOf(cluster adminapi.Cluster, before *adminapi.Cluster) (found []finding) {
	now := stateOf(cluster)
	was := state{}
	if before != nil {
		was = stateOf(*before)
	}
	wrong := func(format string, args ...any) { found = append(found, finding{true, fmt.Sprintf(format, args...)}) }
	note := func(format string, args ...any) { found = append(found, finding{false, fmt.Sprintf(format, args...)}) }
	// stuck is for what should have moved on between the two looks.
	stuck := func(moves bool) func(string, ...any) {
		if before != nil && !moves {
			return wrong
		}
		return note
	}
	if cluster.SessionsLost > 0 {
		wrong("about %s lost: no member has a copy left. When this is known: holdfast forget %s", plural(cluster.SessionsLost, "session"), strings.Join(cluster.LostWith, " "))
	}
	for _, m := range now.missing {
		wrong("%s", missingText(m))
	}
	for _, m := range now.silent {
		wrong("%s does not answer: %s", m.Name, m.Error)
	}
	for _, name := range now.unfit {
		wrong("%s owns nothing: its /readyz says why", name)
	}
	switch {
	case now.ready == 0:
		wrong("no node is in the ring")
		return found
	case now.split:
		wrong("less than half of the cluster is here: the network may be split")
	}
	if len(now.rings) > 1 {
		stuck(len(was.rings) <= 1)("members show %d different rings: a change is under way, or a network is cut", len(now.rings))
	}
	if now.owned < ring.Partitions && len(now.silent) == 0 && len(now.rings) == 1 {
		wrong("%s without an owner: nobody serves their sessions", plural(ring.Partitions-now.owned, "partition"))
	}
	if now.cold > 0 {
		stuck(now.cold < was.cold || was.cold == 0)("%s still cold: their owners ask the other holders first", plural(now.cold, "partition"))
	}
	switch lone := now.mostNodes <= 1 && len(now.missing) == 0; {
	case now.ready == 1 && (lone || cluster.Copies == 1) && now.disks > 0:
		note("one node, and no copies: what it holds is on its disk alone")
	case now.ready == 1 && (lone || cluster.Copies == 1):
		note("one node, and no copies: its end loses all that it holds")
	case now.ready < cluster.Copies:
		wrong("%s for %d copies: %s below target, and a crash may lose them", plural(now.ready, "node"), cluster.Copies, plural(now.below, "session"))
	}
	if now.due > 0 {
		stuck(now.due < was.due || was.due == 0)("%s without a copy that is being made", plural(now.due, "session"))
	}
	if len(now.full) > 0 {
		wrong("no room for sessions at %s: those that have a copy there do not grow, and copies are not made there", strings.Join(now.full, ", "))
	}
	if now.over > 0 {
		wrong("%s holds %s more than its -memory, in copies that it had to take", now.overAt, byteText(now.over))
	}
	found = append(found, onDisks(cluster)...)
	for _, a := range askedFor(cluster) {
		note("%s", a)
	}
	if now.short > 0 {
		note("if a node is lost, the others lack %s of -memory for its sessions' copies: add a node, or memory", byteText(now.short))
	}
	found = append(found, movingIn(cluster)...)
	switch {
	case now.zones && now.unzoned != "":
		note("zones do not count while %s states none", now.unzoned)
	case cluster.Uniform && (now.weights || now.zones):
		note("weights and zones do not count while a member of an older version runs")
	}
	return found
}

// diskBehind is how far a disk may be behind before writers are slowed down.
const diskBehind = time.Second

// onDisks says which disks do not have what they should.
func onDisks(cluster adminapi.Cluster) (found []finding) {
	wrong := func(format string, args ...any) { found = append(found, finding{true, fmt.Sprintf(format, args...)}) }
	for _, m := range cluster.Members {
		if m.Stats == nil || m.Stats.Disk == nil {
			continue
		}
		d := m.Stats.Disk
		behind, age, every := span(d.Lag/1000), span(d.SnapshotAge), span(d.SnapshotEvery)
		switch {
		case d.Error != "":
			wrong("the disk of %s has failed, and what has changed since is in memory alone: %s", m.Name, d.Error)
		case behind > diskBehind:
			wrong("the disk of %s is %v behind, and writers are slowed down", m.Name, behind.Round(100*time.Millisecond))
		}
		if every > 0 && age > 2*every {
			wrong("the newest snapshot of %s was begun %v ago, and one is due every %v: its log says why there is none", m.Name, age.Round(time.Second), every)
		}
	}
	return found
}

// span is how long so many seconds are.
func span(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}

// movingIn says how much is still taken over from the Redis that had the
// sessions before, and what keeps it from that.
func movingIn(cluster adminapi.Cluster) (found []finding) {
	var taken, lately, dropped int64
	var with, without, down []string
	address, cause := "", ""
	for _, m := range cluster.Members {
		switch {
		case !asked(&m) || m.Stats == nil:
			continue
		case m.Stats.Upstream == nil:
			without = append(without, m.Name)
			continue
		}
		u := m.Stats.Upstream
		with, address = append(with, m.Name), u.Address
		taken, lately, dropped = taken+u.Taken, lately+u.Lately, dropped+u.Dropped
		if u.Error != "" {
			down, cause = append(down, m.Name), u.Error
		}
	}
	if len(with) == 0 {
		return nil
	}
	if len(down) > 0 {
		found = append(found, finding{true, fmt.Sprintf("the old Redis at %s does not answer %s, and sessions that are only there are missed: %s", address, strings.Join(down, ", "), cause)})
	}
	text := fmt.Sprintf("%s taken over from the old Redis at %s, %d of them in the last five minutes", plural(int(taken), "session"), address, lately)
	if lately == 0 && len(down) == 0 {
		text += ": once it stays so, -upstream can be taken off"
	}
	found = append(found, finding{false, text})
	for _, m := range cluster.Missing {
		if m.Role == "node" && !m.Ended {
			found = append(found, finding{true, fmt.Sprintf("nothing is taken over while %s is missing, for it may have ended what would be", m.Name)})
		}
	}
	if len(without) > 0 {
		found = append(found, finding{false, fmt.Sprintf("-upstream is given to %s and not to %s, which takes nothing over", strings.Join(with, ", "), strings.Join(without, ", "))})
	}
	if dropped > 0 {
		found = append(found, finding{false, fmt.Sprintf("%s at the old Redis given up: what has ended here may still be there", plural(int(dropped), "delete"))})
	}
	return found
}

func missingText(m adminapi.Missing) string {
	how := "it does not answer: frozen, or cut off"
	if m.Ended {
		how = "its process has ended"
	}
	return fmt.Sprintf("%s is missing, last seen %s: %s. Start it again, or: holdfast forget %s", m.Name, m.LastSeen.Local().Format(time.DateTime), how, m.Name)
}

// isMissing says whether that boot was the last one of a member that is missing.
func isMissing(cluster adminapi.Cluster, m *adminapi.ClusterMember) bool {
	return slices.ContainsFunc(cluster.Missing, func(gone adminapi.Missing) bool { return gone.Name == m.Name && gone.Boot == m.Boot })
}

// withMissing returns the members, and those missing that are not listed any
// more.
func withMissing(cluster adminapi.Cluster) []adminapi.ClusterMember {
	members := slices.Clone(cluster.Members)
	for _, m := range cluster.Missing {
		if !slices.ContainsFunc(members, func(c adminapi.ClusterMember) bool { return c.Name == m.Name }) {
			members = append(members, adminapi.ClusterMember{SeenMember: adminapi.SeenMember{Member: adminapi.Member{Name: m.Name, Boot: m.Boot, Role: m.Role, State: "gone"}}})
		}
	}
	sortMembers(members)
	return members
}

// summary is a line about the whole, and one for each finding.
func summary(cluster adminapi.Cluster, findings []finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s held, copies included", plural(stateOf(cluster).sessions, "session"))
	switch wrong := count(findings, true); {
	case wrong == 1:
		b.WriteString("; 1 thing is wrong")
	case wrong > 1:
		fmt.Fprintf(&b, "; %d things are wrong", wrong)
	case len(findings) == 0:
		b.WriteString("; one ring, every copy in place")
	}
	b.WriteByte('\n')
	for _, f := range findings {
		kind := "note "
		if f.wrong {
			kind = "wrong"
		}
		fmt.Fprintf(&b, "  %s  %s\n", kind, f.text)
	}
	return b.String()
}

func count(findings []finding, wrong bool) (n int) {
	for _, f := range findings {
		if f.wrong == wrong {
			n++
		}
	}
	return n
}

// askedFor says which parameters of the ring some nodes ask for and the cluster
// does not have: it takes them once all do.
func askedFor(cluster adminapi.Cluster) (lines []string) {
	by := make(map[string][]string)
	for _, m := range cluster.Members {
		has := strings.Fields(m.Params)
		for _, want := range strings.Fields(m.Wants) {
			if m.Role == "node" && m.State == "ready" && !slices.Contains(has, want) {
				by[want] = append(by[want], m.Name)
			}
		}
	}
	for _, want := range slices.Sorted(maps.Keys(by)) {
		lines = append(lines, fmt.Sprintf("%s is asked for by %s: the cluster takes it once all its nodes ask for it", want, strings.Join(by[want], ", ")))
	}
	return lines
}

package nodetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// asyncLag is the replication lag within which a write with ack=async may be
// lost with its owner.
const asyncLag = time.Second

// Complaint is a promise that a history breaks, and the calls that show it.
type Complaint struct {
	Key  string
	Text string
}

// Check holds the history against the promises and returns what it breaks.
func (h *History) Check() (complaints []Complaint) {
	byKey := h.Calls()
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		calls := byKey[key]
		var text string
		switch {
		case strings.HasPrefix(key, counters), strings.HasPrefix(key, asyncs):
			text = h.checkCounter(calls)
		case strings.HasPrefix(key, logouts):
			text = h.checkLogout(calls)
		}
		if text != "" {
			complaints = append(complaints, Complaint{key, text})
		}
	}
	return complaints
}

// checkCounter says how the calls of one counter break a promise: that no read
// is behind a write that was acknowledged before the read began, and that a
// session which was acknowledged is found.
func (h *History) checkCounter(calls []Call) string {
	for _, read := range calls {
		if h.inWindow(read) || read.Outcome == Unknown || read.Outcome == Refused {
			continue
		}
		floor, ceiling := 0, 0
		for _, w := range calls {
			if w.Kind != session.Put && w.Kind != session.Patch {
				continue
			}
			if w.Began <= read.Ended {
				ceiling = max(ceiling, w.Value)
			}
			if w.Outcome == OK && w.Ended <= read.Began && !h.inWindow(w) && !h.mayBeLost(w, read) {
				floor = max(floor, w.Value)
			}
		}
		switch {
		case read.Outcome != OK && floor > 0:
			return fmt.Sprintf("false %s, %d was acknowledged:\n%s", read.Outcome, floor, read)
		case read.Outcome == OK && read.Kind == session.Get && (read.Got < floor || read.Got > ceiling):
			return fmt.Sprintf("read %d, %d was acknowledged and %d tried:\n%s", read.Got, floor, ceiling, read)
		}
	}
	return ""
}

// mayBeLost says whether a write with ack=async may be lost by the time of a
// read: its owner crashed within the replication lag.
func (h *History) mayBeLost(w, read Call) bool {
	if !strings.HasPrefix(w.Key, asyncs) {
		return false
	}
	return slices.ContainsFunc(h.faults, func(f Fault) bool {
		return f.What == "kill" && f.Host == w.Served && f.At >= w.Began && f.At <= w.Ended+asyncLag && f.At <= read.Ended
	})
}

// checkLogout says how the calls of one session break the promise that a
// logout sticks: no call that began after the delete was acknowledged may find
// the session, or bring it back without meaning to.
func (h *History) checkLogout(calls []Call) string {
	gone, pending := forever, false
	for _, c := range calls {
		// A create that nobody has answered may still come, and it is meant.
		pending = pending || c.Kind == session.Put && c.Outcome == Unknown
		if c.Kind == session.Delete && c.Outcome == OK && !c.Unconfirmed && !c.Degraded && !pending {
			gone = min(gone, c.Ended)
		}
	}
	for _, c := range calls {
		if c.Began > gone && c.Outcome == OK && c.Kind != session.Delete && !h.inWindow(c) {
			return fmt.Sprintf("back after the logout that was acknowledged at %v:\n%s", gone, c)
		}
	}
	return ""
}

// inWindow says whether a call fell into a time in which the cluster was split.
func (h *History) inWindow(c Call) bool {
	return slices.ContainsFunc(h.windows, func(w window) bool { return c.Began <= w.to && c.Ended >= w.from })
}

// Dump writes the calls of one key, a line each, with the faults between them.
func (h *History) Dump(key string) string {
	type line struct {
		at   time.Duration
		text string
	}
	var lines []line
	for _, c := range h.Calls()[key] {
		lines = append(lines, line{c.Began, c.String()})
	}
	h.mu.Lock()
	for _, f := range h.faults {
		lines = append(lines, line{f.At, "    " + f.String()})
	}
	h.mu.Unlock()
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintln(&b, l.text)
	}
	return b.String()
}

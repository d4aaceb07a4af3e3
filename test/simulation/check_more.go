package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// clocksApart is more than two owners' times may differ by, with the lead that
// the later one of them takes (docs/MEMBERSHIP.md, "Clocks").
const clocksApart = 4 * time.Second

// sure says whether what a call has written is there from its end on: it was
// confirmed by a copy, or nothing happened that may have undone it.
func (h *History) sure(c Call) bool {
	return c.Outcome == OK && !h.inWindow(c) && h.lostFrom(c.Key, c) == forever && h.lostAt(c) == forever
}

// checkExpiry says how the calls of one session with a short TTL break a
// promise: that it does not end before its time, nor outlives it.
func (h *History) checkExpiry(calls []Call) string {
	for i, read := range calls {
		if h.inWindow(read) || read.Outcome == Refused || read.Outcome == Unknown || read.Kind == session.Put {
			continue
		}
		var ends time.Duration // at the latest
		for j, w := range calls {
			if i == j || w.Kind == session.Get || w.Outcome == Missing || w.Outcome == Refused || w.Began > read.Ended {
				continue
			}
			if w.Outcome == Unknown || h.inWindow(w) {
				ends = forever
			} else {
				ends = max(ends, w.Ended+w.TTL+w.TTL/10+clocksApart)
			}
			if read.Outcome != OK && h.sure(w) && w.Ended < read.Began && read.Ended < w.Began+w.TTL-clocksApart {
				return fmt.Sprintf("%s before its end:\n%s\n%s", read.Outcome, w, read)
			}
		}
		if read.Outcome == OK && read.Began > ends {
			return fmt.Sprintf("there after its end at %v:\n%s", ends, read)
		}
	}
	return ""
}

// checkLock says which two calls have held one lock at the same time.
func (h *History) checkLock(calls []Call) string {
	for i, a := range calls {
		if a.Kind != session.Put || !h.sure(a) {
			continue
		}
		until := a.Began + a.TTL - clocksApart
		for _, c := range calls[i+1:] {
			if c.Kind == session.Delete && c.Value == a.Value {
				until = min(until, c.Began)
			}
		}
		for _, b := range calls {
			if b.Kind == session.Put && b.Outcome == OK && !h.inWindow(b) && b.Value != a.Value && b.Began > a.Ended && b.Ended < until {
				return fmt.Sprintf("taken twice:\n%s\n%s", a, b)
			}
		}
	}
	return ""
}

// checkSwap says which two writes that were to replace one value have both been
// made. No two writes write the same, and a session that nobody ends is created
// once.
func (h *History) checkSwap(calls []Call) string {
	first := make(map[int]Call)
	for _, c := range calls {
		if c.Kind != session.Put || !h.sure(c) || c.Degraded && c.Unconfirmed {
			continue // or it says itself that there may be a newer value
		}
		if was, ok := first[c.Match]; ok {
			return fmt.Sprintf("two writes in place of one:\n%s\n%s", was, c)
		}
		first[c.Match] = c
	}
	return ""
}

// checkRotation says how the calls of one key of a chain break a promise: that
// the session is there until its rotation, and not after it.
func (h *History) checkRotation(calls []Call) string {
	moved := forever
	for _, c := range calls {
		if c.Kind == session.Rotate && c.Outcome != Refused {
			moved = min(moved, c.Began)
		}
	}
	for _, made := range calls {
		if made.Kind != session.Put || !h.sure(made) {
			continue
		}
		for _, c := range calls {
			lost := c.Outcome == Missing || c.Outcome == Deleted
			if lost && c.Began > made.Ended && c.Ended < moved && !h.inWindow(c) {
				return fmt.Sprintf("false %s:\n%s\n%s", c.Outcome, made, c)
			}
		}
	}
	return h.checkLogout(calls)
}

// checkList says which list lacks a session that is there, or has one that is
// logged out.
func (h *History) checkList(lists []Call, byKey map[string][]Call) string {
	for _, list := range lists {
		if list.Kind != session.List || list.Outcome != OK || h.inWindow(list) {
			continue
		}
		for key, calls := range byKey {
			if !strings.HasPrefix(key, "{"+list.Key+"}:") {
				continue
			}
			there, gone, pending := false, false, false
			for _, c := range calls {
				// A save that nobody has answered may still come.
				pending = pending || c.Kind == session.Put && c.Outcome == Unknown && c.Began < list.Ended
				switch {
				case c.Kind == session.Put && h.sure(c) && c.Ended < list.Began:
					there = true
				case c.Kind == session.Delete && h.sure(c) && !c.Unconfirmed && !h.degraded(c) && c.Ended < list.Began:
					gone = true
				}
			}
			ending := slices.ContainsFunc(calls, func(c Call) bool {
				return c.Kind == session.Delete && c.Outcome != Refused && c.Began < list.Ended
			})
			switch listed := slices.Contains(list.Keys, key); {
			case there && !ending && !listed:
				return fmt.Sprintf("%s is not listed, of %v:\n%s\n%s", key, list.Keys, list, h.dumpLines(calls))
			case gone && listed && !pending:
				return fmt.Sprintf("%s is listed after its logout:\n%s\n%s", key, list, h.dumpLines(calls))
			}
		}
	}
	return ""
}

func (h *History) dumpLines(calls []Call) string {
	var b strings.Builder
	for _, c := range calls {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}

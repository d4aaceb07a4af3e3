package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// asyncLag is the replication lag within which a write with ack=async may be
// lost with its owner, also when the owner knows of no such lag. It is longer
// where the owner says so, as while a successor is frozen.
const asyncLag = time.Second

// underWay is more than an answer takes from its owner to whoever asked.
const underWay = 250 * time.Millisecond

// disturbance is for how long faults that overlap may still be felt.
const disturbance = 3 * time.Second

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
		case strings.HasPrefix(key, counters), strings.HasPrefix(key, asyncs), strings.HasPrefix(key, merges):
			text = h.checkCounter(calls)
		case strings.HasPrefix(key, expiries):
			text = h.checkExpiry(calls)
		case strings.HasPrefix(key, locks):
			text = h.checkLock(calls)
		case strings.HasPrefix(key, swaps):
			text = h.checkSwap(calls)
		case strings.HasPrefix(key, rotations):
			text = h.checkRotation(calls)
		case strings.HasPrefix(key, lists):
			text = h.checkList(calls, byKey)
		case strings.HasPrefix(key, logouts):
			text = h.checkLogout(calls)
		}
		if text == "" {
			text = checkRefused(key, calls)
		}
		if text != "" {
			complaints = append(complaints, Complaint{key, text})
		}
	}
	return complaints
}

// checkCounter says how the calls of one counter break a promise: that no read
// is behind a write that was acknowledged before the read began, and that a
// session which was acknowledged is found. Where the copies are out of reach,
// what is found may be behind if the answer says so of itself: in mode majority,
// and while faults overlap, for one alone leaves a copy in reach.
func (h *History) checkCounter(calls []Call) string {
	w := h.writesOf(calls)
	for _, read := range calls {
		if h.inWindow(read) || read.Outcome == Unknown || read.Outcome == Refused {
			continue
		}
		floor, ceiling := w.floor(read), w.tried.upTo(read.Ended)
		switch {
		case read.Outcome != OK && floor > 0:
			return fmt.Sprintf("false %s, %d was acknowledged:\n%s", read.Outcome, floor, read)
		case read.Outcome == OK && read.Kind == session.Get && (read.Got < floor && !w.pending(read) && !h.mayBeBehind(read, calls) || read.Got > ceiling):
			return fmt.Sprintf("read %d, %d was acknowledged and %d tried:\n%s", read.Got, floor, ceiling, read)
		}
	}
	return ""
}

// mayBeBehind says whether a read of a session tells of itself that there may be
// newer, or another answer at that time does, where its door cannot.
func (h *History) mayBeBehind(read Call, calls []Call) bool {
	switch {
	case h.majority:
		return read.Degraded
	case !h.nearDisturbance(read):
		return false
	}
	return read.Degraded || read.ReachUnsaid && slices.ContainsFunc(calls, func(c Call) bool {
		return c.Degraded && c.Began <= read.Ended+disturbance && c.Ended+disturbance >= read.Began
	})
}

// numbered are the families of whose sessions no two writes write the same.
var numbered = []string{counters, asyncs, merges, registers, swaps}

// checkRefused says which read has found what a write was to write that was told
// that nothing was changed. Whoever was told so writes something else, and does
// not expect the first to come about. This is promised at all times.
func checkRefused(key string, calls []Call) string {
	begins := strings.HasPrefix(key, merges) && wholeKey(key) == key // of whom each writes the same
	if begins || !slices.ContainsFunc(numbered, func(family string) bool { return strings.HasPrefix(key, family) }) {
		return ""
	}
	refused := make(map[int]Call)
	for _, c := range calls {
		if (c.Kind == session.Put || c.Kind == session.Patch) && c.Outcome != OK && c.Outcome != Unknown {
			refused[c.Value] = c
		}
	}
	for _, c := range calls {
		if w, ok := refused[c.Got]; ok && c.Kind == session.Get && c.Outcome == OK {
			return fmt.Sprintf("made, though it was said that nothing was changed:\n%s\n%s", w, c)
		}
	}
	return ""
}

// writes are the writes of one counter.
type writes struct {
	tried steps                 // by when they began
	acked steps                 // by when they were acknowledged
	frail []lost                // acknowledged ones that their owner's crash may have undone
	open  map[int]time.Duration // when those began of which nobody knows what became
}

type lost struct {
	at, acked time.Duration
	value     int
}

func (h *History) writesOf(calls []Call) writes {
	w := writes{open: make(map[int]time.Duration)}
	for _, c := range calls {
		if c.Kind != session.Put && c.Kind != session.Patch {
			continue
		}
		w.tried = append(w.tried, step{c.Began, c.Value})
		if c.Outcome == Unknown {
			w.open[c.Value] = c.Began
		}
		if c.Outcome != OK || h.inWindow(c) {
			continue
		}
		if at := min(h.lostAt(c), h.lostFrom(c.Key, c)); at < forever {
			w.frail = append(w.frail, lost{at, c.Ended, c.Value})
		} else {
			w.acked = append(w.acked, step{c.Ended, c.Value})
		}
	}
	w.tried.sort()
	w.acked.sort()
	return w
}

// pending says whether a read has found a write that was never answered. That
// one may come late, as when the network has held it back.
func (w *writes) pending(read Call) bool {
	began, open := w.open[read.Got]
	return open && began <= read.Ended
}

// floor is the least that a read must find. What was acknowledged in the
// instant in which it began may have been written after it: when a pause ends,
// everything that has waited goes on at once.
func (w *writes) floor(read Call) int {
	floor := w.acked.upTo(read.Began - 1)
	for _, l := range w.frail {
		if l.acked < read.Began && l.at > read.Ended {
			floor = max(floor, l.value)
		}
	}
	return floor
}

// steps are values with their times, the largest so far at each.
type steps []step

type step struct {
	at    time.Duration
	value int
}

func (s steps) sort() {
	slices.SortFunc(s, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(s); i++ {
		s[i].value = max(s[i].value, s[i-1].value)
	}
}

// upTo returns the largest value until the given time, 0 if there is none.
func (s steps) upTo(at time.Duration) int {
	i := sort.Search(len(s), func(i int) bool { return s[i].at > at })
	if i == 0 {
		return 0
	}
	return s[i-1].value
}

// lostAt is from when on a write may be lost, for ever if it may not be: one
// with ack=async may, when its owner crashed or froze within the replication
// lag. What it acknowledges when it goes on after a pause may not, but an
// answer of before may have been on its way. Where there is to be one copy
// alone, one that confirms a write has it from an owner of before, who is about
// to drop its own.
func (h *History) lostAt(w Call) time.Duration {
	if !strings.HasPrefix(w.Key, asyncs) && (len(h.disturbed) == 0 || w.Acked > 0 && !h.single) {
		return forever
	}
	if h.nearDisturbance(w) { // faults overlap, so which of them matters is not told apart
		return w.Began
	}
	for _, f := range h.faults { // in order of time
		near := f.Host == w.Served && f.At >= w.Began && f.At <= w.Ended+max(asyncLag, f.Lag+underWay)
		if near && (f.What == "kill" || f.What == "pause" && (w.Ended-f.At < underWay || h.heldUp(w, f))) {
			return f.At
		}
	}
	return forever
}

// heldUp says whether a write was run before its owner was paused, and a cut
// from there to the door at that moment may have held its answer up.
func (h *History) heldUp(w Call, pause Fault) bool {
	return w.Stamped > 0 && w.Stamped < pause.At && slices.ContainsFunc(h.faults, func(f Fault) bool {
		return f.What == "cut" && f.Host == w.Served && f.More == w.Door && f.At == pause.At
	})
}

// checkLogout says how the calls of one session break the promise that a
// logout sticks: no call that began after the delete was acknowledged may find
// the session, or bring it back without meaning to. A delete that found no
// session leaves nothing, and a save from then on begins one.
func (h *History) checkLogout(calls []Call) string {
	pending := false
	var deletes []Call // the first one, and the first one of nothing
	for i, c := range calls {
		c.Nothing = c.Nothing || c.FindUnsaid && !h.found(calls[:i], c)
		// A create that nobody has answered may still come, and it is meant.
		pending = pending || c.Creates && c.Outcome == Unknown
		ends := c.Kind == session.Delete || c.Kind == session.Rotate
		if ends && c.Outcome == OK && !c.Unconfirmed && !h.degraded(c) && !pending && h.lostFrom(c.Key, c) == forever &&
			!slices.ContainsFunc(deletes, func(d Call) bool { return d.Nothing == c.Nothing && d.Ended <= c.Ended }) {
			deletes = append(deletes, c)
		}
	}
	for _, gone := range deletes {
		if broken := h.backAfter(gone, calls); broken != "" {
			return broken
		}
	}
	return ""
}

// found says whether a delete must have found a session or what one has left,
// where its door does not say so: there was one for sure.
func (h *History) found(before []Call, gone Call) bool {
	return slices.ContainsFunc(before, func(c Call) bool { return c.Kind == session.Put && h.sure(c) && c.Ended < gone.Began })
}

// degraded says whether an answer is marked as such, or could have been by a
// door that does not tell: something was wrong at the time.
func (h *History) degraded(c Call) bool {
	return c.Degraded || c.ReachUnsaid && h.nearDisturbance(c)
}

// nearDisturbance says whether a call fell into a time of overlapping faults, or
// one of them may have undone it, or was still felt.
func (h *History) nearDisturbance(c Call) bool {
	return slices.ContainsFunc(h.disturbed, func(d window) bool { return c.Began <= d.to+disturbance && c.Ended+asyncLag >= d.from })
}

// backAfter says which call found a session, or brought it back, after its end.
func (h *History) backAfter(gone Call, calls []Call) string {
	for _, c := range calls {
		if c.Saves && gone.Nothing && c.Ended > gone.Began {
			return ""
		}
		if c.Began <= gone.Ended {
			continue
		}
		if c.Saves && (h.degraded(c) || h.inWindow(c)) {
			return "" // an island that has never heard of a session cannot tell a save from a create
		}
		if c.Outcome == OK && c.Kind != session.Delete && !h.inWindow(c) {
			return fmt.Sprintf("back after the logout that was acknowledged at %v:\n%s", gone.Ended, c)
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
	calls := h.Calls()
	if whole := wholeKey(key); whole != key { // what began or ended the session
		for _, c := range calls[whole] {
			lines = append(lines, line{c.Began, c.String()})
		}
	}
	for _, c := range calls[key] {
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

package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// Outcome is what a client knows when its call has ended.
type Outcome int

const (
	// OK calls were answered; what they wrote was written.
	OK Outcome = iota + 1
	// Missing and Deleted calls were told that there is no such session.
	Missing
	Deleted
	// Refused calls were told that nothing was changed.
	Refused
	// Unknown calls may have had their effect, or may still have it: the door
	// broke, or said that it does not know.
	Unknown
)

func (o Outcome) String() string {
	return [...]string{"?", "ok", "missing", "deleted", "refused", "unknown"}[o]
}

// Call is one operation of one worker.
type Call struct {
	Worker  int
	By      string // the kind of client
	Door    string // the host that was asked
	Key     string
	Kind    session.Kind
	Ack     session.Ack
	Value   int           // what a write writes; each value of a key is written once
	TTL     time.Duration // of an expiry or a lock; 0 for the default
	Match   int           // the value that it is to replace, of a swap
	Creates bool          // a create on purpose, which a tombstone lets through
	Saves   bool          // a put without conditions, which creates what is not known
	Began   time.Duration
	Ended   time.Duration // since the cluster was made; for ever if Unknown

	Told
	Got     int           // what a read has read
	Stamped time.Duration // when a write was run by its owner's clock, to the millisecond; 0 if that is not known
	Keys    []string      // what a list has listed
}

// String writes one line of a history.
func (c Call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%11v %11v w%d %-6s %-8s %-6s %-7s %s", c.Began, c.Ended, c.Worker, c.By, c.Door, c.Kind, c.Ack, c.Outcome)
	switch {
	case c.Kind == session.Put || c.Kind == session.Patch:
		fmt.Fprintf(&b, " wrote %d", c.Value)
	case c.Kind == session.Get && c.Outcome == OK:
		fmt.Fprintf(&b, " read %d", c.Got)
	}
	for _, flag := range []struct {
		on   bool
		name string
	}{{c.Created, "created"}, {c.Degraded, "degraded"}, {c.Unconfirmed, "unconfirmed"}, {c.Nothing, "of nothing"}} {
		if flag.on {
			b.WriteString(" " + flag.name)
		}
	}
	if c.Served != "" {
		b.WriteString(" by " + c.Served)
	}
	if c.Err != "" {
		b.WriteString(": " + c.Err)
	}
	return b.String()
}

// Fault is something that was done to the cluster.
type Fault struct {
	At   time.Duration
	What string // kill, start, drain, pause, cut, …
	Host string
	More string
	Lag  time.Duration // of the copies of what the host's node had acknowledged
}

func (f Fault) String() string {
	return strings.TrimRight(fmt.Sprintf("%11v %s %s %s", f.At, f.What, f.Host, f.More), " ")
}

// window is a time during which sides of the cluster could not reach each
// other, or had not yet agreed again.
type window struct{ from, to time.Duration }

// History is what happened in a run: calls, faults, and broken promises found
// on the way.
type History struct {
	began    time.Time
	majority bool // the mode
	single   bool // of each session there is to be one copy

	mu      sync.Mutex // guards what follows
	calls   []Call
	faults  []Fault
	windows []window
	broken  []string
	steps   map[string]int // steps of schedules that were played, by kind
	// messages are those of Tally.
	messages map[string]int
	// lost are the moments at which the newest version of a session was lost
	// with its last holders, and disturbed the times of faults that overlap.
	lost      map[string][]time.Duration
	disturbed []window
	// founded are the moments at which nodes founded a cluster though sessions
	// had been begun, and those at which it met what was left of the one before.
	founded []time.Duration
	apart   bool // one has not met it yet
	quiet   time.Duration
}

// forever is the end of calls of which the answer never came.
const forever = time.Duration(1<<63 - 1)

// maxBroken bounds how many broken promises are told of.
const maxBroken = 10

func newHistory(began time.Time) *History {
	return &History{began: began, steps: make(map[string]int), messages: make(map[string]int), lost: make(map[string][]time.Duration)}
}

func (h *History) add(c Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

func (h *History) fault(what, host, more string) {
	h.addFault(Fault{What: what, Host: host, More: more})
}

func (h *History) addFault(f Fault) {
	f.At = time.Since(h.began)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, f)
}

func (h *History) noteStep(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps[what]++
}

func (h *History) noteMessage(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages[what]++
}

func (h *History) noteQuiet(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.quiet += d
}

// split opens a window during which order is not promised; rejoined closes it.
func (h *History) split() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.windows = append(h.windows, window{time.Since(h.began), forever})
}

func (h *History) rejoined() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.windows[len(h.windows)-1].to = time.Since(h.began)
}

// splitNow says whether a window is open.
func (h *History) splitNow() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.windows) > 0 && h.windows[len(h.windows)-1].to == forever
}

// lose notes that the newest version of a session has gone with its last
// holders, as was to be expected.
func (h *History) lose(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost[key] = append(h.lost[key], time.Since(h.began))
}

// foundAnew notes that so many nodes as may found a cluster have done so. They have
// all forgotten what there was, and do not reach who has not: what one of the two
// clusters has acknowledged may end when they meet.
func (h *History) foundAnew() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) > 0 {
		h.founded, h.apart = append(h.founded, time.Since(h.began)), true
	}
}

// areApart says whether nodes that founded a cluster anew have still to meet the
// others: there are two clusters until then, each with owners of its own.
func (h *History) areApart() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.apart
}

// met notes that all nodes are one cluster again.
func (h *History) met() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.apart {
		h.founded, h.apart = append(h.founded, time.Since(h.began)), false
	}
}

// lostFrom is when what a call has left may first have been lost with its
// holders, for ever if it was not.
func (h *History) lostFrom(key string, c Call) time.Duration {
	first := forever
	for _, losses := range [][]time.Duration{h.lost[wholeKey(key)], h.founded} {
		for _, at := range losses {
			if at >= c.Began {
				first = min(first, at)
			}
		}
	}
	return first
}

// everLost says whether something of a session may have been lost.
func (h *History) everLost(key string) bool { return len(h.lost[key])+len(h.founded) > 0 }

// disturb notes a time during which something was wrong.
func (h *History) disturb(from, to time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disturbed = append(h.disturbed, window{from, to})
}

// Break records a broken promise.
func (h *History) Break(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.broken) < maxBroken {
		h.broken = append(h.broken, fmt.Sprintf("%v: ", time.Since(h.began))+fmt.Sprintf(format, args...))
	}
}

// Broken returns the broken promises.
func (h *History) Broken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.broken)
}

// Calls returns the calls of every key, in the order in which they began.
func (h *History) Calls() map[string][]Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	byKey := make(map[string][]Call)
	for _, c := range h.calls {
		byKey[c.Key] = append(byKey[c.Key], c)
	}
	for _, calls := range byKey {
		slices.SortStableFunc(calls, func(a, b Call) int { return int(a.Began - b.Began) })
	}
	return byKey
}

// Faults writes what was done to the cluster, a line each.
func (h *History) Faults() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, f := range h.faults {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// Tally is what a run consisted of.
type Tally struct {
	Time    time.Duration // of the cluster's life
	Quiet   time.Duration // of that, without faults and with few calls
	Calls   int
	Logouts int            // deletes that were acknowledged in full
	By      map[string]int // calls, by kind of client
	// Messages that were sent to a channel, were heard by a subscriber, and had
	// to be.
	Messages map[string]int
	Faults   map[string]int // by kind of step
}

// Add adds up.
func (t *Tally) Add(o Tally) {
	t.Time, t.Quiet, t.Calls, t.Logouts = t.Time+o.Time, t.Quiet+o.Quiet, t.Calls+o.Calls, t.Logouts+o.Logouts
	if t.Faults == nil {
		t.Faults, t.By, t.Messages = make(map[string]int), make(map[string]int), make(map[string]int)
	}
	for what, n := range o.Messages {
		t.Messages[what] += n
	}
	for by, n := range o.By {
		t.By[by] += n
	}
	for what, n := range o.Faults {
		t.Faults[what] += n
	}
}

func (t Tally) String() string {
	var faults []string
	sum := 0
	for _, what := range slices.Sorted(maps.Keys(t.Faults)) {
		faults = append(faults, fmt.Sprintf("%d %s", t.Faults[what], what))
		sum += t.Faults[what]
	}
	return fmt.Sprintf("%.2f days of cluster time, %.2f of them quiet; %d calls, %d logouts; %d faults: %s",
		t.Time.Hours()/24, t.Quiet.Hours()/24, t.Calls, t.Logouts, sum, strings.Join(faults, ", "))
}

// Tally counts what has happened until now.
func (h *History) Tally() Tally {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := Tally{Time: time.Since(h.began), Quiet: h.quiet, Calls: len(h.calls), Faults: maps.Clone(h.steps), By: make(map[string]int), Messages: maps.Clone(h.messages)}
	for _, c := range h.calls {
		t.By[c.By]++
		if c.Kind == session.Delete && c.Outcome == OK && !c.Unconfirmed && strings.HasPrefix(c.Key, logouts) {
			t.Logouts++
		}
	}
	return t
}

// Summary counts the calls by outcome.
func (h *History) Summary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var n [Unknown + 1]int
	for _, c := range h.calls {
		n[c.Outcome]++
	}
	var parts []string
	for o := OK; o <= Unknown; o++ {
		parts = append(parts, fmt.Sprintf("%d %s", n[o], o))
	}
	return fmt.Sprintf("%d calls: %s; %d faults", len(h.calls), strings.Join(parts, ", "), len(h.faults))
}

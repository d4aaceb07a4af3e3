package main

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// verdict says what one answer was worth.
type verdict int

const (
	fine     verdict = iota
	absent           // a session that lives was said not to exist
	stale            // an acknowledged write was missing
	failed           // no answer, or one that says that something went wrong
	doorLost         // no answer, because this program had ended the door's member
	verdicts
)

func (v verdict) String() string {
	return [...]string{"fine", "absent", "stale", "failed", "endpoint lost"}[v]
}

// examples is how many cases of a kind are kept in full.
const examples = 5

// count is what was seen of one kind of session.
type count struct {
	reads, writes int
	by            [verdicts]int
	degraded      int
}

func (c count) total() int { return c.reads + c.writes }

func (c count) minus(o count) count {
	c.reads -= o.reads
	c.writes -= o.writes
	c.degraded -= o.degraded
	for i := range c.by {
		c.by[i] -= o.by[i]
	}
	return c
}

// tally counts what a load saw, by what its sessions' writes wait for.
type tally struct {
	mu       sync.Mutex // guards what follows
	counts   map[string]*count
	cases    map[string][]string // by ack and verdict: the first ones in full
	latency  histogram           // of fine answers that came through the router: users do not ask at a frozen node's door
	slowest  time.Duration
	occasion string // what is being done to the cluster, told with each case
}

func newTally() *tally {
	return &tally{counts: map[string]*count{"replica": {}, "async": {}}, cases: make(map[string][]string)}
}

// during names what is being done to the cluster from now on.
func (t *tally) during(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.occasion = fmt.Sprintf(format, args...)
}

// add counts one answer. why says what was wrong with it, if anything was.
func (t *tally) add(l *ledger, write bool, a answer, v verdict, why string) {
	story := ""
	if v != fine && v != doorLost && t.wants(l.ack, v) {
		story = l.story()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[l.ack]
	if write {
		c.writes++
	} else {
		c.reads++
	}
	c.by[v]++
	if a.degraded {
		c.degraded++
	}
	if v == fine && a.routed {
		t.latency.add(a.took)
		t.slowest = max(t.slowest, a.took)
	}
	if story != "" {
		t.keepLocked(l.ack, v.String(), fmt.Sprintf("%s (ack=%s) during %s: %v\n    %s\n    %s", v, l.ack, t.occasion, a, why, story))
	}
}

func (t *tally) wants(ack string, v verdict) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.cases[ack+" "+v.String()]) < examples
}

// keep keeps a case that add does not see.
func (t *tally) keep(ack, kind, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keepLocked(ack, kind, kind+" during "+t.occasion+": "+text)
}

func (t *tally) keepLocked(ack, kind, text string) {
	if k := ack + " " + kind; len(t.cases[k]) < examples {
		t.cases[k] = append(t.cases[k], text)
	}
}

func (t *tally) examples(ack, kind string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cases[ack+" "+kind]
}

func (t *tally) of(ack string) count {
	t.mu.Lock()
	defer t.mu.Unlock()
	return *t.counts[ack]
}

// all is the sum over both kinds of sessions.
func (t *tally) all() count {
	sum := t.of("replica")
	o := t.of("async")
	sum.reads += o.reads
	sum.writes += o.writes
	sum.degraded += o.degraded
	for i := range sum.by {
		sum.by[i] += o.by[i]
	}
	return sum
}

// quantile returns the latency that the share q of fine answers was within.
func (t *tally) quantile(q float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latency.quantile(q)
}

func (t *tally) worst() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slowest
}

// histogram counts durations in buckets that are 5 % wide, from 1 µs up.
type histogram struct {
	buckets [400]int // 1.05^400 µs is over five minutes
	n       int
}

const bucketWidth = 1.05

func (h *histogram) add(d time.Duration) {
	i := int(math.Log(max(1, float64(d)/float64(time.Microsecond))) / math.Log(bucketWidth))
	h.buckets[min(i, len(h.buckets)-1)]++
	h.n++
}

// quantile returns the upper end of the bucket in which the share q ends, 0
// when nothing was counted.
func (h *histogram) quantile(q float64) time.Duration {
	want := int(math.Ceil(q * float64(h.n)))
	for i, n := range h.buckets {
		if want -= n; want <= 0 && h.n > 0 {
			return time.Duration(math.Pow(bucketWidth, float64(i+1)) * float64(time.Microsecond))
		}
	}
	return 0
}

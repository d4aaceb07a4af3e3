package replication

import "time"

// mark is one key's place in a dirty set: the number of its newest change and
// the time of its oldest that the peer has not confirmed.
type mark struct {
	seq   uint64
	since time.Time
}

// dirtySet holds the keys that one peer does not have as they are here. It is
// bounded by the number of sessions, whatever the rate of change: a key that is
// marked again while it waits keeps its place. Not safe for concurrent use.
type dirtySet struct {
	seq     uint64
	pending map[string]mark
	// queue has the pending keys in order of their first mark. A key that was
	// taken and came back stands at the front, so the head is always the oldest.
	queue []string
	// sent are the keys of the batch under way.
	sent map[string]mark
}

func newDirtySet() *dirtySet {
	return &dirtySet{pending: make(map[string]mark), sent: make(map[string]mark)}
}

// add marks key and returns the number of this mark.
func (d *dirtySet) add(key string, now time.Time) uint64 {
	d.seq++
	m, ok := d.pending[key]
	if !ok {
		d.queue = append(d.queue, key)
		m.since = now
	}
	m.seq = d.seq
	d.pending[key] = m
	return d.seq
}

// take moves up to n keys, oldest first, into the batch under way. Only one
// batch is under way at a time: settle ends it.
func (d *dirtySet) take(n int) []string {
	n = min(n, len(d.queue))
	keys := make([]string, n)
	copy(keys, d.queue)
	d.queue = d.queue[n:]
	if len(d.queue) == 0 {
		d.queue = nil // let go of the array that a burst has grown
	}
	for _, key := range keys {
		d.sent[key] = d.pending[key]
		delete(d.pending, key)
	}
	return keys
}

// settle ends the batch under way. Keys that the peer did not confirm go back
// to the front with their age; for a confirmed key it returns the mark that
// the confirmation covers.
func (d *dirtySet) settle(keys []string, confirmed func(key string) bool) map[string]uint64 {
	done := make(map[string]uint64, len(keys))
	var back []string
	for _, key := range keys {
		m := d.sent[key]
		delete(d.sent, key)
		if confirmed(key) {
			done[key] = m.seq
			continue
		}
		if again, ok := d.pending[key]; ok {
			again.since = m.since
			d.pending[key] = again // already queued, behind: its age still counts
			continue
		}
		d.pending[key] = m
		back = append(back, key)
	}
	if len(back) > 0 {
		d.queue = append(back, d.queue...)
	}
	return done
}

// len returns how many keys the peer has not confirmed.
func (d *dirtySet) len() int { return len(d.pending) + len(d.sent) }

// oldest returns since when the oldest unconfirmed key waits; zero when none does.
func (d *dirtySet) oldest() time.Time {
	var t time.Time
	if len(d.queue) > 0 {
		t = d.pending[d.queue[0]].since
	}
	// A batch is small and short-lived; its keys are older than the queue's.
	for _, m := range d.sent {
		if t.IsZero() || m.since.Before(t) {
			t = m.since
		}
	}
	return t
}

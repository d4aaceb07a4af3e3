package replication

import (
	"slices"
	"strings"
	"time"
)

// entry is one key that the peer does not have as it is here. It waits in the
// queue, or it is in the batch under way, or in both, if it was marked again
// after the batch had taken it.
type entry struct {
	key      string
	seq      uint64    // of its newest mark
	taken    uint64    // of the newest mark that the batch under way covers
	since    time.Time // of its oldest mark that is not confirmed
	remarked time.Time // of its first mark after the batch had taken it

	prev, next *entry // neighbours in the queue, nil outside of it
}

// dirtySet holds the keys that one peer does not have as they are here. It is
// bounded by the number of sessions, whatever the rate of change: a key that is
// marked again while it waits keeps its place. The times given to add must not
// go back. Not safe for concurrent use.
type dirtySet struct {
	seq     uint64
	entries map[string]*entry
	peak    int // most entries since the map was made: a map never shrinks
	// queue is the head of a ring of the entries that wait, oldest first: a key
	// that was taken and comes back stands in front again.
	queue entry
	// batch are the entries under way. All of them are older than those that
	// wait. They are taken oldest first, and may be put in another order then.
	batch []*entry
	since time.Time // of the oldest of batch
}

func newDirtySet() *dirtySet {
	d := &dirtySet{entries: make(map[string]*entry)}
	d.queue.prev, d.queue.next = &d.queue, &d.queue
	return d
}

// add marks key and returns the number of this mark, 1 or more.
func (d *dirtySet) add(key string, now time.Time) uint64 {
	d.seq++
	e := d.entries[key]
	switch {
	case e == nil:
		key = strings.Clone(key) // a record's own would keep the record's text
		e = &entry{key: key, since: now}
		d.entries[key] = e
		d.peak = max(d.peak, len(d.entries))
		e.link(d.queue.prev)
	case e.next == nil: // under way, without this change
		e.remarked = now
		e.link(d.queue.prev)
	}
	e.seq = d.seq
	return d.seq
}

// take moves up to n keys, oldest first, into the batch under way and returns
// it. It is valid until settle, which must end it before the next take.
func (d *dirtySet) take(n int) []*entry {
	for len(d.batch) < n && d.queue.next != &d.queue {
		e := d.queue.next
		e.unlink()
		e.taken = e.seq
		d.batch = append(d.batch, e)
	}
	if len(d.batch) > 0 {
		d.since = d.batch[0].since
	}
	return d.batch
}

// settle ends the batch under way. The peer has confirmed its first n keys, up
// to the mark that was taken; the others go back to the front with their age.
func (d *dirtySet) settle(n int) {
	for _, e := range d.batch[:n] {
		if e.next == nil {
			delete(d.entries, e.key)
		} else {
			e.since = e.remarked
		}
	}
	for _, e := range slices.Backward(d.batch[n:]) {
		if e.next != nil {
			e.unlink()
		}
		e.link(&d.queue)
	}
	clear(d.batch)
	d.batch = d.batch[:0]
	if len(d.entries) == 0 && d.peak > 16*batchKeys {
		d.entries, d.peak = make(map[string]*entry), 0 // let go of what a burst has grown
	}
}

// len returns how many keys the peer has not confirmed.
func (d *dirtySet) len() int { return len(d.entries) }

// oldest returns since when the oldest unconfirmed key waits; zero when none
// does.
func (d *dirtySet) oldest() time.Time {
	if len(d.batch) > 0 {
		return d.since
	}
	return d.queue.next.since // the head's own is zero
}

// link puts e behind after.
func (e *entry) link(after *entry) {
	e.prev, e.next = after, after.next
	after.next.prev = e
	after.next = e
}

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

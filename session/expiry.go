package session

import (
	"maps"
	"math"
	"time"
)

const (
	// never is the end of what has none.
	never = math.MaxInt64
	// tombstoneSlack is how much longer than any copy of its session a
	// tombstone lives, ms: more than clocks differ (MaxAhead), and time for a
	// copy that is on its way.
	tombstoneSlack = int64(time.Minute / time.Millisecond)
	// movedFor is MovedFor in ms.
	movedFor = int64(MovedFor / time.Millisecond)
	// reapBatch bounds the work done under one hold of a partition's lock.
	reapBatch = 256
)

// slack is how much later, in ms, than its record says a session with this idle
// time may end: its owner rewrites the record, which is then copied, only when
// touches have moved the end by a tenth of the idle time. So a busy session
// costs ten copied touches an idle time, however often it is touched.
func slack(idle int64) int64 { return idle / 10 }

// end is At as a plain time: never, if it has none.
func (e Expiry) end() int64 {
	if e.At == 0 {
		return never
	}
	return e.At
}

// due is one entry of a heap: look at this key at this time, unix ms. Of a
// session's key it has the tag, for a string would keep alive what the session
// was when the entry was made.
type due[K uint64 | string] struct {
	at  int64
	key K
}

// dueHeap is a binary heap, earliest first. It is lazy: an entry may be earlier
// than the key's end, which is then found when it is popped, and pushed again
// with the end. So touches and most writes cost nothing here.
type dueHeap[K uint64 | string] []due[K]

func (h *dueHeap[K]) push(d due[K]) {
	*h = append(*h, d)
	s := *h
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if s[parent].at <= d.at {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = d
}

// pop removes the earliest entry, of which there must be one.
func (h *dueHeap[K]) pop() {
	s := *h
	last := s[len(s)-1]
	s[len(s)-1] = due[K]{}
	*h = s[:len(s)-1]
	if len(*h) > 0 {
		h.replace(last)
	}
}

// replace puts d in the place of the earliest entry.
func (h *dueHeap[K]) replace(d due[K]) { (*h).sink(0, d) }

// sink puts d where entry i is and moves it down to its place.
func (h dueHeap[K]) sink(i int, d due[K]) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].at < h[child].at {
			child++
		}
		if d.at <= h[child].at {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = d
}

// build makes a heap of unordered entries.
func (h dueHeap[K]) build() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.sink(i, h[i])
	}
}

// reap looks at no more than limit entries that are due at now, and returns at
// how many. look forgets what has ended under a key, and says when to look
// again, never for not at all.
func (h *dueHeap[K]) reap(now int64, limit int, look func(key K) (again int64)) (n int) {
	for ; n < limit && len(*h) > 0 && (*h)[0].at <= now; n++ {
		key := (*h)[0].key
		if again := look(key); again < never {
			h.replace(due[K]{at: again, key: key})
		} else {
			h.pop() // it has gone, or has no end any more, or this is its second entry
		}
	}
	return n
}

// trimmed gives memory back after a heap was much larger than it is.
func (h dueHeap[K]) trimmed() dueHeap[K] {
	if cap(h) > 4*len(h)+minTrim {
		return append(dueHeap[K](nil), h...)
	}
	return h
}

// reapLocked looks at no more than reapBatch keys that are due at now, unix ms,
// and forgets those whose time has come. It counts them in r, and reports
// whether there may be more to do.
func (p *partition) reapLocked(now int64, r *reaped) (more bool) {
	n := p.liveDue.reap(now, reapBatch, func(tag uint64) int64 { return p.reapLiveLocked(tag, now, r) })
	n += p.deadDue.reap(max(now, p.floor), reapBatch-n, func(key string) int64 { return p.reapDeadLocked(key, now, r) })
	n += p.movedDue.reap(now, reapBatch-n, func(key string) int64 { return p.reapMovedLocked(key, now) })
	compact := p.reapCompactLocked(now, reapBatch-n)
	r.tombstones += compact
	n += compact
	if n == reapBatch {
		return true
	}
	p.trimLocked()
	return false
}

func (p *partition) reapLiveLocked(tag uint64, now int64, r *reaped) (again int64) {
	again = never
	for s := range p.live.tagged(tag) {
		rec := s.rec.Load()
		if rec == nil {
			continue
		}
		if at := rec.keptUntil(); at > now {
			again = min(again, at)
		} else {
			r.session(rec.key, p.open.Load())
			p.forgetLocked(rec)
		}
	}
	return again
}

func (p *partition) reapDeadLocked(key string, now int64, r *reaped) (again int64) {
	t, ok := p.dead[key]
	switch {
	case !ok:
		return never
	case t.at > max(now, p.floor):
		return t.at
	case t.at > now:
		p.compactLocked(key, t)
		return never
	}
	r.tombstones++
	r.forget(key)
	p.forgetLocked(newTombstone(key, t.rank, t.at))
	return never
}

// reaped is what has been forgotten.
type reaped struct {
	sessions, tombstones int
	ended                []string // keys of sessions that were served here
	max                  int      // of ended
	lists                bool     // all keys are listed
	forgotten            []string // if so
}

func (r *reaped) forget(key string) {
	if r.lists {
		r.forgotten = append(r.forgotten, key)
	}
}

func (r *reaped) session(key string, open bool) {
	r.sessions++
	r.forget(key)
	if open && len(r.ended) < r.max {
		r.ended = append(r.ended, key)
	}
}

// scheduleLocked keeps the heaps' promise, that a key with an end has an entry
// no later than it, when next takes the place of cur. An end that came nearer
// gets a second entry; rebuildLocked sees to it that these stay few.
func (p *partition) scheduleLocked(cur, next *Record) {
	before, end := int64(never), next.expiry.grace()
	if cur != nil && cur.dead == next.dead {
		before = cur.expiry.grace()
	}
	switch {
	case end >= before:
		return
	case next.dead:
		p.deadDue.push(due[string]{at: end, key: next.key})
	default:
		p.liveDue.push(due[uint64]{at: end, key: tagOf(next.key)})
	}
	if len(p.liveDue) > 2*p.live.size+minTrim {
		p.rebuildLiveLocked()
	}
	if len(p.deadDue) > 2*len(p.dead)+minTrim {
		p.rebuildDeadLocked()
	}
}

// minTrim is a size below which giving memory back is not worth the work.
const minTrim = 64

// rebuildLiveLocked makes the heap of the sessions anew with one entry a key.
func (p *partition) rebuildLiveLocked() {
	p.liveDue = make(dueHeap[uint64], 0, p.live.size)
	for h := range p.live.all() {
		if end := h.rec.expiry.grace(); end < never {
			p.liveDue = append(p.liveDue, due[uint64]{at: end, key: tagOf(h.rec.key)})
		}
	}
	p.liveDue.build()
}

// rebuildDeadLocked does the same for the tombstones.
func (p *partition) rebuildDeadLocked() {
	p.deadDue = make(dueHeap[string], 0, len(p.dead))
	for key, t := range p.dead {
		p.deadDue = append(p.deadDue, due[string]{at: t.at, key: key})
	}
	p.deadDue.build()
}

// trimLocked gives memory back after a partition was much larger than it is:
// maps never shrink, so a small one takes the place of a large one. It costs
// less than the deletes that led to it.
func (p *partition) trimLocked() {
	p.live.trim()
	p.peakDead = max(p.peakDead, int32(len(p.dead)))
	if int(p.peakDead) > 4*len(p.dead)+minTrim {
		dead := make(map[string]tomb, len(p.dead))
		maps.Copy(dead, p.dead)
		p.dead, p.peakDead = dead, int32(len(dead))
	}
	p.liveDue, p.deadDue, p.movedDue = p.liveDue.trimmed(), p.deadDue.trimmed(), p.movedDue.trimmed()
}

package session

import (
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

// due is one entry of a heap: look at this key at this time, unix ms.
type due struct {
	at  int64
	key string
}

// dueHeap is a binary heap, earliest first. It is lazy: an entry may be earlier
// than the key's end, which is then found when it is popped, and pushed again
// with the end. So touches and most writes cost nothing here.
type dueHeap []due

func (h *dueHeap) push(d due) {
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
func (h *dueHeap) pop() {
	s := *h
	last := s[len(s)-1]
	s[len(s)-1] = due{}
	*h = s[:len(s)-1]
	if len(*h) > 0 {
		h.replace(last)
	}
}

// replace puts d in the place of the earliest entry.
func (h *dueHeap) replace(d due) { (*h).sink(0, d) }

// sink puts d where entry i is and moves it down to its place.
func (h dueHeap) sink(i int, d due) {
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
func (h dueHeap) build() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.sink(i, h[i])
	}
}

// reapLocked looks at no more than reapBatch entries that are due at now, unix
// ms, and forgets those keys whose time has come. It counts them in r, and
// reports whether there may be more to do.
func (p *partition) reapLocked(now int64, r *reaped) (more bool) {
	for range reapBatch {
		if len(p.due) == 0 || p.due[0].at > now {
			p.trimLocked()
			return false
		}
		key := p.due[0].key
		end := p.graceLocked(key)
		if end > now && end < never {
			p.due.replace(due{at: end, key: key})
			continue
		}
		p.due.pop()
		if end > now {
			continue // it has no end any more, or it is the second entry of a key
		}
		if _, ok := p.live[key]; ok {
			r.session(key, p.open)
		} else {
			r.tombstones++
		}
		p.forgetLocked(key)
	}
	return true
}

// reaped is what has been forgotten.
type reaped struct {
	sessions, tombstones int
	ended                []string // keys of sessions that were served here
	max                  int      // of ended
}

func (r *reaped) session(key string, open bool) {
	r.sessions++
	if open && len(r.ended) < r.max {
		r.ended = append(r.ended, key)
	}
}

// graceLocked is when the key may be forgotten; never if it is not held.
func (p *partition) graceLocked(key string) int64 {
	if l, ok := p.live[key]; ok {
		return l.rec.expiry.grace()
	}
	if t, ok := p.dead[key]; ok {
		return t.at
	}
	return never
}

// scheduleLocked keeps the heap's promise, that a key with an end has an entry
// no later than it, when a key's end changes. An end that came nearer gets a
// second entry; that these stay few is the matter of trimLocked.
func (p *partition) scheduleLocked(key string, before, after int64) {
	if after >= before {
		return
	}
	p.due.push(due{at: after, key: key})
	if len(p.due) > 2*(len(p.live)+len(p.dead))+minTrim {
		p.rebuildLocked()
	}
}

// minTrim is a size below which giving memory back is not worth the work.
const minTrim = 64

// rebuildLocked makes the heap anew with one entry a key.
func (p *partition) rebuildLocked() {
	p.due = make(dueHeap, 0, len(p.live)+len(p.dead))
	for key, l := range p.live {
		if end := l.rec.expiry.grace(); end < never {
			p.due = append(p.due, due{at: end, key: key})
		}
	}
	for key, t := range p.dead {
		p.due = append(p.due, due{at: t.at, key: key})
	}
	p.due.build()
}

// trimLocked gives memory back after a partition was much larger than it is:
// maps never shrink, so small ones take their place. It costs less than the
// deletes that led to it.
func (p *partition) trimLocked() {
	p.peakLive = max(p.peakLive, len(p.live))
	if p.peakLive > 4*len(p.live)+minTrim {
		p.live = resized(p.live)
		p.peakLive = len(p.live)
	}
	p.peakDead = max(p.peakDead, len(p.dead))
	if p.peakDead > 4*len(p.dead)+minTrim {
		p.dead = resized(p.dead)
		p.peakDead = len(p.dead)
	}
	if cap(p.due) > 4*len(p.due)+minTrim {
		p.due = append(dueHeap(nil), p.due...)
	}
}

func resized[V any](old map[string]V) map[string]V {
	m := make(map[string]V, len(old))
	for key, v := range old {
		m[key] = v
	}
	return m
}

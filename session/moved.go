package session

// This file keeps where tombstones lead that a rotation has left: for MovedFor,
// while a tombstone is kept for a day. So it has a map of its own, and takes
// nothing from other tombstones.

// movedOverhead is what an entry takes beside the bytes of the keys, of which
// movedDue has the old one too: strings in a map and in a heap.
const movedOverhead = 96

// tombstoneLocked makes the Record of a tombstone that is held whole.
func (p *partition) tombstoneLocked(key string, t tomb) *Record {
	rec := newTombstone(key, t.rank, t.at)
	rec.body = p.moved[key]
	return rec
}

// leadLocked takes in where the record leads that is put in its place now.
func (p *partition) leadLocked(rec *Record) {
	to := ""
	if rec.dead {
		to = rec.body
	}
	if to == p.moved[rec.key] {
		return
	}
	p.unleadLocked(rec.key)
	if to == "" {
		return
	}
	if p.moved == nil {
		p.moved = make(map[string]string)
	}
	p.moved[rec.key] = to
	p.addDeadLocked(movedCost(to))
	p.movedDue.push(due[string]{at: rec.rank.millis() + movedFor, key: rec.key})
}

// unleadLocked forgets where a key leads.
func (p *partition) unleadLocked(key string) {
	to, ok := p.moved[key]
	if !ok {
		return
	}
	delete(p.moved, key)
	p.addDeadLocked(-movedCost(to))
	if len(p.moved) == 0 {
		p.moved = nil // maps never shrink
	}
}

func movedCost(to string) int64 { return int64(len(to)) + movedOverhead }

// reapMovedLocked forgets where a key leads if its time is over, and says when
// to look again.
func (p *partition) reapMovedLocked(key string, now int64) (again int64) {
	if t := p.dead[key]; p.moved[key] != "" && t.rank.millis()+movedFor > now {
		return t.rank.millis() + movedFor
	}
	p.unleadLocked(key)
	return never
}

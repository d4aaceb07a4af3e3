package session

import (
	"hash/maphash"
	"maps"
)

// compacted are tombstones whose keys are forgotten: of each there is the key's
// hash, the stamp of its delete, and its end. They take a third of the memory.
// They are a member's own: no digest has them, and no other member is sent
// them; a disk keeps them whole. A look at a key that has one finds a tombstone.
// A copy that comes back brings the key with it, and so makes a whole tombstone
// of it, which goes to the other holders.
//
// The hash has this process's seed, so a client cannot choose a key that has
// the hash of another key.
type compacted struct {
	tombs map[uint64]tomb
	order []uint64 // the hashes, the first to go first; some of them are gone
	peak  int      // of tombs, since the map was made
}

// compactCost is what a compacted tombstone takes: 24 bytes in a map that is
// half full or more, and 8 in order.
const compactCost = 64

func compactHash(key string) uint64 { return maphash.String(seed, key) }

func (c *compacted) find(key string) (t tomb, ok bool) {
	if len(c.tombs) > 0 {
		t, ok = c.tombs[compactHash(key)]
	}
	return t, ok
}

// put adds the tombstone of a key that has none, and reports whether it is one
// more: two keys may have one hash.
func (c *compacted) put(key string, t tomb) (more bool) {
	if c.tombs == nil {
		c.tombs = make(map[uint64]tomb)
	}
	hash := compactHash(key)
	old, ok := c.tombs[hash]
	c.tombs[hash] = tomb{rank: max(old.rank, t.rank), at: max(old.at, t.at)}
	if !ok {
		c.order = append(c.order, hash)
		c.peak = max(c.peak, len(c.tombs))
	}
	return !ok
}

// take removes the tombstone of a key, and reports whether there was one.
func (c *compacted) take(key string) bool {
	hash := compactHash(key)
	_, ok := c.tombs[hash]
	delete(c.tombs, hash)
	c.trim()
	return ok
}

// first returns the hash of the tombstone that is the first to go.
func (c *compacted) first() (hash uint64, ok bool) {
	for len(c.order) > 0 {
		if _, ok := c.tombs[c.order[0]]; ok {
			return c.order[0], true
		}
		c.order = c.order[1:]
	}
	return 0, false
}

// drop removes the first to go, which there must be.
func (c *compacted) drop() {
	if hash, ok := c.first(); ok {
		delete(c.tombs, hash)
		c.order = c.order[1:]
		c.trim()
	}
}

// trim gives memory back: maps never shrink, and neither does a slice that
// loses its front.
func (c *compacted) trim() {
	switch {
	case len(c.tombs) == 0:
		*c = compacted{}
	case c.peak > 4*len(c.tombs)+minTrim:
		tombs := make(map[uint64]tomb, len(c.tombs))
		maps.Copy(tombs, c.tombs)
		c.tombs, c.peak = tombs, len(tombs)
	}
	if len(c.order) > 2*len(c.tombs)+minTrim {
		order := make([]uint64, 0, len(c.tombs))
		for _, hash := range c.order {
			if _, ok := c.tombs[hash]; ok {
				order = append(order, hash)
			}
		}
		c.order = order
	}
}

// compactLocked makes a compacted tombstone of one whose end the partition's
// floor has passed.
func (p *partition) compactLocked(key string, t tomb) {
	p.forgetLocked(newTombstone(key, t.rank, t.at))
	if p.compact.put(key, t) {
		p.addDeadLocked(compactCost)
	}
}

// keepCompactLocked keeps of a tombstone what there is room for, if its time
// has not come: the partition's floor keeps it from being held whole.
func (s *Store) keepCompactLocked(p *partition, rec *Record, now int64) {
	if !rec.dead || rec.expiry.At <= now {
		return
	}
	p.noteLocked(rec.key) // a disk has room for all of it
	bytes, dead := p.bytes, p.deadBytes
	if p.compact.put(rec.key, tomb{rank: rec.rank, at: rec.expiry.At}) {
		p.addDeadLocked(compactCost)
	}
	s.accountLocked(p, bytes, dead)
}

// sinkLocked compacts a tombstone that has just come in and ends below the
// floor.
func (s *Store) sinkLocked(p *partition, rec *Record) {
	if rec.dead && rec.expiry.At <= p.floor {
		bytes, dead := p.bytes, p.deadBytes
		p.compactLocked(rec.key, tomb{rank: rec.rank, at: rec.expiry.At})
		s.accountLocked(p, bytes, dead)
	}
}

// uncompactLocked forgets the compacted tombstone of a key.
func (p *partition) uncompactLocked(key string) {
	if p.compact.take(key) {
		p.addDeadLocked(-compactCost)
	}
}

// dropCompactLocked forgets the compacted tombstone that is the first to go.
func (p *partition) dropCompactLocked() {
	p.compact.drop()
	p.addDeadLocked(-compactCost)
}

func (p *partition) addDeadLocked(bytes int64) {
	p.bytes += bytes
	p.deadBytes += bytes
}

// compactBytes is what the compacted tombstones take.
func (p *partition) compactBytes() int64 { return int64(len(p.compact.tombs)) * compactCost }

// reapCompactLocked forgets compacted tombstones whose time has come, no more
// than limit, and returns how many.
func (p *partition) reapCompactLocked(now int64, limit int) (n int) {
	for ; n < limit; n++ {
		hash, ok := p.compact.first()
		if !ok || p.compact.tombs[hash].at > now {
			break
		}
		p.dropCompactLocked()
	}
	return n
}

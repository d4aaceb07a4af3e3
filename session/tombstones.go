package session

import "fmt"

// This file keeps tombstones within the room that they have (see memory.go).
// Where they need more, those are compacted whose end is nearest, and so mostly
// the oldest (compact.go); and where compacted ones take half of it, the first
// of these go. A session whose tombstone went could come back, with a copy that
// has been out of reach since before it ended: that is why the room is what
// sessions leave free, and why it is counted (Stats.Dropped).
//
// Digests have whole tombstones only. What was compacted here must not come
// back from another holder, and must be compacted there too, or copies would
// differ for ever. So each partition has a floor: a tombstone that ends no
// later is not kept whole. Holders that compare their copies take the higher of
// their floors.

const (
	// compactShare is which part of a partition's tombstones may be compacted,
	// in bytes, before the first of these go.
	compactShare = 2
	// spareShare is the share of a partition's room that is freed beyond need.
	spareShare = 16
	// dropBatch bounds the work done under one hold of a partition's lock.
	dropBatch = 256
)

// NothingElsewhere tells the Tx that no other member has a session that is not
// held here: a delete of one of which nothing is known leaves nothing then, for
// there is no copy that could come back.
func (tx *Tx) NothingElsewhere() { tx.nowhere = true }

// Blind tells the Tx that other members may have sessions of which there is
// nothing here: see Op.Blind.
func (tx *Tx) Blind() { tx.blind = true }

// liftedLocked keeps a tombstone that was made here from being forgotten at
// once.
func (p *partition) liftedLocked(tombstone held) held {
	if rec := tombstone.rec; rec.expiry.At <= p.floor {
		return fresh(newTombstone(rec.key, rec.rank, p.floor+1).ledTo(rec.body))
	}
	return tombstone
}

// Floor returns the time, unix ms, up to which tombstones of partition p that
// end are not held whole although that time may be still to come; 0 for none.
func (s *Store) Floor(p int) int64 {
	part := &s.partitions[p]
	defer part.mu.runlock(part.mu.rlock())
	return part.floor
}

// RaiseFloor compacts what another holder of partition p has compacted for want
// of room: tombstones that end at that time, unix ms, or before. An error wraps
// [ErrMalformed].
func (s *Store) RaiseFloor(p int, at int64) error {
	if at < 0 || at >= maxMillis {
		return fmt.Errorf("floor %d: %w: not 0 to %d", at, ErrMalformed, int64(maxMillis))
	}
	part := &s.partitions[p]
	if !part.raise(at) {
		return nil
	}
	var r reaped
	for now := s.nowMillis(); s.reap(part, now, &r); {
	}
	s.count(&r)
	return nil
}

func (p *partition) raise(at int64) (raised bool) {
	defer p.mu.unlock(p.mu.lock())
	raised = at > p.floor
	p.floor = max(p.floor, at)
	return raised
}

// dropTombstones makes room where tombstones take more than theirs, of which
// each partition with any has an equal share: those that have more give up
// first, so that a flood in one takes little from the others. It begins with
// partition first. It is called with no lock held, after whatever may have made
// tombstones more or their room less. One goroutine at a time does the work,
// the others go on.
func (s *Store) dropTombstones(first *partition) {
	if s.deadBytes.Load() <= s.tombstoneRoom() || !s.dropping.TryLock() {
		return
	}
	defer s.dropping.Unlock()
	share := func() int64 { return s.tombstoneRoom() / max(1, s.deadParts.Load()) }
	s.dropNearest(first, share())
	for dropped := true; dropped; {
		dropped = false
		for range s.partitions {
			if s.deadBytes.Load() <= s.tombstoneRoom() {
				return
			}
			s.dropNext = (s.dropNext + 1) % len(s.partitions)
			dropped = s.dropNearest(&s.partitions[s.dropNext], share()) || dropped
		}
	}
}

// dropNearest compacts and forgets tombstones of a partition that has more than
// its share, and a few more, so that it is not asked again at once. It lets go
// of the lock after every few hundred. It reports whether there were any.
func (s *Store) dropNearest(p *partition, share int64) (dropped bool) {
	left := share - share/spareShare
	n := s.dropSome(p, share, left)
	for more := n; more == dropBatch; {
		more = s.dropSome(p, left, left)
	}
	return n > 0
}

// dropSome compacts and forgets tombstones of a partition that has more bytes
// of them than over until it has no more than left, but not more than dropBatch
// of them. It returns how many.
func (s *Store) dropSome(p *partition, over, left int64) (n int) {
	defer p.mu.unlock(p.mu.lock())
	if p.deadBytes <= over {
		return 0
	}
	bytes, dead := p.bytes, p.deadBytes
	for ; n < dropBatch && p.deadBytes > left; n++ {
		if len(p.dead) == 0 || p.compactBytes() > p.deadBytes/compactShare {
			p.dropCompactLocked()
			s.dropped.Add(1)
		} else {
			p.compactNearestLocked()
		}
	}
	p.trimLocked()
	s.accountLocked(p, bytes, dead)
	return n
}

// compactNearestLocked makes a compacted tombstone of the one whose end is
// nearest. There must be one.
func (p *partition) compactNearestLocked() {
	for {
		next := p.deadDue[0]
		t, ok := p.dead[next.key]
		if ok && t.at > next.at { // it was entombed again since
			p.deadDue.replace(due[string]{at: t.at, key: next.key})
			continue
		}
		p.deadDue.pop()
		if ok {
			p.floor = max(p.floor, t.at)
			p.compactLocked(next.key, t)
			return
		}
	}
}

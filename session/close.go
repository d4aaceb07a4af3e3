package session

import (
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// This file is the store as the owner's bookkeeping sees it. Nothing in it
// waits for a partition's lock: an operation may hold that for milliseconds,
// and the owner's bookkeeping decides for all partitions at once.

// Lead is how far ahead of the clock the writes to a partition begin that this
// node has just begun to serve. Its owner before may have confirmed a write
// that nobody else has yet, and may come back with it: by a clock that was
// ahead, that write would be the later one. It is as much as the clocks of two
// members that serve may differ by.
const Lead = 1900 * time.Millisecond

// Admit lets operations on partition p's keys run from now on. Unlike
// [Store.Open] it does not wait for those that run already. The stamps of what
// they write are later than those of all whose clocks are right, see [Lead].
func (s *Store) Admit(p int) {
	part := &s.partitions[p]
	if !planted.Is(planted.NoLead) {
		part.least.Store(uint64(StampAt(s.cfg.Now().Add(Lead))))
	}
	part.open.Store(true)
}

func (p *partition) leastStamp() Stamp { return Stamp(p.least.Load()) }

// Shut refuses operations on partition p's keys that have not begun. Unlike
// [Store.Close] it does not wait for one that runs: that one may still write.
// After the next Sum of the partition none does any more.
func (s *Store) Shut(p int) { s.partitions[p].open.Store(false) }

// Sum is what can be said of all that a partition holds in a few bytes.
type Sum struct {
	Digest  uint64 // see [Store.Digest]
	Records int    // see [Store.Count]
	// Live are those of Records that are sessions, one that has just ended and
	// is not swept yet among them.
	Live int
}

// TrySum returns the sum of partition p, or false while an operation holds the
// partition. If the partition was shut before, then the sum covers every write
// that was ever done in it, except for merges.
func (s *Store) TrySum(p int) (Sum, bool) {
	part := &s.partitions[p]
	if !part.mu.TryRLock() {
		return Sum{}, false
	}
	defer part.mu.RUnlock()
	return Sum{Digest: part.digest, Records: part.live.size + len(part.dead), Live: part.live.size}, true
}

// TryPeek is [Store.Peek], or false while an operation that writes holds the
// key's partition.
func (s *Store) TryPeek(key string) (*Record, bool) {
	part := s.partition(key)
	if !part.mu.TryRLock() {
		return nil, false
	}
	defer part.mu.RUnlock()
	return part.heldLocked(key).rec, true
}

// Free reports whether an operation on partition p, one that writes or one that
// does not, would have to wait for none at this moment.
func (s *Store) Free(p int, writes bool) bool {
	part := &s.partitions[p]
	if writes {
		if !part.mu.TryLock() {
			return false
		}
		part.mu.Unlock()
		return true
	}
	if !part.mu.TryRLock() {
		return false
	}
	part.mu.RUnlock()
	return true
}

// PartitionOf returns the number of the partition that a key is in.
func (s *Store) PartitionOf(key string) int { return s.cfg.PartitionOf(key) }

// Weight is how many bytes the fields of the session under key take, 0 if it is
// not found at once. It waits for no lock.
func (s *Store) Weight(key string) int {
	h, _ := s.partition(key).live.find(key)
	if h.rec == nil {
		return 0
	}
	return len(h.rec.body)
}

// Hold runs f with partition p locked for writing, if it is open. No operation
// holds a partition for as long as a test wants one held, so this is how tests
// find out who waits for it.
func (s *Store) Hold(p int, f func()) error {
	part := &s.partitions[p]
	defer part.mu.unlock(part.mu.lock())
	if !part.open.Load() {
		return ErrNotServed
	}
	f()
	return nil
}

package session

import (
	"strings"
	"sync/atomic"
)

// This file is the store as a disk sees it that keeps what is here: which keys
// have changed since it was told last. A key that changes a hundred times while
// the disk is slow is one entry, and is written once, as it is then.

// unsaved is what of a partition the disk has not been told of.
type unsaved struct {
	some    atomic.Bool         // there is any; may be read without the lock
	keys    map[string]struct{} // that have changed, after what cleared says
	cleared bool                // all that the disk has is forgotten
}

// Unsaved is one key whose session or tombstone has changed.
type Unsaved struct {
	Key    string
	Record *Record // what is held now; nil for nothing
}

// noteLocked takes down that what is held under key has changed.
func (p *partition) noteLocked(key string) {
	if p.unsaved.keys == nil {
		return
	}
	if _, ok := p.unsaved.keys[key]; !ok {
		p.unsaved.keys[strings.Clone(key)] = struct{}{} // a record's own would keep the record's text
	}
	p.unsaved.some.Store(true)
}

// noteClearedLocked takes down that nothing is held any more.
func (p *partition) noteClearedLocked() {
	if p.unsaved.keys == nil {
		return
	}
	p.unsaved.keys, p.unsaved.cleared = make(map[string]struct{}), true
	p.unsaved.some.Store(true)
}

// KeepUnsaved has the store take down what changes from now on, for
// [Store.TakeUnsaved]. It is called before the first partition is opened.
func (s *Store) KeepUnsaved() {
	for i := range s.partitions {
		p := &s.partitions[i]
		defer p.mu.unlock(p.mu.lock())
		p.unsaved.keys = make(map[string]struct{})
	}
}

// HasUnsaved says whether something has changed in partition p that
// [Store.TakeUnsaved] has not returned yet. It takes no lock.
func (s *Store) HasUnsaved(p int) bool { return s.partitions[p].unsaved.some.Load() }

// TakeUnsaved returns what has changed in partition p since it was asked last,
// up to most keys, and whether there is more. With cleared, all that the
// partition held before went first: what is not named is not held any more.
// What an operation has changed together and is returned is as it was at one
// moment.
func (s *Store) TakeUnsaved(p, most int) (cleared bool, some []Unsaved, more bool) {
	part := &s.partitions[p]
	defer part.mu.unlock(part.mu.lock())
	u := &part.unsaved
	cleared, u.cleared = u.cleared, false
	some = make([]Unsaved, 0, min(most, len(u.keys)))
	for key := range u.keys {
		if len(some) == most {
			break
		}
		some = append(some, Unsaved{Key: key, Record: part.heldLocked(key).rec})
	}
	if len(some) == len(u.keys) {
		if len(u.keys) > 0 { // maps never shrink
			u.keys = make(map[string]struct{})
		}
		u.some.Store(false)
		return cleared, some, false
	}
	for i := range some {
		delete(u.keys, some[i].Key)
	}
	return cleared, some, true
}

// Compacted says whether partition p has tombstones that are held without their
// keys, so that [Store.Records] does not return them.
func (s *Store) Compacted(p int) bool {
	part := &s.partitions[p]
	defer part.mu.runlock(part.mu.rlock())
	return len(part.compact.tombs) > 0
}

// IsCompacted says whether a tombstone of key is held without it.
func (s *Store) IsCompacted(key string) bool {
	p := s.partition(key)
	defer p.mu.runlock(p.mu.rlock())
	_, ok := p.compact.find(key)
	return ok
}

package session

import (
	"fmt"
	"math"
)

// This file says how much a store may hold. Config.MemoryLimit bounds the
// sessions, and beyond it there is a little room for what must not be refused:
//
//	sessions    up to the limit for what clients write, a 20th more for copies
//	            that were on their way when others were told that there is no
//	            room
//	tombstones  what sessions leave free, and a 10th of the limit at least
//
// So all of it together stays below 1.15 times the limit, but while sessions come
// from a disk ([Store.Restore]). Whatever makes the sessions larger is asked of
// room first: a new one, an overwrite, a patch, a longer key. What ends them or
// makes them smaller is not.

const (
	copiesShare     = 20 // of the limit, over it: for copies
	restoreShare    = 4  // of the limit, over it: for what a disk has, see Restore
	tombstonesShare = 10 // of the limit, over it: for tombstones
	// nearlyFull is the share of the limit, short of it, at which other members
	// are told not to send more.
	nearlyFull = 32
)

// fieldEnd is by how much a record grows, at most, when a present field becomes
// an absent one without a value: by the stamp of that.
const fieldEnd = 10

// growth is by how much the sessions that are held grow when next takes the
// place of cur. A tombstone is no session.
func growth(cur, next held) int64 { return sessionCost(next.rec) - sessionCost(cur.rec) }

func sessionCost(rec *Record) int64 {
	if rec == nil || rec.dead {
		return 0
	}
	return liveCost(rec)
}

// admit is the one place where a write is refused because memory is short. It
// refuses what makes the sessions larger by so many bytes, beside what the Tx
// has written already, unless there is room for that, here and at the other
// holders of the partition. lost is how many fields the write takes away, for
// which it may need a little; it is called only where that decides.
// Transactions in parallel may each take the last of the room, so the limit can
// be overshot by one transaction a processor.
func (tx *Tx) admit(grown int64, lost func() int) error {
	s := tx.store
	limit := s.cfg.MemoryLimit
	if grown <= 0 {
		return nil
	}
	full := limit > 0 && s.sessionBytes()+tx.grown+grown > limit
	if !full && !tx.part.crowded.Load() || grown <= int64(fieldEnd*lost()) {
		return nil
	}
	s.refusedFull.Add(1)
	if !full {
		return fmt.Errorf("%w at another node that holds a copy", ErrFull)
	}
	return fmt.Errorf("%w: %d of %d bytes used, and %d more asked for", ErrFull, s.sessionBytes(), limit, grown)
}

// admitCopy is admit for what another member sends, or a disk has: a share of the
// limit is added to it.
func (s *Store) admitCopy(cur, next held, share int64) error {
	limit, grown := s.cfg.MemoryLimit, growth(cur, next)
	if limit == 0 || grown <= 0 || s.sessionBytes()+grown <= limit+limit/share {
		return nil
	}
	if grown <= int64(fieldEnd*lostFields(cur.rec, next.rec)) {
		return nil
	}
	s.refusedCopies.Add(1)
	return fmt.Errorf("merge: %w: %d of %d bytes used, and %d more asked for", ErrFull, s.sessionBytes(), limit, grown)
}

// lostFields is how many fewer fields are present in next.
func lostFields(cur, next *Record) int {
	if cur == nil || next == nil || cur.dead || next.dead {
		return 0
	}
	return max(0, presentFields(cur)-presentFields(next))
}

func presentFields(rec *Record) (n int) {
	for range rec.Fields() {
		n++
	}
	return n
}

func (s *Store) sessionBytes() int64 { return s.bytes.Load() - s.deadBytes.Load() }

// Memory returns the bytes that sessions take, tombstones not counted, and the
// limit, 0 for none. It waits for no lock.
func (s *Store) Memory() (used, limit int64) { return s.sessionBytes(), s.cfg.MemoryLimit }

// Full reports whether there is no room, or soon none, for more copies: other
// members should not let sessions grow of which this one holds them.
func (s *Store) Full() bool {
	limit := s.cfg.MemoryLimit
	return limit > 0 && s.sessionBytes() > limit-limit/nearlyFull
}

// SetCrowded says whether another holder of partition p has no room for its
// copies. While that is so the sessions of p do not grow here either: they
// would have one copy too few.
func (s *Store) SetCrowded(p int, crowded bool) { s.partitions[p].crowded.Store(crowded) }

// setLocked puts next in the place of cur, and keeps the account.
func (s *Store) setLocked(p *partition, cur, next held) {
	bytes, dead := p.bytes, p.deadBytes
	p.setLocked(cur, next)
	s.accountLocked(p, bytes, dead)
}

// accountLocked adds what has changed in p since it had so many bytes.
func (s *Store) accountLocked(p *partition, bytes, dead int64) {
	if grown := p.bytes - bytes; grown != 0 {
		s.bytes.Add(grown)
	}
	if grown := p.deadBytes - dead; grown != 0 {
		s.deadBytes.Add(grown)
		switch {
		case dead == 0:
			s.deadParts.Add(1)
		case p.deadBytes == 0:
			s.deadParts.Add(-1)
		}
	}
}

// tombstoneRoom is how many bytes of tombstones are kept.
func (s *Store) tombstoneRoom() int64 {
	limit := s.cfg.MemoryLimit
	if limit == 0 {
		return math.MaxInt64
	}
	return max(0, limit-s.sessionBytes()) + limit/tombstonesShare
}

package session

import (
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// This file is the store as replication sees it: partitions that open and
// close, and records, tombstones and expired ones included, that are compared
// and moved between the nodes that hold a copy.

// Open lets operations on partition p's keys run.
func (s *Store) Open(p int) { s.setOpen(p, true) }

// Close refuses operations on partition p's keys from now on: after it returns
// none that writes runs, and what was done can be read with the methods below.
// A read that began before may still return what it had found.
func (s *Store) Close(p int) { s.setOpen(p, false) }

func (s *Store) setOpen(i int, open bool) {
	p := &s.partitions[i]
	defer p.mu.unlock(p.mu.lock())
	p.open.Store(open)
}

// IsOpen reports whether partition p is open.
func (s *Store) IsOpen(p int) bool { return s.partitions[p].open.Load() }

// Merge brings a copy's record in, whether its partition is open or closed. It
// reports whether that changed what is held. A record that would only be
// forgotten again changes nothing. An error wraps [ErrFuture], and the record
// is then worth another try when this clock has caught up; or [ErrPast]: it has
// ended by this clock, and is not held, or not for long; or [ErrFull]: there is
// no room for a session, and will be when others have ended. There is always
// room for a tombstone.
func (s *Store) Merge(rec *Record) (changed bool, err error) {
	return s.mergeWithin(rec, copiesShare)
}

// Restore is [Store.Merge] of what this store held in another process, and a
// disk has kept. There is more room for it: a journal has each record as it was
// at some moment, so that on the way there may be more of them than there ever
// were at once.
func (s *Store) Restore(rec *Record) (changed bool, err error) {
	return s.mergeWithin(rec, restoreShare)
}

func (s *Store) mergeWithin(rec *Record, share int64) (changed bool, err error) {
	changed, err = s.merge(rec, share)
	if changed {
		s.dropTombstones(s.partition(rec.key))
	}
	return changed, err
}

func (s *Store) merge(rec *Record, share int64) (changed bool, err error) {
	now := s.nowMillis()
	if ahead := rec.newest().millis() - now; ahead > MaxAhead.Milliseconds() {
		s.refusedFuture.Add(1)
		return false, fmt.Errorf("merge: %w: %d ms, at most %d", ErrFuture, ahead, MaxAhead.Milliseconds())
	}
	if rec.Leads() && rec.moved(now) == "" {
		rec = rec.ledTo("") // its time is over
	}
	p := s.partition(rec.key)
	var cur held
	var merged *Record
	for try := 0; ; try++ {
		var done bool
		if done, changed, cur, err = s.mergeOnce(p, rec, cur, merged, now, share, try == maxTries); done {
			return changed, err
		}
		merged = Merge(cur.rec, rec)
	}
}

// unlockedMerge is how large, in bytes of both, records have to be to be merged
// without the partition's lock.
const unlockedMerge = 64 << 10

// mergeOnce puts merged, which is what rec and seen make, in the place of what
// is held, if that is seen. If it is not, and both are small, or it has been
// tried for long enough, it merges by itself. Else it returns what is held.
func (s *Store) mergeOnce(p *partition, rec *Record, seen held, merged *Record, now, share int64, insist bool) (done, changed bool, cur held, err error) {
	defer p.mu.unlock(p.mu.lock())
	cur = p.heldLocked(rec.key)
	if merged == nil || !cur.same(seen) {
		if !insist && cur.rec != nil && len(cur.rec.body)+len(rec.body) >= unlockedMerge {
			return false, false, cur, nil
		}
		merged = Merge(cur.rec, rec)
	}
	next := held{rec: merged, until: mergedUntil(cur, merged)}
	switch {
	case cur.compact && merged == cur.rec && !p.overLocked(rec, now):
		// A copy has come back of what was ended here, or of an earlier end.
		// Its holder, which may have passed it on, must hear of this end.
		next = p.liftedLocked(fresh(merged))
	case (cur.rec == nil || cur.compact) && p.overLocked(merged, now):
		s.keepCompactLocked(p, merged, now)
		return true, false, cur, past(merged, now)
	case merged == cur.rec:
		return true, false, cur, past(merged, now)
	}
	if err := s.admitCopy(cur, next, share); err != nil {
		return true, false, cur, err
	}
	s.setLocked(p, cur, next)
	s.sinkLocked(p, next.rec)
	return true, true, cur, past(next.rec, now)
}

// past is the error that a record has ended by this clock: who sent it must
// not hear that it is held, for it is about to be forgotten.
func past(rec *Record, now int64) error {
	if ago := now - rec.keptUntil(); ago >= 0 && !planted.Is(planted.PastConfirmed) {
		return fmt.Errorf("merge: %w: %d ms ago", ErrPast, ago)
	}
	return nil
}

// Ended says whether a record has ended by this store's clock, so that it only
// waits to be forgotten.
func (s *Store) Ended(rec *Record) bool { return rec.keptUntil() <= s.nowMillis() }

// overLocked says whether a record is one that would only be forgotten again.
func (p *partition) overLocked(rec *Record, now int64) bool {
	if rec.dead {
		now = max(now, p.floor)
	}
	return rec.keptUntil() <= now
}

// mergedUntil is when a record that came by merge ends here. Its owner may have
// had touches that were not copied, so the copy lives for its grace: a false
// "not found" after a failover is worse than a session that ends a little late.
// If the merge brought no other expiry, what is known of touches here still
// holds.
func mergedUntil(cur held, merged *Record) int64 {
	if cur.rec != nil && !cur.rec.dead && cur.rec.expiry == merged.expiry {
		return cur.until
	}
	return merged.expiry.grace()
}

// Peek returns what is held under key, tombstones and expired sessions too, and
// whether the partition is open or not; nil for nothing.
func (s *Store) Peek(key string) *Record {
	p := s.partition(key)
	defer p.mu.runlock(p.mu.rlock())
	return p.heldLocked(key).rec
}

// Digest returns the XOR of the hashes of all that is held in partition p. Two
// copies of a partition are equal if, short of a 64-bit coincidence, their
// digests are.
func (s *Store) Digest(p int) uint64 {
	part := &s.partitions[p]
	defer part.mu.runlock(part.mu.rlock())
	return part.digest
}

// Count returns how many sessions and tombstones are held in partition p.
func (s *Store) Count(p int) int {
	part := &s.partitions[p]
	defer part.mu.runlock(part.mu.rlock())
	return part.live.size + len(part.dead)
}

// Entry names one record that is held, and its state, in 16 bytes.
type Entry struct {
	KeyHash uint64 // of its key, by [KeyHash]
	Hash    uint64 // [Record.Hash]
}

// List returns an entry for everything held in partition p at one moment, in no
// order.
func (s *Store) List(p int) []Entry { return s.ListRange(p, 0, 0) }

// ListRange is List for the key hashes that are not below from and, unless to
// is 0, below to.
func (s *Store) ListRange(p int, from, to uint64) (entries []Entry) {
	s.each(p, func(hash uint64) bool { return from <= hash && (to == 0 || hash < to) }, func(hash uint64, rec *Record) {
		entries = append(entries, Entry{KeyHash: hash, Hash: rec.hash})
	})
	return entries
}

// ListPage is List for some entries at most, those with the lowest key hashes.
// next is the hash from which to go on, 0 if there is no more.
func (s *Store) ListPage(p int, from uint64, most int) (entries []Entry, next uint64) {
	page := lowest[Entry]{most: most, place: func(e Entry) uint64 { return e.KeyHash }}
	s.each(p, func(hash uint64) bool { return from <= hash && page.takes(hash) }, func(hash uint64, rec *Record) {
		page.add(Entry{KeyHash: hash, Hash: rec.hash})
	})
	page.cut()
	return page.kept, page.next
}

// Select returns the records held in partition p whose keys have these hashes.
// There can be more than one for a hash.
func (s *Store) Select(p int, keyHashes []uint64) (records []*Record) {
	wanted := make(map[uint64]bool, len(keyHashes))
	for _, h := range keyHashes {
		wanted[h] = true
	}
	s.each(p, func(hash uint64) bool { return wanted[hash] }, func(_ uint64, rec *Record) { records = append(records, rec) })
	return records
}

// each calls f with what is held in partition p at one moment, open or not,
// under keys whose hashes keep picks. It has no lock then.
func (s *Store) each(p int, keep func(hash uint64) bool, f func(hash uint64, rec *Record)) {
	live, dead := s.partitions[p].snapshot()
	for _, rec := range live {
		if hash := KeyHash(rec.key); keep(hash) {
			f(hash, rec)
		}
	}
	for _, g := range dead {
		if hash := KeyHash(g.key); keep(hash) {
			f(hash, g.record())
		}
	}
}

// Records returns everything held in partition p at one moment, in no order.
func (s *Store) Records(p int) []*Record {
	part := &s.partitions[p]
	defer part.mu.runlock(part.mu.rlock())
	return part.recordsLocked()
}

// Drop forgets all that is held in partition p, without tombstones, and returns
// how many records that was. The partition stays open or closed.
func (s *Store) Drop(p int) int {
	part := &s.partitions[p]
	defer part.mu.unlock(part.mu.lock())
	bytes, dead := part.bytes, part.deadBytes
	keys := part.clearLocked()
	s.accountLocked(part, bytes, dead)
	return keys
}

// Forget forgets what is held under a key, without a tombstone.
func (s *Store) Forget(key string) {
	p := s.partition(key)
	defer p.mu.unlock(p.mu.lock())
	bytes, dead := p.bytes, p.deadBytes
	switch cur := p.heldLocked(key); {
	case cur.compact:
		p.uncompactLocked(key)
	case cur.rec != nil:
		p.forgetLocked(cur.rec)
	}
	s.accountLocked(p, bytes, dead)
}

// DropIf is [Store.Drop] on the condition that the partition's digest is still
// the one given: an owner that hands a partition over forgets exactly what
// others have confirmed, and nothing that has arrived since.
func (s *Store) DropIf(p int, digest uint64) bool {
	part := &s.partitions[p]
	defer part.mu.unlock(part.mu.lock())
	if part.digest != digest {
		return false
	}
	bytes, dead := part.bytes, part.deadBytes
	part.clearLocked()
	s.accountLocked(part, bytes, dead)
	return true
}

// DropOld forgets the sessions in partition p that were last written or
// touched before a time, without tombstones, and returns how many. It is for a
// holder of copies that others have ended, and forgotten the end of.
func (s *Store) DropOld(p int, before time.Time) (dropped int) {
	part := &s.partitions[p]
	for rest := s.Records(p); len(rest) > 0; {
		some := rest[:min(reapBatch, len(rest))]
		rest = rest[len(some):]
		dropped += s.dropSomeOld(part, some, before.UnixMilli())
	}
	return dropped
}

func (s *Store) dropSomeOld(p *partition, some []*Record, before int64) (dropped int) {
	defer p.mu.unlock(p.mu.lock())
	bytes, dead := p.bytes, p.deadBytes
	for _, rec := range some {
		if held := p.heldLocked(rec.key).rec; held != nil && !held.dead && held.newest().millis() < before {
			p.forgetLocked(held)
			dropped++
		}
	}
	s.accountLocked(p, bytes, dead)
	return dropped
}

// Expire forgets the sessions and tombstones whose time has come, in open and
// closed partitions, and returns how many. Reads find no expired session even
// if it is never called; it gives their memory back. It lets go of a
// partition's lock after every few hundred keys.
func (s *Store) Expire() (n int) {
	_, n = s.Sweep(0)
	return n
}

// Sweep is [Store.Expire] for an owner, which tells which sessions have ended:
// it also returns the keys, max at most, of those whose partition was open
// here. Copies elsewhere end in silence.
func (s *Store) Sweep(max int) (ended []string, n int) {
	r := reaped{max: max}
	s.sweep(&r)
	return r.ended, r.sessions + r.tombstones
}

// SweepAll is [Store.Sweep] for a member that has to end elsewhere what has
// ended here: it also returns the keys of all that it has forgotten, copies and
// tombstones too, but those of compacted tombstones, which nobody knows.
func (s *Store) SweepAll(max int) (ended, forgotten []string) {
	r := reaped{max: max, lists: true}
	s.sweep(&r)
	return r.ended, r.forgotten
}

func (s *Store) sweep(r *reaped) {
	now := s.nowMillis()
	for i := range s.partitions {
		for s.reap(&s.partitions[i], now, r) {
		}
	}
	s.dropTombstones(&s.partitions[0])
	s.count(r)
}

func (s *Store) count(r *reaped) {
	s.expired.Add(uint64(r.sessions))
	s.forgotten.Add(uint64(r.tombstones))
}

func (s *Store) reap(p *partition, now int64, r *reaped) (more bool) {
	defer p.mu.unlock(p.mu.lock())
	bytes, dead := p.bytes, p.deadBytes
	more = p.reapLocked(now, r)
	s.accountLocked(p, bytes, dead)
	return more
}

// Stats are counts of a [Store].
type Stats struct {
	Sessions   int   // held, also those that expired and are not yet forgotten
	Tombstones int   // held
	Compacted  int   // tombstones of which only the key's hash is held; not among those
	Open       int   // partitions
	Bytes      int64 // about the memory that all of it takes
	Dead       int64 // those of Bytes that are the tombstones'
	Limit      int64 // Config.MemoryLimit

	// Since the store was made:
	Expired       uint64 // sessions forgotten at their end
	Forgotten     uint64 // tombstones forgotten at theirs
	RefusedFuture uint64 // merges refused with ErrFuture
	RefusedFull   uint64 // operations refused with ErrFull
	RefusedCopies uint64 // merges refused with ErrFull
	Dropped       uint64 // tombstones forgotten before their end, for want of room
	Retried       uint64 // runs of transactions that another had come before
	Busy          uint64 // operations refused with ErrBusy

	// LongestHold is for how long a partition's lock was held at most, within
	// the last minute or two; 0 for less than 0.1 ms.
	LongestHold time.Duration
}

// Counted returns those of the counts that only ever grow, and waits for no
// lock. The others are 0.
func (s *Store) Counted() Stats {
	return Stats{
		Expired:       s.expired.Load(),
		Forgotten:     s.forgotten.Load(),
		RefusedFuture: s.refusedFuture.Load(),
		RefusedFull:   s.refusedFull.Load(),
		Retried:       s.retried.Load(),
		Busy:          s.busy.Load(),
		RefusedCopies: s.refusedCopies.Load(),
		Dropped:       s.dropped.Load(),
	}
}

// Stats returns the counts. It holds the partitions' locks one after another,
// so they are not of one moment.
func (s *Store) Stats() Stats {
	stats := s.Counted()
	stats.Bytes, stats.Dead, stats.Limit = s.bytes.Load(), s.deadBytes.Load(), s.cfg.MemoryLimit
	stats.LongestHold = s.holds.longest()
	for i := range s.partitions {
		p := &s.partitions[i]
		since := p.mu.rlock()
		stats.Sessions += p.live.size
		stats.Tombstones += len(p.dead)
		stats.Compacted += len(p.compact.tombs)
		if p.open.Load() {
			stats.Open++
		}
		p.mu.runlock(since)
	}
	return stats
}

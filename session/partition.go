package session

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// tomb is a tombstone as it is kept: the key is the map's.
type tomb struct {
	rank Stamp
	at   int64 // unix ms at which it is forgotten
}

func (t tomb) presence(now int64) presence {
	if now >= t.at {
		return missing
	}
	return deleted
}

// partition holds the sessions and tombstones of one partition of keys. A key
// is in live or in dead or in neither.
//
// A reader that holds mu sees all of it at one moment. A look at one session
// needs no more than open and live, which are read without mu.
type partition struct {
	mu holdLock // guards all below

	open     atomic.Bool   // not guarded: see close.go
	crowded  atomic.Bool   // see Store.SetCrowded; not guarded
	least    atomic.Uint64 // a Stamp, see Store.Admit; not guarded
	peakDead int32         // the map's largest size since it was made
	live     table
	dead     map[string]tomb
	moved    map[string]string // of the dead, where they lead; see moved.go
	movedDue dueHeap[string]
	liveDue  dueHeap[uint64]
	deadDue  dueHeap[string]
	compact  compacted
	digest   uint64 // XOR of the hashes of all that is held
	bytes    int64  // as counted by liveCost and deadCost
	// deadBytes are those of bytes that are the tombstones'.
	deadBytes int64
	floor     int64 // unix ms; see tombstones.go
	unsaved   unsaved
	_         [56]byte // up to the next cache line
}

// What a session and a tombstone take beside the bytes of key and body: Record
// (96), slot of the table or the map, heap entry, and what the allocator rounds
// up. Measured by BenchmarkMemory with a million of each in 1,024 partitions,
// where tables and maps are about half full, nearly their worst.
// TestMemoryAccounting fails when they are off by more than a tenth.
const (
	liveOverhead = 215
	deadOverhead = 122
)

func liveCost(rec *Record) int64 { return rec.bytes() + liveOverhead }
func deadCost(key string) int64  { return int64(len(key)) + deadOverhead }

// heldLocked returns what is held under key. For a tombstone it makes a Record.
func (p *partition) heldLocked(key string) held {
	if h, ok := p.live.find(key); ok {
		return h
	}
	if len(p.dead) > 0 {
		if t, ok := p.dead[key]; ok {
			return held{rec: p.tombstoneLocked(key, t), until: t.at}
		}
	}
	if t, ok := p.compact.find(key); ok {
		return held{rec: newTombstone(key, t.rank, t.at), until: t.at, compact: true}
	}
	return held{}
}

// setLocked puts next in the place of cur, which is what is held now.
func (p *partition) setLocked(cur, next held) {
	key := next.rec.key
	if cur.compact {
		p.uncompactLocked(key)
		cur = held{}
	}
	if cur.rec != nil {
		p.digest ^= cur.rec.hash
		p.countLocked(cur.rec, -1)
	}
	p.digest ^= next.rec.hash
	if planted.Is(planted.StaleDigest) && cur.rec != nil {
		p.digest ^= cur.rec.hash ^ next.rec.hash
	}
	p.countLocked(next.rec, 1)
	p.leadLocked(next.rec)
	if next.rec.dead {
		p.live.remove(key)
		p.dead[key] = tomb{rank: next.rec.rank, at: next.rec.expiry.At}
	} else {
		if cur.rec != nil && cur.rec.dead {
			p.peakDead = max(p.peakDead, int32(len(p.dead)))
			delete(p.dead, key)
		}
		p.live.put(next)
	}
	p.scheduleLocked(cur.rec, next.rec)
	if cur.rec != next.rec { // else it was a touch that is not copied either
		p.noteLocked(key)
	}
}

// countLocked adds rec to the partition's bytes, times 1 or -1.
func (p *partition) countLocked(rec *Record, times int64) {
	p.bytes += times * cost(rec)
	if rec.dead {
		p.deadBytes += times * cost(rec)
	}
}

func cost(rec *Record) int64 {
	if rec.dead {
		return deadCost(rec.key)
	}
	return liveCost(rec)
}

// forgetLocked drops what is held under a key.
func (p *partition) forgetLocked(rec *Record) {
	p.noteLocked(rec.key)
	p.digest ^= rec.hash
	p.countLocked(rec, -1)
	if rec.dead {
		p.peakDead = max(p.peakDead, int32(len(p.dead)))
		delete(p.dead, rec.key)
		p.unleadLocked(rec.key)
	} else {
		p.live.remove(rec.key)
	}
}

// recordsLocked returns all that is held.
func (p *partition) recordsLocked() []*Record {
	records := make([]*Record, 0, p.live.size+len(p.dead))
	for h := range p.live.all() {
		records = append(records, h.rec)
	}
	for key, t := range p.dead {
		records = append(records, p.tombstoneLocked(key, t))
	}
	return records
}

// walkSlots and walkTombs bound what is looked at under one hold of the lock:
// about 0.1 ms.
const (
	walkSlots = 4096
	walkTombs = 512
)

// walk calls f with what is held live, expired or not, some at a time, until it
// returns false or the partition is closed. f is called without the lock and
// keeps nothing of some. What is there all the time is in the walk once, as it
// was at some moment of it. A partition of up to walkSlots slots is seen at one
// moment.
func (p *partition) walk(f func(some []held) bool) error {
	some := make([]held, 0, walkSlots)
	// Another array may take the place of this one, which then stays as it is:
	// all that was there when the walk began is in it.
	for slots := range slices.Chunk(*p.live.array.Load(), walkSlots) {
		var open bool
		if some, open = p.look(slots, some[:0]); !open {
			return ErrNotServed
		}
		if !f(some) {
			break
		}
	}
	return nil
}

// look appends what is in the slots, and says whether the partition is open.
func (p *partition) look(slots []slot, some []held) (all []held, open bool) {
	defer p.mu.runlock(p.mu.rlock())
	return slices.AppendSeq(some, allOf(slots)), p.open.Load()
}

// tagged returns what is held live under keys that keep picks, in order of key.
func (p *partition) tagged(keep func(key string) bool) (all []held, err error) {
	err = p.walk(func(some []held) bool {
		for _, h := range some {
			if keep(h.rec.key) {
				all = append(all, h)
			}
		}
		return true
	})
	slices.SortFunc(all, func(a, b held) int { return strings.Compare(a.rec.key, b.rec.key) })
	return all, err
}

// someTagged returns the first of them that a walk finds, in no order. What is
// deleted is in no later walk, so that some at a time are all in the end.
func (p *partition) someTagged(keep func(key string) bool, most int) (all []held, err error) {
	err = p.walk(func(some []held) bool {
		for _, h := range some {
			if len(all) < most && keep(h.rec.key) {
				all = append(all, h)
			}
		}
		return len(all) < most
	})
	return all, err
}

// grave is a tombstone as a walk finds it.
type grave struct {
	key string
	tomb
	moved string // where it leads
}

func (g grave) record() *Record {
	rec := newTombstone(g.key, g.rank, g.at)
	rec.body = g.moved
	return rec
}

// snapshot returns all that is held at one moment: a holder that is asked what
// it has must not leave out a key that changes from a tombstone to a session
// meanwhile. Only what needs the lock is done under it.
func (p *partition) snapshot() (live []*Record, dead []grave) {
	since := p.mu.rlock()
	sessions, tombs := p.live.size, len(p.dead)
	p.mu.runlock(since)
	live, dead = make([]*Record, 0, sessions), make([]grave, 0, tombs)
	defer p.mu.runlock(p.mu.rlock())
	for h := range p.live.all() {
		live = append(live, h.rec)
	}
	for key, t := range p.dead {
		dead = append(dead, grave{key, t, p.moved[key]})
	}
	return live, dead
}

// graves returns the tombstones, in no order. Like walk it lets go of the lock
// again and again: an iteration over a map goes on while others write to it
// between its steps.
func (p *partition) graves() (all []grave) {
	var some [walkTombs]grave
	n, since := 0, p.mu.rlock()
	for key, t := range p.dead {
		some[n] = grave{key, t, p.moved[key]}
		if n++; n == len(some) {
			p.mu.runlock(since)
			all, n = append(all, some[:]...), 0
			since = p.mu.rlock()
		}
	}
	p.mu.runlock(since)
	return append(all, some[:n]...)
}

// clearLocked forgets everything and returns how many keys that was.
func (p *partition) clearLocked() (keys int) {
	keys = p.live.size + len(p.dead)
	p.noteClearedLocked()
	p.live.clear()
	p.dead, p.peakDead = make(map[string]tomb), 0
	p.moved, p.movedDue = nil, nil
	p.liveDue, p.deadDue, p.compact = nil, nil, compacted{}
	p.digest, p.bytes, p.deadBytes, p.floor = 0, 0, 0, 0
	return keys
}

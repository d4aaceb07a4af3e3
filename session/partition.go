package session

import (
	"maps"
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
	floor     int64    // unix ms; see tombstones.go
	_         [16]byte // up to the next cache line
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

// everything returns what is held live, expired or not, and the keys of the
// tombstones.
func (p *partition) everything() (all []held, dead []string, err error) {
	defer p.mu.runlock(p.mu.rlock())
	if !p.open.Load() {
		return nil, nil, ErrNotServed
	}
	all = slices.AppendSeq(make([]held, 0, p.live.size), p.live.all())
	dead = slices.AppendSeq(make([]string, 0, len(p.dead)), maps.Keys(p.dead))
	return all, dead, nil
}

// tagged returns those of all whose keys keep picks, in order of key.
func tagged(all []held, keep func(key string) bool) []held {
	all = slices.DeleteFunc(all, func(h held) bool { return !keep(h.rec.key) })
	slices.SortFunc(all, func(a, b held) int { return strings.Compare(a.rec.key, b.rec.key) })
	return all
}

// clearLocked forgets everything and returns how many keys that was.
func (p *partition) clearLocked() (keys int) {
	keys = p.live.size + len(p.dead)
	p.live.clear()
	p.dead, p.peakDead = make(map[string]tomb), 0
	p.moved, p.movedDue = nil, nil
	p.liveDue, p.deadDue, p.compact = nil, nil, compacted{}
	p.digest, p.bytes, p.deadBytes, p.floor = 0, 0, 0, 0
	return keys
}

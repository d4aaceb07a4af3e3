package session

import (
	"hash/maphash"
	"iter"
	"sync/atomic"
	"unsafe"
)

// table holds the live sessions of a partition by their keys. A writer holds
// the partition's lock. find needs no lock: readers write nothing, so cores do
// not take a cache line from each other, and the misses of one read overlap
// with those of the next, which the atomic operations of a lock do not allow.
//
// It is an array of slots, a power of two. A key is sought from the slot that
// its hash names onwards, to one that was never taken. A slot that was taken
// keeps its tag; when three quarters are, the sessions move to another array. A
// reader of the old array then sees the table as it was when it began, which is
// as good as having come a moment earlier.
type table struct {
	array atomic.Pointer[[]slot]
	taken int // slots with a tag
	size  int // slots with a session
}

// slot holds one session, or none any more. It says itself where the key is, so
// that a look at another session's slot, or at an ended one, is no look at the
// record. Two slots fill a cache line.
type slot struct {
	tag   atomic.Uint64        // of the key, see tagOf; 0: never taken
	key   atomic.Pointer[byte] // the bytes of rec's key
	rec   atomic.Pointer[Record]
	until atomic.Int64
}

// minSlots is the least number of slots of a table that holds anything.
const minSlots = 8

// none is the array of an empty table: a seeker's end, and no room to take.
var none = make([]slot, 1)

// seed keeps clients that choose their keys from choosing them for one slot.
var seed = maphash.MakeSeed()

// tagOf is 32 bits of the key's hash over 32 of its length. It is never 0, for
// no key is empty.
func tagOf(key string) uint64 { return maphash.String(seed, key)&^(1<<32-1) | uint64(len(key)) }

// find returns the session under key. It may be called without the lock; what
// it finds was there between its call and its return. It may miss a session
// that is being written, or find it ended: then the lock is worth waiting for.
func (t *table) find(key string) (h held, ok bool) {
	tag := tagOf(key)
	slots := *t.array.Load()
	for i := tag >> 32; ; i++ {
		s := &slots[i&uint64(len(slots)-1)]
		switch s.tag.Load() {
		case 0:
			return held{}, false
		case tag:
			if h, ok := s.find(key); ok {
				return h, true
			}
		}
	}
}

// find returns the slot's session if it has this key, of which it has the tag.
func (s *slot) find(key string) (h held, ok bool) {
	for rec := s.rec.Load(); rec != nil; {
		bytes, until := s.key.Load(), s.until.Load()
		same := bytes != nil && unsafe.String(bytes, len(key)) == key
		now := s.rec.Load()
		if now == rec { // so key and end are this record's
			return held{rec: rec, until: until}, same
		}
		rec = now
	}
	return held{}, false
}

// put puts a session into the slot, which is empty or has one of the same key.
// While it does, that session has ended.
func (s *slot) put(h held) {
	if s.rec.Load() != h.rec {
		s.until.Store(0)
		s.key.Store(unsafe.StringData(h.rec.key))
		s.rec.Store(h.rec)
	}
	s.until.Store(h.until)
}

func (s *slot) remove() {
	s.rec.Store(nil)
	s.key.Store(nil)
	s.until.Store(0)
}

// put puts a session in, in the place of the one with its key if there is one.
func (t *table) put(h held) {
	tag := tagOf(h.rec.key)
	slots := *t.array.Load()
	var free *slot // one of this tag that has lost its session
	for i := tag >> 32; ; i++ {
		s := &slots[i&uint64(len(slots)-1)]
		switch s.tag.Load() {
		case tag:
			switch rec := s.rec.Load(); {
			case rec == nil:
				free = s
			case rec.key == h.rec.key:
				s.put(h)
				return
			}
		case 0:
			switch {
			case free != nil:
				free.put(h)
			case t.taken+1 > len(slots)/4*3:
				t.resize(t.size + 1)
				t.put(h)
				return
			default:
				s.put(h)
				s.tag.Store(tag) // from now on it is found
				t.taken++
			}
			t.size++
			return
		}
	}
}

// remove takes out the session under key, if there is one.
func (t *table) remove(key string) {
	for s := range t.tagged(tagOf(key)) {
		if rec := s.rec.Load(); rec != nil && rec.key == key {
			s.remove()
			t.size--
			return
		}
	}
}

// tagged yields the slots with a tag.
func (t *table) tagged(tag uint64) iter.Seq[*slot] {
	return func(yield func(*slot) bool) {
		slots := *t.array.Load()
		for i := tag >> 32; ; i++ {
			s := &slots[i&uint64(len(slots)-1)]
			have := s.tag.Load()
			if have == 0 || have == tag && !yield(s) {
				return
			}
		}
	}
}

// all yields every session, in no order. The table must not be changed
// meanwhile.
func (t *table) all() iter.Seq[held] { return allOf(*t.array.Load()) }

// allOf yields every session in some slots of a table, in no order. They must
// not be changed meanwhile.
func allOf(slots []slot) iter.Seq[held] {
	return func(yield func(held) bool) {
		for i := range slots {
			if rec := slots[i].rec.Load(); rec != nil && !yield(held{rec: rec, until: slots[i].until.Load()}) {
				return
			}
		}
	}
}

// resize moves the sessions to an array in which n would take half the slots at
// most.
func (t *table) resize(n int) {
	length := minSlots
	for length < 2*n {
		length *= 2
	}
	slots := make([]slot, length)
	for i, old := 0, *t.array.Load(); i < len(old); i++ {
		rec := old[i].rec.Load()
		if rec == nil {
			continue
		}
		tag := old[i].tag.Load()
		to := tag >> 32
		for slots[to&uint64(length-1)].tag.Load() != 0 {
			to++
		}
		s := &slots[to&uint64(length-1)]
		s.put(held{rec: rec, until: old[i].until.Load()})
		s.tag.Store(tag)
	}
	t.taken = t.size
	t.array.Store(&slots)
}

// trim gives memory back if the table was much larger than it is.
func (t *table) trim() {
	if len(*t.array.Load()) > 8*t.size+minTrim {
		t.resize(t.size)
	}
}

func (t *table) clear() {
	t.array.Store(&none)
	t.taken, t.size = 0, 0
}

// home returns the slot from which a key is sought.
func (t *table) home(key string) *slot {
	slots := *t.array.Load()
	return &slots[tagOf(key)>>32&uint64(len(slots)-1)]
}

package upstream

import (
	"hash/maphash"
	"time"
)

const (
	// missTime is how long a key is not asked for again that Redis does not
	// have.
	missTime = time.Second
	// missSlots is how many such keys are remembered: a megabyte.
	missSlots = 1 << 16
)

// misses remembers keys that Redis does not have. Each key has one place, which
// it takes from whatever key was there.
type misses struct {
	slots []missSlot
	seed  maphash.Seed // so that no client can choose keys of one place
}

type missSlot struct {
	hash  uint64
	until time.Duration
}

func newMisses() misses {
	return misses{slots: make([]missSlot, missSlots), seed: maphash.MakeSeed()}
}

func (m *misses) add(key string, until time.Duration) {
	hash := maphash.String(m.seed, key)
	m.slots[hash%missSlots] = missSlot{hash, until}
}

func (m *misses) has(key string, now time.Duration) bool {
	hash := maphash.String(m.seed, key)
	slot := m.slots[hash%missSlots]
	return slot.hash == hash && now < slot.until
}

// LatelyFor is the time of which [Stats.Lately] speaks, up to a minute less.
const LatelyFor = 5 * time.Minute

// lately counts by the minute.
type lately struct {
	counts [LatelyFor / time.Minute]int64
	minute time.Duration // of the last count
}

// pass forgets the minutes that are over.
func (l *lately) pass(now time.Duration) {
	minute := now / time.Minute
	for range min(minute-l.minute, time.Duration(len(l.counts))) {
		l.minute++
		l.counts[l.minute%time.Duration(len(l.counts))] = 0
	}
	l.minute = minute
}

func (l *lately) add(now time.Duration) {
	l.pass(now)
	l.counts[l.minute%time.Duration(len(l.counts))]++
}

func (l *lately) sum(now time.Duration) (n int64) {
	l.pass(now)
	for _, count := range l.counts {
		n += count
	}
	return n
}

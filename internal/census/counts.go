package census

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

const (
	// tellEvery is how often each member is told the counts: each node tells
	// of what it serves, so all of them together tell of each partition once,
	// in 2 to 3 bytes.
	tellEvery = 2 * time.Second
	// swing is the part of all sessions served here, one in so many, by which
	// their number must have changed for the counts to be told at once: many
	// that have just come can be lost within two seconds. A few never swing.
	swing    = 20
	fewest   = 32
	fewBytes = fewest * 256
	// pace is how soon a node is asked again whose sessions swing, and fresh is
	// how old the counts are, at most, that it is told.
	pace  = 50 * time.Millisecond
	fresh = 25 * time.Millisecond
	// newcomer is for how long a member that asks for the first time is told
	// all that is known, also of what others serve: it may have to say what was
	// lost with those who cannot tell it any more.
	newcomer = 5 * time.Second
)

// told is the last count of a partition's sessions.
type told struct {
	sessions uint32
	known    bool
	hearsay  bool // by a member that does not serve the partition
}

// memory is what a node said that its sessions take, and may take: bytes.
type memory struct {
	used, limit int64 // limit 0 is none
}

// report is what a node tells of itself:
//
//	u64 bytes used | u64 limit, 0 for none | uvarint partitions passed over, uvarint 2 × sessions, and 1 for hearsay …
type report struct {
	memory memory
	counts map[int]told // by partition
}

const reportHead = 8 + 8

var errReport = errors.New("malformed counts")

func (r *report) encode() []byte {
	b := order.AppendUint64(nil, uint64(r.memory.used))
	b = order.AppendUint64(b, uint64(r.memory.limit))
	next := 0
	for p := range ring.Partitions {
		t, has := r.counts[p]
		if !has {
			continue
		}
		said := uint64(t.sessions) << 1
		if t.hearsay {
			said |= 1
		}
		b = binary.AppendUvarint(b, uint64(p-next))
		b = binary.AppendUvarint(b, said)
		next = p + 1
	}
	return b
}

func decodeReport(b []byte) (*report, error) {
	if len(b) < reportHead {
		return nil, fmt.Errorf("%d bytes: %w", len(b), errReport)
	}
	r := &report{memory: memory{used: int64(order.Uint64(b)), limit: int64(order.Uint64(b[8:]))}, counts: make(map[int]told)}
	if r.memory.used < 0 || r.memory.limit < 0 {
		return nil, fmt.Errorf("%d of %d bytes used: %w", r.memory.used, r.memory.limit, errReport)
	}
	b = b[reportHead:]
	for p := 0; len(b) > 0; p++ {
		gap, n := binary.Uvarint(b)
		if n <= 0 || gap >= uint64(ring.Partitions-p) {
			return nil, fmt.Errorf("partition after %d: %w", p, errReport)
		}
		said, m := binary.Uvarint(b[n:])
		if m <= 0 || said>>1 > math.MaxUint32 {
			return nil, fmt.Errorf("sessions of partition %d: %w", p+int(gap), errReport)
		}
		p += int(gap)
		r.counts[p] = told{sessions: uint32(said >> 1), known: true, hearsay: said&1 != 0}
		b = b[n+m:]
	}
	return r, nil
}

// hear takes in what a node tells. What is heard of a partition from one that
// does not serve it counts where nothing else is known.
func (c *Census) hear(from member.ID, r *report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total, before := 0, c.totals[from]
	for _, t := range r.counts {
		if !t.hearsay {
			total += int(t.sessions)
		}
	}
	c.totals[from], c.memories[from] = total, r.memory
	if swings(before, total, fewest) {
		c.soon[from] = struct{}{}
		c.wake.Kick()
	}
	for p, heard := range r.counts {
		if t := &c.told[p]; !heard.hearsay || !t.known || t.hearsay {
			*t = heard
		}
	}
}

// swings says whether a number of sessions, or their bytes, has changed so much
// that it is told at once; by least or fewer is not much.
func swings[N int | int64](before, now, least N) bool {
	return max(now-before, before-now) > max(before/swing, least)
}

// askSoon asks the nodes again whose sessions swing.
func (c *Census) askSoon() {
	c.mu.Lock()
	ids := slices.Collect(maps.Keys(c.soon))
	clear(c.soon)
	c.mu.Unlock()
	for _, id := range ids {
		c.cfg.Beat(id)
	}
}

// recount takes the counts if they have changed much since, as the memory tells
// that sessions take.
func (c *Census) recount(now time.Duration) {
	if c.cfg.Partitions == nil {
		return
	}
	used, _ := c.cfg.Partitions.Memory()
	c.mu.Lock()
	swung := now-c.counted >= fresh && swings(c.own.used, used, fewBytes)
	c.mu.Unlock()
	if swung {
		c.countOwn()
	}
}

// reportTo returns what a member is told now, nil for nothing. It waits for
// nobody.
func (c *Census) reportTo(id member.ID, now time.Duration) []byte {
	c.recount(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	a, known := c.askers[id]
	if known && now-a.told < tellEvery && !swings(a.total, c.total, fewest) {
		return nil
	}
	if !known {
		a.first = now
	}
	a.told, a.total = now, c.total
	c.askers[id] = a
	r := report{memory: c.own, counts: make(map[int]told)}
	for p, t := range c.told {
		if t.known && (c.mine[p] || now-a.first < newcomer) {
			t.hearsay = !c.mine[p]
			r.counts[p] = t
		}
	}
	return r.encode()
}

// asker is a member that asks for the counts.
type asker struct {
	first, told time.Duration // since the process's start
	total       int           // of the sessions that it was told of
}

// countOwn takes the counts of what this node serves. Those of a partition that
// was claimed though nobody had a copy wait until it is known what was lost.
func (c *Census) countOwn() {
	if c.cfg.Partitions == nil {
		return
	}
	var counts [ring.Partitions]int
	for p := range counts {
		counts[p] = -1 // not known
		if _, complete := c.cfg.Partitions.Serving(p); complete {
			if n, ok := c.cfg.Partitions.Sessions(p); ok {
				counts[p] = n
			}
		}
	}
	used, limit := c.cfg.Partitions.Memory()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.total, c.counted = memory{used: used, limit: limit}, 0, c.cfg.Clock.Since()
	for p, n := range counts {
		// One that was not here a moment ago may be an orphan in the next.
		before := c.here[p]
		c.here[p], _ = c.cfg.Partitions.Serving(p)
		_, waits := c.orphans[p]
		switch {
		case !c.here[p]:
			c.mine[p] = false
		case before && n >= 0 && !waits:
			c.mine[p] = true
			c.told[p] = told{sessions: uint32(n), known: true}
		}
		if c.mine[p] {
			c.total += int(c.told[p].sessions)
		}
	}
}

// MemoryShort returns by how many bytes the members would lack memory if the
// one were lost whose loss would be the worst: what it holds, less the room that
// the others have. It is 0 while there is room, while a node has no limit, and
// where too few nodes would remain to hold the copies at all.
func (c *Census) MemoryShort() (bytes int64) {
	view := c.cfg.View()
	nodes := view.Nodes()
	if len(nodes)-1 < view.Target() {
		return 0 // those who remain hold everything already
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	room, held := int64(0), make([]memory, 0, len(nodes))
	for _, m := range nodes {
		said, known := c.memories[m.ID]
		if m.ID == c.cfg.Self {
			said, known = c.own, c.cfg.Partitions != nil
		}
		if !known || said.limit == 0 {
			return 0
		}
		held = append(held, said)
		room += max(0, said.limit-said.used)
	}
	for _, m := range held {
		bytes = max(bytes, m.used-(room-max(0, m.limit-m.used)))
	}
	return bytes
}

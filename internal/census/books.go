package census

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

const (
	// maxAbsences bounds the names in the books, and maxIDs the boots: those
	// of the absences, and others that had copies of what is lost.
	maxAbsences = 256
	maxIDs      = 320
	// maxHolders is how many of those that had copies of one partition are
	// kept.
	maxHolders = 3
)

// absence is what is known of a member that took part and ended without a word.
// Of two about one name the one that was written later counts.
type absence struct {
	id   member.ID // the boot that was seen last
	role member.Role
	// ended says that its process is known to have ended; otherwise it may be
	// frozen or cut off. settled says that it is missing no more: it is back,
	// has left, or is forgotten.
	ended, settled bool
	written        uint64 // unix ms, and later than what was known before
	since, seen    int64  // unix ms: missing since, and last seen
	// learned is when this member came to know of it, since its process's start.
	// The others are not told.
	learned time.Duration
}

func (a *absence) compare(b *absence) int {
	return cmp.Or(cmp.Compare(a.written, b.written), compareBool(a.settled, b.settled), compareBool(a.ended, b.ended), a.id.Compare(b.id),
		cmp.Compare(a.since, b.since), cmp.Compare(a.seen, b.seen))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// loss is what was lost of one partition. Of two about one partition the one
// that was written later counts. With no sessions it is settled: they came back,
// or an operator knows of it.
type loss struct {
	sessions uint32
	holders  []member.ID // who had copies, the owner among them
	written  uint64      // as that of an absence
}

func (l *loss) compare(m *loss) int {
	return cmp.Or(cmp.Compare(l.written, m.written), cmp.Compare(l.sessions, m.sessions), slices.CompareFunc(l.holders, m.holders, member.ID.Compare))
}

// books are all absences and losses. Their merge is commutative, associative
// and idempotent, so members agree whatever the order in which they hear.
type books struct {
	absences map[string]*absence // by name
	losses   map[int]*loss       // by partition
}

func newBooks() *books {
	return &books{absences: make(map[string]*absence), losses: make(map[int]*loss)}
}

// putAbsence takes in an absence, if it is news.
func (b *books) putAbsence(a *absence) (news bool) {
	if known := b.absences[a.id.Name]; known != nil && a.compare(known) <= 0 {
		return false
	}
	b.absences[a.id.Name] = a
	b.bound()
	return b.absences[a.id.Name] == a
}

// bound forgets names that are one too many: the settled ones first, and of
// those the ones that were written first.
func (b *books) bound() {
	for len(b.absences) > maxAbsences {
		first := slices.MinFunc(slices.Collect(maps.Values(b.absences)), func(a, c *absence) int {
			return cmp.Or(compareBool(c.settled, a.settled), a.compare(c))
		})
		delete(b.absences, first.id.Name)
	}
}

// putLoss takes in what was lost of partition p, if it is news.
func (b *books) putLoss(p int, l *loss) (news bool) {
	if known := b.losses[p]; known != nil && l.compare(known) <= 0 {
		return false
	}
	b.losses[p] = l
	return true
}

// merge takes in what other books have.
func (b *books) merge(other *books) (news bool) {
	for _, a := range other.absences {
		news = b.putAbsence(a) || news
	}
	for p, l := range other.losses {
		news = b.putLoss(p, l) || news
	}
	return news
}

// later returns when something is written that takes the place of what was
// written at a time.
func later(now int64, before uint64) uint64 { return max(uint64(max(now, 0)), before+1) }

// lost returns how many sessions are lost, and the names of those that had
// them.
func (b *books) lost() (sessions int, names []string) {
	with := make(map[string]bool)
	for _, l := range b.losses {
		sessions += int(l.sessions)
		for _, id := range l.holders {
			if l.sessions > 0 {
				with[id.Name] = true
			}
		}
	}
	return sessions, slices.Sorted(maps.Keys(with))
}

// The books on the wire; numbers are big-endian:
//
//	u16 number of boots | u8 length, name~boot …
//	u16 number of absences | u16 boot | u8 flags | u64 written | u64 since | u64 seen …
//	u16 number of losses | u16 partition | u32 sessions | u64 written | u8 number of holders | u16 boot … …
const (
	flagRouter byte = 1 << iota
	flagEnded
	flagSettled
)

var (
	order = binary.BigEndian

	errBooks = errors.New("malformed books")
)

// encode returns the books in the one form that equal books have.
func (b *books) encode() []byte {
	var ids []member.ID
	index := make(map[member.ID]int)
	number := func(id member.ID) (i int, ok bool) {
		if i, ok = index[id]; ok {
			return i, true
		}
		if len(ids) == maxIDs {
			return 0, false
		}
		index[id] = len(ids)
		ids = append(ids, id)
		return len(ids) - 1, true
	}
	var body []byte
	body = order.AppendUint16(body, uint16(len(b.absences)))
	for _, name := range slices.Sorted(maps.Keys(b.absences)) {
		a := b.absences[name]
		i, _ := number(a.id) // there are fewer than maxIDs
		var flags byte
		if a.role == member.RoleRouter {
			flags |= flagRouter
		}
		if a.ended {
			flags |= flagEnded
		}
		if a.settled {
			flags |= flagSettled
		}
		body = append(order.AppendUint16(body, uint16(i)), flags)
		body = order.AppendUint64(body, a.written)
		body = order.AppendUint64(body, uint64(a.since))
		body = order.AppendUint64(body, uint64(a.seen))
	}
	body = order.AppendUint16(body, uint16(len(b.losses)))
	for _, p := range slices.Sorted(maps.Keys(b.losses)) {
		l := b.losses[p]
		body = order.AppendUint16(body, uint16(p))
		body = order.AppendUint32(body, l.sessions)
		body = order.AppendUint64(body, l.written)
		var holders []int
		for _, id := range l.holders {
			if i, ok := number(id); ok {
				holders = append(holders, i)
			}
		}
		body = append(body, byte(len(holders)))
		for _, i := range holders {
			body = order.AppendUint16(body, uint16(i))
		}
	}
	head := order.AppendUint16(nil, uint16(len(ids)))
	for _, id := range ids {
		s := id.String()
		head = append(append(head, byte(len(s))), s...)
	}
	return append(head, body...)
}

// hashOf is what members compare to see whether their books are equal.
func hashOf(encoded []byte) uint64 {
	h := fnv.New64a()
	h.Write(encoded)
	return h.Sum64()
}

// reader reads numbers, until one is missing.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.short = nil, true
		return make([]byte, n)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u8() int     { return int(r.take(1)[0]) }
func (r *reader) u16() int    { return int(order.Uint16(r.take(2))) }
func (r *reader) u32() uint32 { return order.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return order.Uint64(r.take(8)) }

// decodeBooks reads what encode gives.
func decodeBooks(encoded []byte) (*books, error) {
	r := &reader{b: encoded}
	n := r.u16()
	if n > maxIDs {
		return nil, fmt.Errorf("%d boots, at most %d: %w", n, maxIDs, errBooks)
	}
	ids := make([]member.ID, n)
	for i := range ids {
		id, err := member.ParseID(string(r.take(r.u8())))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, errBooks)
		}
		ids[i] = id
	}
	boot := func() (member.ID, error) {
		i := r.u16()
		if i >= len(ids) {
			return member.ID{}, fmt.Errorf("boot %d of %d: %w", i, len(ids), errBooks)
		}
		return ids[i], nil
	}
	b := newBooks()
	if n = r.u16(); n > maxAbsences {
		return nil, fmt.Errorf("%d absences, at most %d: %w", n, maxAbsences, errBooks)
	}
	for range n {
		id, err := boot()
		if err != nil {
			return nil, err
		}
		flags := byte(r.u8())
		a := &absence{id: id, role: member.RoleNode, ended: flags&flagEnded != 0, settled: flags&flagSettled != 0, written: r.u64(), since: int64(r.u64()), seen: int64(r.u64())}
		if flags&flagRouter != 0 {
			a.role = member.RoleRouter
		}
		b.absences[id.Name] = a
	}
	for range r.u16() {
		p := r.u16()
		l := &loss{sessions: r.u32(), written: r.u64()}
		holders := r.u8()
		if p >= ring.Partitions || holders > maxHolders {
			return nil, fmt.Errorf("partition %d with %d holders, below %d and at most %d are accepted: %w", p, holders, ring.Partitions, maxHolders, errBooks)
		}
		for range holders {
			id, err := boot()
			if err != nil {
				return nil, err
			}
			l.holders = append(l.holders, id)
		}
		b.losses[p] = l
	}
	if r.short || len(r.b) > 0 {
		return nil, fmt.Errorf("%d bytes: %w", len(encoded), errBooks)
	}
	return b, nil
}

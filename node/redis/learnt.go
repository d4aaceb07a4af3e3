package redis

import "github.com/seed-95a32959/holdfast/ring"

// learnt is the ring that the client of a connection goes by, as far as it
// shows: because it has asked here who owns what, or because it knows. A
// cluster client asks on one connection of many, which may be one to the very
// node that dies, but on every one it sends only what its node owns.
type learnt struct {
	table *ring.Table // nil: none is known

	// The first commands by the ring judged: where they went.
	judged *ring.Table
	stray  bool // one was of a key that another node owns
	hits   partitions
	count  int // of hits
}

// manyHits is after how many partitions without a miss it is no accident any
// more. At most 5/8 of a ring of two or more nodes are one node's, so a client
// that knows nothing gets so far once in 10^9 times.
const manyHits = 48

// asked notes that the client is being told of a ring.
func (l *learnt) asked(t *ring.Table) { l.table = t }

// aimed notes where a command went.
func (l *learnt) aimed(t *Topology, partition int) {
	if l.judged != t.Table {
		*l = learnt{judged: t.Table}
	}
	switch {
	case l.stray:
	case len(t.Members) < 2 || t.Table.Owner(partition) != t.Self:
		l.stray = true
	case l.hits.has(partition):
	default:
		l.hits.add(partition)
		if l.count++; l.count == manyHits {
			l.table = t.Table
		}
	}
}

// outdated says, once, that the ring has changed since. It does not say so of a
// command that is here because it has: its client knows, and may have come to
// the last of its tries.
func (l *learnt) outdated(now *Topology, partition int) bool {
	if l.table == nil || l.table == now.Table {
		return false
	}
	before := l.table
	l.table = now.Table
	return before.Fingerprint() != now.Table.Fingerprint() && before.Owner(partition) == now.Self
}

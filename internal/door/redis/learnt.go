package redis

import (
	"slices"

	"github.com/seed-95a32959/holdfast/ring"
)

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

	// The ring that is not told yet, since which tick.
	fresh *ring.Table
	since int64
}

// manyHits is after how many partitions without a miss it is no accident any
// more. At most 5/8 of a ring of two or more nodes are one node's, so a client
// that knows nothing gets so far once in 10^9 times.
const manyHits = 48

// joinPause is for how many ticks it is not told that a member has come. A
// client that met that member's closed door a moment ago may remember it:
// go-redis fails what goes there, without a try, for up to a second after the
// door is open. Until then commands are forwarded.
const joinPause = 3

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

// outdated says whether the client is to be told that the ring has changed.
func (l *learnt) outdated(now *ring.Table, tick int64) bool {
	if l.table == nil || l.table == now {
		return false
	}
	if l.fresh != now {
		l.fresh, l.since = now, tick
	}
	return lost(l.table, now) || tick-l.since >= joinPause
}

// lost says whether a member of one ring is not in the other.
func lost(before, now *ring.Table) bool {
	return slices.ContainsFunc(before.Members(), func(name string) bool { return !now.Has(name) })
}

// tellPause is for how many ticks no other command of a partition is sent away,
// on whatever connection: it may be the same one once more, and a client does
// not follow for ever.
const tellPause = 2

// tell says whether this command is the one by which the client is told that
// the ring has changed: once for a connection and a ring. Of a pipeline only
// the last is good for it, for those that follow the one that is sent again
// would overtake it. And one that is here because the ring has changed is not,
// for its client knows, and may have come to the last of its tries.
func (c *conn) tell(t *Topology, partition int) bool {
	l, tick := &c.learnt, c.server.ticks.Load()
	if l.table == nil {
		l.aimed(t, partition)
		return false
	}
	next := &c.server.told[partition]
	if !l.outdated(t.Table, tick) || c.behind > 0 || c.in.Buffered() > 0 || tick < next.Load() {
		return false
	}
	before := l.table
	l.table, l.fresh = t.Table, nil
	if before.Fingerprint() == t.Table.Fingerprint() || before.Owner(partition) != t.Self {
		return false
	}
	next.Store(tick + tellPause)
	return true
}

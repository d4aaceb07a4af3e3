package node

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Inspection looks into a node from outside. It is for tests of whole clusters
// (package simulation); a running member uses none of it.
type Inspection struct{ node *Node }

// Inspect returns a look into the node.
func (n *Node) Inspect() Inspection { return Inspection{n} }

// Serving says for each partition whether an operation that came at this
// moment would be run here without asking anybody: the partition is open here,
// and the lease is held.
func (i Inspection) Serving() (serving [ring.Partitions]bool) {
	if i.node.store == nil || !i.node.owner.Leased() {
		return serving
	}
	for p := range serving {
		serving[p] = i.node.owner.Decide(p).Here()
	}
	return serving
}

// Told waits as a Redis client does that asks who owns what, and returns the
// names of the nodes that it is told of.
func (i Inspection) Told(ctx context.Context) []string {
	door := i.node.cluster
	door.Confirm(ctx)
	return door.Topology().Table.Members()
}

// Records returns everything held of partition p, tombstones too.
func (i Inspection) Records(p int) []*session.Record { return i.node.store.Records(p) }

// Stats are the counts of the node's store.
func (i Inspection) Stats() session.Stats { return i.node.store.Stats() }

// Peek returns what is held of one key, nil for nothing.
func (i Inspection) Peek(key string) *session.Record { return i.node.store.Peek(key) }

// Merge brings in a record as if another member had sent it.
func (i Inspection) Merge(rec *session.Record) error {
	_, err := i.node.store.Merge(rec)
	return err
}

// Digest returns the digest of partition p as replication compares it.
func (i Inspection) Digest(p int) uint64 { return i.node.store.Digest(p) }

// Cold returns how many partitions are to be served here and are not complete.
func (i Inspection) Cold() int {
	_, cold := i.node.owner.Gate().Counts()
	return cold
}

// BelowTarget returns how many keys served here have too few copies.
func (i Inspection) BelowTarget() int { return i.node.repairer.BelowTarget() }

// Dirty returns how many keys other members do not have as they are here.
func (i Inspection) Dirty() int {
	dirty, _ := i.node.replicator.Lag()
	return dirty
}

// Lag returns how old the oldest of these changes is.
func (i Inspection) Lag() time.Duration {
	_, age := i.node.replicator.Lag()
	return age
}

// Counters returns what the node has counted since its start, by the names
// that /admin/stats has.
func (i Inspection) Counters() map[string]int64 { return i.node.operator.Stats().Counters }

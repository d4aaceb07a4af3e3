// Package inspect lets tests of whole clusters look into a node, past what
// package node shows to programs. A running member uses none of it.
package inspect

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Of returns a look into a *node.Node. Package node sets it, which this one
// cannot import.
var Of func(node any) Node

// Node is what a node holds its sessions with.
type Node struct {
	Store      *session.Store // nil in a router
	Owner      *owner.Owner
	Replicator *replication.Replicator
	Repairer   *repair.Repairer
	// Wall is the node's time, and Unfit says why it owns nothing though it
	// could, none if it may.
	Wall   *clock.Wall
	Unfit  func() []string
	Census *census.Census

	// Counters returns what the node has counted since its start, by the names
	// that /admin/stats has.
	Counters func() map[string]int64
	// Told waits as a Redis client does that asks who owns what, and returns
	// the names of the nodes that it is told of.
	Told func(context.Context) []string
}

// Serving says for each partition whether an operation that came at this
// moment would be run here without asking anybody: the partition is open here,
// and the lease is held.
func (n Node) Serving() (serving [ring.Partitions]bool) {
	if n.Store == nil || !n.Owner.Leased() {
		return serving
	}
	for p := range serving {
		serving[p] = n.Owner.Decide(p).Here()
	}
	return serving
}

// Roster returns which boots count in mode majority, by the newest roster that is
// known here, and its version; none in mode available.
func (n Node) Roster() (version uint64, boots []string) {
	r := n.Owner.Roster()
	for _, id := range r.Electors {
		boots = append(boots, id.String())
	}
	return r.Version, boots
}

// Cold returns how many partitions are to be served here and are not complete.
func (n Node) Cold() int {
	_, cold := n.Owner.Gate().Counts()
	return cold
}

// Dirty returns how many keys other members do not have as they are here.
func (n Node) Dirty() int {
	dirty, _ := n.Replicator.Lag()
	return dirty
}

// Lag returns how old the oldest of these changes is.
func (n Node) Lag() time.Duration {
	_, age := n.Replicator.Lag()
	return age
}

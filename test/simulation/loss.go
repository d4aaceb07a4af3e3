package simulation

import (
	"sync"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// deaths are the processes that have ended with all that they held since the
// cluster was last whole, with every copy in its place.
type deaths struct {
	mu    sync.Mutex // guards since
	since []map[string]struct{}
}

// noteDeath is called before a process ends, and finds what goes with it. The
// loss of one holder is survived, by what a copy had confirmed. What only
// several of those that have died since the cluster was whole had is lost, and
// so is what nobody had a copy of in a cluster with one copy.
func (c *Cluster) noteDeath(h *Host, n *node.Node) {
	held := make(map[string]struct{})
	store := inspect.Of(n).Store
	c.deaths.mu.Lock()
	defer c.deaths.mu.Unlock()
	for p := range ring.Partitions {
		for _, rec := range store.Records(p) {
			held[rec.Key()] = struct{}{}
			if (c.options.Copies == 1 || c.deaths.heldLocked(rec.Key())) && !c.covered(h, rec) {
				c.history.lose(rec.Key())
			}
		}
	}
	c.deaths.since = append(c.deaths.since, held)
}

func (d *deaths) heldLocked(key string) bool {
	for _, held := range d.since {
		if _, ok := held[key]; ok {
			return true
		}
	}
	return false
}

// noteWhole is called when every copy is in its place.
func (c *Cluster) noteWhole() {
	c.deaths.mu.Lock()
	defer c.deaths.mu.Unlock()
	c.deaths.since = nil
}

// covered says whether another host's node has all that a record says. Where
// there is to be one copy alone, that node must serve it: one that does not may
// have its word from the dead one that the copy is there, and is about to drop its
// own.
func (c *Cluster) covered(dead *Host, rec *session.Record) bool {
	for _, h := range c.Hosts {
		if n, _ := h.Node(); n != nil && h != dead && (c.options.Copies != 1 || serves(n, rec.Key())) {
			if held := inspect.Of(n).Store.Peek(rec.Key()); held != nil && session.Merge(held, rec) == held {
				return true
			}
		}
	}
	return false
}

// serves says whether a node owns the partition of a session.
func serves(n *node.Node, key string) bool {
	return inspect.Of(n).Owner.Decide(ring.Partition(key)).Here()
}

// holds says whether a node has something of a session.
func holds(n *node.Node, key string) bool { return inspect.Of(n).Store.Peek(key) != nil }

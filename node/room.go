package node

import (
	"slices"

	"github.com/seed-95a32959/holdfast/ring"
)

// setCrowded tells the store which partitions have a holder, beside this node,
// that said in its last heartbeat that it has no room for copies. Sessions do not
// grow there: what the copy could not take would be lost with this node.
func (n *Node) setCrowded() {
	if n.store == nil {
		return
	}
	n.crowding.Lock() // of two looks at once the later one counts
	defer n.crowding.Unlock()
	full := make(map[string]bool)
	for _, l := range n.allLinks() {
		if l.full.Load() {
			full[l.id.String()] = true
		}
	}
	view := n.View()
	for p := range ring.Partitions {
		n.store.SetCrowded(p, slices.ContainsFunc(view.copyHolders(p), func(id string) bool { return full[id] }))
	}
}

package node

import (
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
)

// Of the memory limit the store gets what the member does not need for itself:
// a 16th is for the records that are on their way, in the queues of links and of
// senders, and where that is little, an eighth, of which 8 MiB are enough: the
// tables of 1,024 partitions and the rest of a member without sessions.
const (
	workShare  = 16
	bareShare  = 8
	bareMember = 8 << 20
)

// storeLimit is how many bytes of sessions the store of a member may hold, with
// this limit for the member; 0 is none.
func storeLimit(limit int64) int64 {
	return limit - max(limit/workShare, min(bareMember, limit/bareShare))
}

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
		n.store.SetCrowded(p, slices.ContainsFunc(view.CopyHolders(p), func(id string) bool { return full[id] }))
	}
}

// fullAgain is how often the log says that memory is short.
const fullAgain = time.Minute

// tellFull says in the log that there is no room for sessions, if it was last
// said long enough ago, and returns when it was, since the node's start.
func (n *Node) tellFull(last time.Duration) time.Duration {
	now := n.since()
	if !n.store.Full() || now-last < fullAgain {
		return last
	}
	s := n.store.Stats()
	n.log.Warn("memory is full: sessions of this node, and those of which it has the copy, do not grow", "sessions", s.Sessions, "bytes", s.Bytes-s.Dead, "limit", s.Limit)
	n.events.Add("full", "sessions", s.Sessions, "bytes", s.Bytes-s.Dead)
	return now
}

package node

import (
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/mesh"
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

// room knows which other members have said, in their last heartbeat, that they
// have no room for copies.
type room struct {
	mu   sync.Mutex // held while the store is told: of two looks at once the later one counts
	full map[ID]struct{}
}

// roomSection tells members whether there is room for copies here: u8 1 for none.
func (n *Node) roomSection() mesh.Section {
	say := func() []byte {
		if n.store != nil && n.store.Full() {
			return []byte{1}
		}
		return []byte{0}
	}
	section := mesh.Tell(mesh.SectionRoom, say, func(from ID, said []byte) error {
		n.setFull(from, len(said) > 0 && said[0] == 1)
		return nil
	})
	section.Lost = func(from ID) { n.setFull(from, false) } // nobody knows
	return section
}

func (n *Node) setFull(id ID, full bool) {
	n.room.mu.Lock()
	_, was := n.room.full[id]
	switch {
	case full && n.room.full == nil:
		n.room.full = map[ID]struct{}{id: {}}
	case full:
		n.room.full[id] = struct{}{}
	default:
		delete(n.room.full, id)
	}
	n.room.mu.Unlock()
	if was != full {
		n.setCrowded()
	}
}

// setCrowded tells the store which partitions have a holder, beside this node,
// that has no room. Sessions do not grow there: what the copy could not take
// would be lost with this node.
func (n *Node) setCrowded() {
	if n.store == nil {
		return
	}
	n.room.mu.Lock()
	defer n.room.mu.Unlock()
	full := make(map[string]bool)
	for id := range n.room.full {
		full[id.String()] = true
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

package repair

import (
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/ring"
)

// room knows which other members have said, in their last heartbeat, that they
// have no room for copies.
type room struct {
	mu   sync.Mutex // held while the store is told: of two looks at once the later one counts
	full map[member.ID]struct{}
}

// RoomSection tells members whether there is room for copies here: u8 1 for
// none.
func (r *Repairer) RoomSection() mesh.Section {
	say := func() []byte {
		if r.cfg.Store != nil && r.cfg.Store.Full() {
			return []byte{1}
		}
		return []byte{0}
	}
	section := mesh.Tell(mesh.SectionRoom, say, func(from member.ID, said []byte) error {
		r.setFull(from, len(said) > 0 && said[0] == 1)
		return nil
	})
	section.Lost = func(from member.ID) { r.setFull(from, false) } // nobody knows
	return section
}

func (r *Repairer) setFull(id member.ID, full bool) {
	r.room.mu.Lock()
	_, was := r.room.full[id]
	switch {
	case full && r.room.full == nil:
		r.room.full = map[member.ID]struct{}{id: {}}
	case full:
		r.room.full[id] = struct{}{}
	default:
		delete(r.room.full, id)
	}
	r.room.mu.Unlock()
	if was != full {
		r.setCrowded()
	}
}

// setCrowded tells the store which partitions have a holder, beside this node,
// that has no room. Sessions do not grow there: what the copy could not take
// would be lost with this node.
func (r *Repairer) setCrowded() {
	if r.cfg.Store == nil {
		return
	}
	r.room.mu.Lock()
	defer r.room.mu.Unlock()
	full := make(map[string]bool)
	view := r.cfg.View()
	for id := range r.room.full {
		if view.Member(id) == nil { // heard late, from one that is gone for good
			delete(r.room.full, id)
			continue
		}
		full[id.String()] = true
	}
	for p := range ring.Partitions {
		r.cfg.Store.SetCrowded(p, slices.ContainsFunc(view.CopyHolders(p), func(id string) bool { return full[id] }))
	}
}

// FullAgain is how often the log says that memory is short.
const FullAgain = time.Minute

// TellFull says in the log that there is no room for sessions, if it was last
// said long enough ago, and returns when it was, since the node's start.
func (r *Repairer) TellFull(last time.Duration) time.Duration {
	now := r.cfg.Clock.Since()
	if !r.cfg.Store.Full() || now-last < FullAgain {
		return last
	}
	s := r.cfg.Store.Stats()
	r.cfg.Log.Warn("memory is full: sessions of this node, and those of which it has the copy, do not grow", "sessions", s.Sessions, "bytes", s.Bytes-s.Dead, "limit", s.Limit)
	r.cfg.Events.Add("full", "sessions", s.Sessions, "bytes", s.Bytes-s.Dead)
	return now
}

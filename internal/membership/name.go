package membership

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// nameCheck is how often a member looks which other process has its name, while
// gossip knows of one.
const nameCheck = time.Second

// goesBefore says whether another boot of this member's name keeps it: one that
// takes part already goes before one that is about to, and of two alike the
// newer one does, so that never both stop.
func (m *Members) goesBefore(other heard) bool {
	theirs, ours := other.Meta.State > member.StateJoining, m.State() > member.StateJoining
	if theirs != ours {
		return theirs
	}
	return other.ID.Boot > m.cfg.Self.Boot
}

// CheckName makes sure that no running process keeps this member's name from
// it. A boot that gossip still knows but that does not answer is this member's
// own past.
func (m *Members) CheckName(ctx context.Context) error {
	_, err := m.findOther(ctx)
	return err
}

// findOther returns the running process that keeps this member's name from it,
// and an error that says so; none if there is none.
func (m *Members) findOther(ctx context.Context) (member.ID, error) {
	if planted.Is(planted.SameName) {
		return member.ID{}, nil
	}
	for _, h := range m.gossip.snapshot() {
		if !h.Alive || h.ID.Name != m.cfg.Self.Name || h.Meta.Peer == "" || !m.goesBefore(h) {
			continue
		}
		if m.cfg.Answers(ctx, h.ID, h.Meta.Peer) {
			return h.ID, fmt.Errorf("name %q: taken by a running member at %s (boot %s, pid %d): give each member a name of its own",
				h.ID.Name, h.Meta.Peer, h.ID.Boot, h.Meta.Pid)
		}
	}
	return member.ID{}, nil
}

// WatchName calls taken when this member meets another process with its name
// that goes before it: one that was started at the same moment, or on the other
// side of a cut. Two with one name would take each other's partitions for ever.
// From then on the other one goes by the name in this member's views, too, so
// that this one sees who owns and holds what as all others do. It returns after
// taken has, or when ctx ends.
func (m *Members) WatchName(ctx context.Context, taken func(error)) {
	tick := time.NewTicker(nameCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if other, err := m.findOther(ctx); err != nil && ctx.Err() == nil {
			m.mu.Lock()
			m.replacedBy = other
			m.mu.Unlock()
			m.Recheck()
			taken(err)
			return
		}
	}
}

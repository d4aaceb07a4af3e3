package node

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// nameCheck is how often a member looks who else has its name, while gossip
// knows of somebody.
const nameCheck = time.Second

// errNameTaken says that a running process has this member's name.
type errNameTaken struct{ by heard }

func (e *errNameTaken) Error() string {
	return fmt.Sprintf("-name %q: taken by a running member at %s (boot %s, pid %d): give each member a name of its own",
		e.by.ID.Name, e.by.Meta.Peer, e.by.ID.Boot, e.by.Meta.Pid)
}

// goesBefore says whether another boot of this member's name keeps it: one that
// takes part already goes before one that is about to, and of two alike the
// newer one does, so that never both stop.
func (n *Node) goesBefore(other heard) bool {
	theirs, ours := other.Meta.State > StateJoining, n.members.state() > StateJoining
	if theirs != ours {
		return theirs
	}
	return other.ID.Boot > n.id.Boot
}

// checkName makes sure that no running process keeps this member's name from
// it. A boot that gossip still knows but that does not answer is this member's
// own past.
func (n *Node) checkName(ctx context.Context) error {
	if planted.Is(planted.SameName) {
		return nil
	}
	for _, h := range n.gossip.snapshot() {
		if !h.Alive || h.ID.Name != n.id.Name || h.Meta.Peer == "" || !n.goesBefore(h) {
			continue
		}
		other := newLink(n, &Member{ID: h.ID, Meta: h.Meta})
		p, err := other.connect(ctx)
		switch {
		case err == nil:
			p.Close()
		case !turnedAway(err): // which that boot itself does while gossip of this one is on its way
			continue
		}
		return &errNameTaken{h}
	}
	return nil
}

// watchName stops this member when it meets another process with its name that
// goes before it: one that was started at the same moment, or on the other side
// of a cut. Two with one name would take each other's partitions for ever.
func (n *Node) watchName(ctx context.Context) {
	tick := time.NewTicker(nameCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := n.checkName(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("stopping", "error", err)
			n.cancel(err)
			return
		}
	}
}

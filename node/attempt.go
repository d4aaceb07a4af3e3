package node

import (
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
)

// transitTime is how long a forwarded write may take to arrive. A process that is
// frozen while it forwards one goes on to send it, and a cut network to deliver
// it; a client that has given it up by then has had to wait for so long.
const transitTime = time.Second

// late says whether a forwarded request must not be run any more. Its forwarder
// tries again, unless it has stood still.
func (n *Node) late(r *request) error {
	if took := n.clock.Now().Sub(r.Sent); took > transitTime && r.Fenced && r.work.writes() {
		return fmt.Errorf("%w: it took %v to arrive", attempt.ErrTooLate, took.Round(time.Millisecond))
	}
	return n.tooLate(r.Attempt)
}

// stale says whether an attempt may have waited here while this process stood
// still. Whoever sent it may have sent it elsewhere long ago, and gone on: to
// pass it on now could undo what has followed.
func (n *Node) stale(a attempt.Attempt) bool { return a.Fenced && n.owner.StoodStill(a.Sent) }

package dispatch

import (
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
)

// transitTime is how long a forwarded write may take to arrive. A process that
// is frozen while it forwards one goes on to send it, and a cut network to
// deliver it; a client that has given it up by then has had to wait for so
// long.
const transitTime = time.Second

// late says whether a forwarded request must not be run any more. Its forwarder
// tries again, unless it has stood still.
func (d *Dispatcher) late(r *request) error {
	if took := d.cfg.Clock.Now().Sub(r.Sent); took > transitTime && r.Fenced && r.work.writes() {
		return fmt.Errorf("%w: it took %v to arrive", attempt.ErrTooLate, took.Round(time.Millisecond))
	}
	return d.TooLate(r.Attempt)
}

// stale says whether an attempt may have waited here while this process stood
// still. Whoever sent it may have sent it elsewhere long ago, and gone on: to
// pass it on now could undo what has followed.
func (d *Dispatcher) stale(a attempt.Attempt) bool { return a.Fenced && d.cfg.Owner.StoodStill(a.Sent) }

// Overtaken says why an attempt that has come to this member must not be passed
// on to the application any more, nil if it may.
func (d *Dispatcher) Overtaken(a attempt.Attempt) error {
	if d.stale(a.Named(d.cfg.Clock.Now(), serveTimeout)) {
		return errOvertaken
	}
	return nil
}

package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
)

// fenceTime is how long after it was sent a request may reach a member, from a
// router or from another member. It is what a router waits for an answer.
const fenceTime = 5 * time.Second

// attempt says which attempt of which operation a request is, so that one that
// was held back, by a cut network or in the socket of a frozen process, is not
// run after another has been, and after what its writer has done since.
type attempt struct {
	// id names the operation over all its attempts, and deadline ends them: it
	// must not be run after that, for its writer has gone on. Until a request
	// has either they are zero.
	id       uint64
	deadline time.Time
	// sent is when it was sent, or read where nobody says more; zero for now.
	sent time.Time
	// repeat says that an earlier attempt was sent and not answered, so it may
	// have been run, and may yet arrive.
	repeat bool
	// fenced says that whoever sent it may have sent it elsewhere since: it is
	// not passed on by a member that was out of touch while it had it.
	fenced bool
}

// named returns a with an id and its times.
func (a attempt) named(now time.Time) attempt {
	if a.sent.IsZero() {
		a.sent = now
	}
	if a.id == 0 {
		a.id = rand.Uint64()
	}
	if limit := now.Add(serveTimeout); a.deadline.IsZero() || a.deadline.After(limit) {
		a.deadline = limit
	}
	return a
}

// fenceFor marks a request for a member:
//
//	<partition>/<epoch of the member's claim, 0 if it has none>/<deadline, unix ms by the member's clock>
func (n *Node) fenceFor(key string, t router.Target) string {
	p := ring.Partition(key)
	epoch := uint64(0)
	if d := n.owner.decide(p); d.Verdict == ownership.Forward && d.Owner == (ID{Name: t.Name, Boot: t.Boot}) {
		epoch = d.Epoch
	}
	deadline := n.clock.Now().Add(fenceTime)
	if l := n.mesh.Link(ID{Name: t.Name, Boot: t.Boot}); l != nil {
		deadline = deadline.Add(l.ClockOffset())
	}
	var room [48]byte
	fence := append(strconv.AppendInt(room[:0], int64(p), 10), '/')
	fence = append(strconv.AppendUint(fence, epoch, 10), '/')
	return string(strconv.AppendInt(fence, deadline.UnixMilli(), 10))
}

// received reads which attempt a request is that a member has passed on. An
// error says why it must not be run here; it wraps errTooLate or errOtherEpoch.
func (n *Node) received(r *http.Request, hop *router.Hop) (attempt, error) {
	a := attempt{fenced: true}
	fence := r.Header.Get(header.Fence)
	if fence == "" || hop == nil {
		return a, nil
	}
	p, epoch, deadline, err := parseFence(fence)
	if err != nil {
		return a, err
	}
	a.deadline, a.sent = deadline, deadline.Add(-fenceTime)
	if name := r.Header.Get(header.Attempt); name != "" {
		id, unanswered, err := router.ParseAttempt(name)
		if err != nil {
			return a, fmt.Errorf("%w: %w", errTooLate, err)
		}
		a.id, a.repeat = id, unanswered > 0
	}
	if err := n.tooLate(a); err != nil {
		return a, err
	}
	if !n.owner.gate.InForce(p, epoch) {
		return a, errOtherEpoch
	}
	return a, nil
}

// parseFence reads what fenceFor has written.
func parseFence(fence string) (p int, epoch uint64, deadline time.Time, err error) {
	part, rest, _ := strings.Cut(fence, "/")
	claim, until, _ := strings.Cut(rest, "/")
	p, err = strconv.Atoi(part)
	epoch, claimErr := strconv.ParseUint(claim, 10, 64)
	ms, untilErr := strconv.ParseInt(until, 10, 64)
	if err = errors.Join(err, claimErr, untilErr); err != nil || p < 0 || p >= ring.Partitions {
		return 0, 0, time.Time{}, fmt.Errorf("%w: %s is %.64q; <partition>/<epoch>/<unix ms> is accepted", errTooLate, header.Fence, fence)
	}
	return p, epoch, time.UnixMilli(ms), nil
}

// attemptOf returns what arrived has noted, or that of a request of which no
// router says anything.
func attemptOf(ctx context.Context) attempt {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok {
		return a.attempt
	}
	return attempt{fenced: true}
}

// transitTime is how long a forwarded write may take to arrive. A process that is
// frozen while it forwards one goes on to send it, and a cut network to deliver
// it; a client that has given it up by then has had to wait for so long.
const transitTime = time.Second

// late says whether a forwarded request must not be run any more. Its forwarder
// tries again, unless it has stood still.
func (n *Node) late(r *request) error {
	if took := n.clock.Now().Sub(r.sent); took > transitTime && r.fenced && r.work.writes() {
		return fmt.Errorf("%w: it took %v to arrive", errTooLate, took.Round(time.Millisecond))
	}
	return n.tooLate(r.attempt)
}

// stale says whether an attempt may have waited here while this process stood
// still. Whoever sent it may have sent it elsewhere long ago, and gone on: to
// pass it on now could undo what has followed.
func (n *Node) stale(a attempt) bool { return a.fenced && n.standstill.since(a.sent) }

package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// serveTimeout bounds one operation, waiting for a change of owner
	// included: a silent owner is declared dead within 1.4 s, and its
	// successor has claimed milliseconds later.
	serveTimeout = 3 * time.Second
	// recheck is how long an operation waits for news of its partition before
	// it looks again all the same.
	recheck = 20 * time.Millisecond
	// confirmTimeout bounds the wait of ack=replica and ack=all.
	confirmTimeout = 2 * time.Second
	// sealTimeout is how long a write that has its copies waits for news of the
	// claimant that it was told to: its heartbeats bring them, late on a busy
	// machine. A promise of which nothing is heard has lapsed before.
	sealTimeout = 2 * time.Second
	// deleteTimeout bounds how long a logout waits for the other copies.
	deleteTimeout = 250 * time.Millisecond
	// deleteBatchTime is what it waits longer for each waitBatch of sessions
	// that it ends, and maxDeleteTime the most of that.
	deleteBatchTime = 5 * time.Millisecond
	maxDeleteTime   = time.Second
	// maxHops is how often an operation is forwarded: once by a member whose
	// view is newer or older than the owner's, once more by the member that
	// was asked in vain.
	maxHops = 2
)

// request is one piece of work on its way through this member.
type request struct {
	work work
	ack  session.Ack
	part int
	hops int // how often it has been forwarded
	// epoch is that of the claim by which the forwarder took the receiver for
	// the owner, 0 if it went by the ring. A receiver with another claim has
	// been succeeded since, and perhaps become owner again.
	epoch uint64
	attempt.Attempt
}

// do runs work that has come in at an endpoint of this member, as that attempt.
func (d *Dispatcher) do(ctx context.Context, w work, ack session.Ack, a attempt.Attempt) (reply, error) {
	p := w.partition()
	if d.cfg.Owner.Gate().Phase(p) == ownership.Warm && !a.Repeat { // the usual case, without timers
		r, err := d.serve(ctx, p, w, ack)
		if !errors.Is(err, session.ErrNotServed) {
			return r, err
		}
		a.Repeat = errors.Is(err, errMade)
	}
	return d.dispatch(ctx, &request{work: w, ack: ack, part: p, Attempt: a.Named(d.cfg.Clock.Now(), serveTimeout)})
}

// dispatch is where local or forward is decided, for every endpoint and every
// kind of work. It goes round until the work has been done somewhere or its
// time is up, for ownership may move while it is on its way.
func (d *Dispatcher) dispatch(ctx context.Context, r *request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	var rep reply
	var err error
	ended := d.cfg.Pulse.Until(ctx, recheck, func() bool {
		rep, err = d.try(ctx, r)
		r.note(rep, err)
		return !again(err) || r.hops >= maxHops // whoever forwarded it last looks again
	})
	rep.made = r.Repeat
	switch {
	case ended != nil:
		d.count.unavailable.Add(1)
		kind := session.ErrUnavailable
		if r.Repeat {
			kind = session.ErrUncertain // an attempt may have been run
		}
		return d.reply(), fmt.Errorf("%s in partition %d: %w: %w", r.work.name(), r.part, kind, err)
	case r.Repeat && r.work.writes() && errors.Is(err, session.ErrUnavailable):
		// This attempt was not run, and another one may have been. So what
		// kept this one from it must not be found in the error: it would be
		// told as a refusal.
		err = fmt.Errorf("%w: %v", session.ErrUncertain, err)
	}
	return rep, err
}

// note takes in what came of an attempt: the next one repeats it if it may have
// been made, here or where it was forwarded to.
func (r *request) note(rep reply, err error) {
	r.Repeat = r.Repeat || rep.made || errors.Is(err, errUnanswered) || errors.Is(err, errMade)
}

var (
	// errNoOwner says that nobody serves a partition at this moment.
	errNoOwner = errors.New("nobody serves the partition yet")
	// errNotSent says that a forwarded operation has not reached its owner.
	errNotSent = errors.New("not forwarded")
	// errUnanswered says that a forwarded operation may have been run, and may
	// be run again: its repetition ends as it does.
	errUnanswered = errors.New("forwarded and not answered")
	// errLeaseOver says that this member may not answer without asking first.
	errLeaseOver = fmt.Errorf("the lease ran out: %w", session.ErrNotServed)
	// errMade says that this member has made a change for which it may not
	// answer: another one may serve by now. It is made again there.
	errMade = fmt.Errorf("made while the lease ran out: %w", session.ErrNotServed)
	// errOvertaken says that this member has been succeeded while it was out
	// of touch, and has not run the operation.
	errOvertaken = fmt.Errorf("%w: this member was out of touch and has been succeeded", session.ErrUnavailable)
	// errUnverified says that a key is not here, and may be on a member that
	// cannot be reached.
	errUnverified = fmt.Errorf("%w: no member that held the partition can be reached", session.ErrUnavailable)
)

// again says whether an operation may succeed elsewhere or later.
func again(err error) bool {
	for _, kind := range []error{session.ErrNotServed, errNoOwner, mesh.ErrNoLink, errNotSent, errUnanswered} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// try makes one attempt at the owner, here or there.
func (d *Dispatcher) try(ctx context.Context, r *request) (reply, error) {
	v := d.cfg.Owner.Decide(r.part)
	switch {
	case v.Here():
		if r.epoch != 0 && r.epoch != v.Epoch {
			return d.reply(), attempt.ErrOtherEpoch
		}
		return d.serveOnce(ctx, r)
	case v.Verdict == ownership.Wait:
		return d.reply(), errNoOwner
	case !d.cfg.Owner.Gate().InForce(r.part, r.epoch):
		return d.reply(), attempt.ErrOtherEpoch
	case r.hops >= maxHops:
		return d.reply(), fmt.Errorf("after %d hops: %w", r.hops, session.ErrNotServed)
	case r.work.writes() && d.stale(r.Attempt):
		d.count.refusedLate.Add(1)
		return d.reply(), fmt.Errorf("%s: %w", r.work.name(), errOvertaken)
	default:
		return d.forward(ctx, v, r)
	}
}

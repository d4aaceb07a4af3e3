package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/session"
)

// serveOnce is serveLeased for work of which other attempts may be under way:
// this one may have waited here, or gone astray and come back, while another
// was run and answered.
func (d *Dispatcher) serveOnce(ctx context.Context, r *request) (reply, error) {
	if done := d.attempts.outcome(ctx, r); done != nil {
		return done.to(r.work)
	}
	if err := d.TooLate(r.Attempt); err != nil {
		d.count.refusedLate.Add(1)
		return d.reply(), fmt.Errorf("%s: %w", r.work.name(), err)
	}
	ended := d.attempts.begin(r, d.cfg.Clock.Now())
	defer ended()
	rep, err := d.serveLeased(ctx, r)
	if r.Repeat && r.work.writes() && found(err) {
		// By what is there now. What was there when an earlier attempt came is
		// not known: it may have been made, and undone since.
		err = fmt.Errorf("%w: %v", session.ErrUncertain, err)
	}
	d.attempts.note(r, rep, err)
	return rep, err
}

// found says whether a write was refused for what was found.
func found(err error) bool {
	for _, kind := range []error{session.ErrNotFound, session.ErrDeleted, session.ErrPrecondition, session.ErrType, session.ErrTooLarge, session.ErrFull} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// serveLeased is serve for an owner that may have to ask first, and to fetch.
func (d *Dispatcher) serveLeased(ctx context.Context, r *request) (reply, error) {
	degraded, asked := false, false
	if !d.cfg.Owner.Leased() {
		var err error
		if degraded, err = d.cfg.Owner.Ask(ctx); err != nil {
			return d.reply(), err
		}
		asked = true
	}
	switch v := d.cfg.Owner.Decide(r.part); {
	case v.Verdict == ownership.FetchFirst:
		if err := d.cfg.Repairer.FetchThrough(ctx, r.part, r.work.keys); err != nil {
			return d.reply(), fmt.Errorf("%w: %w", errNoOwner, err)
		}
	case v.Verdict == ownership.Serve:
	case asked && r.Fenced && r.work.writes():
		// This member was out of touch and has been succeeded. Whoever sent
		// the operation may have sent it to the successor long ago, and gone
		// on: to run it there now could undo what has followed.
		return d.reply(), fmt.Errorf("%s: %w", r.work.name(), errOvertaken)
	default:
		return d.reply(), errNoOwner // given up while asking
	}
	if degraded {
		rep, err := d.serveDegraded(ctx, r.part, r.work)
		rep.Degraded = true
		return rep, err
	}
	return d.serve(ctx, r.part, r.work, r.ack)
}

// serve does the work on this node's store, and before it brings the sessions
// there that have to be taken over for it.
func (d *Dispatcher) serve(ctx context.Context, p int, w work, ack session.Ack) (reply, error) {
	if err := d.takeOver(ctx, p, w); err != nil {
		return d.reply(), err
	}
	return d.serveKnown(ctx, p, w, ack)
}

// serveKnown does the work on this node's store and sees to its copies.
func (d *Dispatcher) serveKnown(ctx context.Context, p int, w work, ack session.Ack) (reply, error) {
	if w.mayWait() {
		d.deleting[p].Add(1)
		defer d.deleting[p].Add(-1)
	}
	var at time.Time // reads take the store's own
	nowhere := false
	if w.writes() {
		if err := d.admit(ctx, p, w); err != nil {
			return reply{}, err
		}
		nowhere = d.nowhere(ctx, p, w)
		// First the time, then the lease: if this process stands still behind
		// the look at its lease, the write is as old as that, and gives way to
		// all that a successor has acknowledged.
		at = d.cfg.Clock.Now()
		if planted.Is(planted.StampedLate) {
			at = at.Add(time.Hour)
		}
	}
	v := d.cfg.Owner.Decide(p)
	if !v.Leased {
		return d.reply(), errLeaseOver
	}
	unverified := v.Unverified
	if unverified && d.cfg.Mode == ownership.Majority && (w.writes() && !w.repeatable() || w.unmarked() && looksAny(w)) {
		// It follows on what is found: of two such writes only one may be made,
		// and the other may have been where it is not seen. Or it tells of what
		// is found, and cannot tell that there may be newer.
		return d.serveUnverified(p, w, reply{}, errUnverified)
	}
	r, err := d.run(ctx, w, at, sight{unverified: unverified, nowhere: nowhere})
	after := d.cfg.Owner.Decide(p)
	held := after.Leased
	if len(r.changed) > 0 {
		// The partition may have been given up since, to a claimant who was
		// told of this write: the digest that it got was taken behind the
		// partition's lock. A read that held no lock may have come after that.
		held = d.cfg.Owner.Leased()
	}
	if !held && !planted.Is(planted.LeaseSeenOnce) || !unverified && after.Unverified {
		return d.overtaken(p, w, r)
	}
	if unverified {
		r, err = d.serveUnverified(p, w, r, err)
		if err != nil || len(r.changed) == 0 {
			return r, err
		}
		// What others hold is not known, but those who are reached can take a
		// copy of this.
		r, err = d.copyOut(ctx, p, v.Epoch, w, r, ack)
		r.Degraded, r.Unconfirmed = true, true
		return r, err
	}
	r.Node, r.Ring, r.Degraded = d.cfg.Self.Name, d.cfg.View().Table.Fingerprint(), d.cfg.Owner.Gate().Alone()
	if err != nil {
		return r, err
	}
	d.count.served.Add(1)
	if r.Degraded {
		d.count.degraded.Add(1)
	}
	if len(r.changed) == 0 {
		return r, nil
	}
	return d.copyOut(ctx, p, v.Epoch, w, r, ack)
}

// looksAny says whether it matters to the work what is there.
func looksAny(w work) (any bool) {
	w.looks(func(string) { any = true })
	return any
}

// run runs the work.
func (d *Dispatcher) run(ctx context.Context, w work, at time.Time, s sight) (reply, error) {
	r, err := w.run(ctx, d, at, s)
	d.ended(&r)
	return r, err
}

// serveUnverified answers for a partition whose copies are all on members that
// cannot be reached: nobody knows what they hold, so a miss is no "not found".
func (d *Dispatcher) serveUnverified(p int, w work, r reply, err error) (reply, error) {
	r.Node, r.Ring, r.Degraded = d.cfg.Self.Name, d.cfg.View().Table.Fingerprint(), true
	if len(r.changed) > 0 {
		d.markAll(p, r)
		r.Unconfirmed = true
	}
	if errors.Is(err, errUnverified) {
		d.count.unverified.Add(1)
		return r, fmt.Errorf("%s in partition %d: %w", w.name(), p, err)
	}
	if err != nil {
		return r, err
	}
	d.count.served.Add(1)
	d.count.degraded.Add(1)
	return r, nil
}

// markAll says that the other copies of what has been changed are behind.
func (d *Dispatcher) markAll(p int, r reply) {
	holders := d.holders(p)
	for _, key := range r.changed {
		d.cfg.Replicator.Mark(holders, key)
	}
}

// overtaken deals with work during which the lease ran out, as when the process
// was stopped in the middle of it, or the partition changed hands: somebody
// else may have served it by then, so the answer would be a guess. What was
// written travels to the others, where merge decides, and the work is done
// again under a lease if that ends the same.
func (d *Dispatcher) overtaken(p int, w work, r reply) (reply, error) {
	if len(r.changed) > 0 {
		d.markAll(p, r)
		if !w.repeatable() {
			return d.reply(), fmt.Errorf("%s while the lease ran out: %w", w.name(), session.ErrUncertain)
		}
		return d.reply(), errMade
	}
	return d.reply(), errLeaseOver
}

// serveDegraded does the work although no other node can be reached. Its copies
// follow when one can be.
func (d *Dispatcher) serveDegraded(ctx context.Context, p int, w work) (reply, error) {
	if w.mayWait() {
		d.deleting[p].Add(1)
		defer d.deleting[p].Add(-1)
	}
	unverified := d.cfg.Owner.Decide(p).Unverified
	r, err := d.run(ctx, w, d.cfg.Clock.Now(), sight{unverified: unverified})
	if unverified {
		if r, err = d.serveUnverified(p, w, r, err); err != nil {
			return r, err
		}
		return d.save(ctx, w, r)
	}
	r.Node, r.Ring = d.cfg.Self.Name, d.cfg.View().Table.Fingerprint()
	if err != nil {
		return r, err
	}
	d.count.served.Add(1)
	d.count.degraded.Add(1)
	if len(r.changed) > 0 {
		d.markAll(p, r)
		r.Unconfirmed = len(d.cfg.View().CopyHolders(p)) > 0
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	return d.save(ctx, w, r)
}

func (d *Dispatcher) ackOf(ack session.Ack) session.Ack {
	if ack == session.AckDefault {
		return d.cfg.Ack
	}
	return ack
}

package dispatch

import (
	"errors"
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/session"
)

// Serve runs a forwarded request. One that a warm partition answers without
// waiting for anybody is run at once, which saves a goroutine's start.
func (d *Dispatcher) Serve(r *peer.Request) {
	in, err := decodeRequest(r.Payload)
	if err != nil {
		r.Fail(err)
		return
	}
	if err := d.late(in); err != nil {
		d.count.refusedLate.Add(1)
		d.answer(r, d.reply(), err)
		return
	}
	if !in.Repeat && !in.work.deletes() && d.light(in, len(r.Payload)) && d.cfg.Store.Free(in.part, in.work.writes()) && d.servesAtOnce(in) && !d.waits(in.work, in.ack) {
		rep, err := d.serve(r.Context(), in.part, in.work, in.ack)
		if !errors.Is(err, session.ErrNotServed) {
			d.answer(r, rep, err)
			return
		}
		in.Repeat = errors.Is(err, errMade)
	}
	ctx := r.Context()
	if _, batch := in.work.(*batchWork); batch || !in.work.mayWait() {
		ctx = r.Awaited() // what nobody waits for need not go on; a logout or a login does
	}
	started := d.cfg.Mesh.Apart(func() {
		rep, err := d.dispatch(ctx, in)
		if rep.Node == "" {
			rep.Node, rep.Ring = d.cfg.Self.Name, d.cfg.View().Table.Fingerprint()
		}
		d.answer(r, rep, err)
	})
	if !started {
		d.answer(r, d.reply(), fmt.Errorf("%w: %w", mesh.ErrBusy, errNoOwner))
	}
}

// servesAtOnce says whether a forwarded request has come to the owner that it
// was meant for, which needs to ask nobody.
func (d *Dispatcher) servesAtOnce(in *request) bool {
	v := d.cfg.Owner.Decide(in.part)
	return v.Verdict == ownership.Serve && v.Leased && (in.epoch == 0 || in.epoch == v.Epoch)
}

const (
	// lightRequest is the size of a forwarded request, and lightSession that of
	// a session in it, up to which what is done with them takes no longer than
	// a look-up, about.
	lightRequest = 16 << 10
	lightSession = 64 << 10
)

// light says whether a request takes so little time that those which come
// behind it on the link, heartbeats among them, may wait for it.
func (d *Dispatcher) light(in *request, size int) bool {
	light := size <= lightRequest
	whole := light && in.work.keys(func(key string) { light = light && d.cfg.Store.Weight(key) <= lightSession })
	return light && !whole
}

// waits says whether doing the work may take longer than a look-up.
func (d *Dispatcher) waits(w work, ack session.Ack) bool {
	if d.cfg.Upstream != nil && len(d.unknown(w)) > 0 {
		return true
	}
	if !w.writes() {
		return false
	}
	return w.mayWait() || d.ackOf(ack) != session.AckAsync || d.slow() || w.renews(d.cfg.Store)
}

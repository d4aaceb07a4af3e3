package node

import (
	"errors"
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/peer"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// inbound answers what other members ask, but heartbeats. It runs on the
// connection's reading goroutine: what may wait goes to a goroutine of its own.
type inbound struct{ node *Node }

// Serve implements peer.Handler.
func (h inbound) Serve(r *peer.Request) {
	n := h.node
	switch r.Type {
	case mesh.TypeRequest:
		h.request(r)
	case mesh.TypeClaim:
		h.claim(r)
	case mesh.TypeHolds:
		free := n.store.Free(ring.Partition(string(r.Payload)), false)
		n.mesh.AtOnce(r, free, func() { r.Reply(n.operator.ServeHolds(r.Payload)) })
	case mesh.TypeStats:
		n.mesh.AtOnce(r, false, func() { mesh.Answer(r)(n.operator.ServeStats()) })
	case mesh.TypeEvents:
		mesh.Answer(r)(n.operator.ServeEvents(r.Payload))
	case mesh.TypePublish:
		mesh.Answer(r)(n.pubsub.serve(r.Payload))
	case mesh.TypeWait:
		n.mesh.AtOnce(r, false, func() { mesh.Answer(r)(n.serveWait(r.Context(), r.Payload)) })
	default:
		reply, rest, err := n.replicator.ServeNow(r.Type, r.Payload)
		if rest == nil {
			mesh.Answer(r)(reply, err)
			return
		}
		n.mesh.AtOnce(r, false, func() { mesh.Answer(r)(rest()) })
	}
}

// claim answers a claim. What it gives up is shut here and now, so that nothing
// that comes after it on the connection is served; the answer waits apart for
// operations that hold one of the partitions.
func (h inbound) claim(r *peer.Request) {
	if r.From.Role != string(RoleNode) {
		r.Fail(fmt.Errorf("claim of a %s: a node's is accepted", r.From.Role))
		return
	}
	j, err := h.node.owner.Judge(ID{Name: r.From.Name, Boot: r.From.Boot}, r.Payload)
	if err != nil {
		r.Fail(err)
		return
	}
	h.node.mesh.AtOnce(r, j.Sum(0), func() {
		j.Sum(owner.Busy)
		r.Reply(j.Answer())
	})
}

// request runs a forwarded request. One that a warm partition answers without
// waiting for anybody is run at once, which saves a goroutine's start.
func (h inbound) request(r *peer.Request) {
	n := h.node
	in, err := decodeRequest(r.Payload)
	if err != nil {
		r.Fail(err)
		return
	}
	if err := n.late(in); err != nil {
		n.stats.refusedLate.Add(1)
		r.Reply(encodeReply(n.reply(), err))
		return
	}
	if !in.Repeat && n.light(in, len(r.Payload)) && n.store.Free(in.part, in.work.writes()) && n.servesAtOnce(in) && !n.waits(in.work, in.ack) {
		rep, err := n.serve(r.Context(), in.part, in.work, in.ack)
		if !errors.Is(err, session.ErrNotServed) {
			r.Reply(encodeReply(rep, err))
			return
		}
	}
	ctx := r.Context()
	if _, batch := in.work.(*batchWork); batch || !in.work.mayWait() {
		ctx = r.Awaited() // what nobody waits for need not go on; a logout or a login does
	}
	started := n.mesh.Apart(func() {
		rep, err := n.dispatch(ctx, in)
		if rep.Node == "" {
			rep.Node, rep.Ring = n.id.Name, n.View().Table.Fingerprint()
		}
		r.Reply(encodeReply(rep, err))
	})
	if !started {
		r.Reply(encodeReply(n.reply(), fmt.Errorf("%w: %w", mesh.ErrBusy, errNoOwner)))
	}
}

// servesAtOnce says whether a forwarded request has come to the owner that it
// was meant for, which needs to ask nobody.
func (n *Node) servesAtOnce(in *request) bool {
	d := n.owner.Decide(in.part)
	return d.Verdict == ownership.Serve && d.Leased && (in.epoch == 0 || in.epoch == d.Epoch)
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
func (n *Node) light(in *request, size int) bool {
	light := size <= lightRequest
	whole := light && in.work.keys(func(key string) { light = light && n.store.Weight(key) <= lightSession })
	return light && !whole
}

// waits says whether doing the work may take longer than a look-up.
func (n *Node) waits(w work, ack session.Ack) bool {
	if !w.writes() {
		return false
	}
	return w.mayWait() || n.ackOf(ack) != session.AckAsync || n.slow()
}

package node

import (
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/peer"
	"github.com/seed-95a32959/holdfast/ring"
)

// inbound answers what other members ask, but heartbeats. It runs on the
// connection's reading goroutine: what may wait goes to a goroutine of its own.
type inbound struct{ node *Node }

// Serve implements peer.Handler.
func (h inbound) Serve(r *peer.Request) {
	n := h.node
	switch r.Type {
	case mesh.TypeRequest:
		n.dispatcher.Serve(r)
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
		mesh.Answer(r)(n.pubsub.Serve(r.Payload))
	case mesh.TypeWait:
		n.mesh.AtOnce(r, false, func() { mesh.Answer(r)(n.cluster.ServeWait(r.Context(), r.Payload)) })
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

// Package inbound answers what other members ask of a node at its peer port,
// heartbeats aside, and bounds how long each such frame may be.
//
// The life of a request. A connection's reading goroutine hands each frame to
// Handler.Serve, in the order in which they came. What is answered from memory
// is answered there. What may wait, for a partition's lock or another member,
// goes on in a goroutine of its own, of which the mesh has a bounded number.
package inbound

import (
	"errors"
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/absence"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/door/admin"
	"github.com/seed-95a32959/holdfast/internal/door/rediscluster"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/pubsub"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Handler gives each frame to the part of the node that answers it. All parts
// are set before the node takes connections; a router takes none.
type Handler struct {
	Mesh       *mesh.Mesh
	Store      *session.Store
	Owner      *owner.Owner
	Dispatcher *dispatch.Dispatcher
	Replicator *replication.Replicator
	PubSub     *pubsub.PubSub
	Cluster    *rediscluster.Cluster
	Absence    *absence.Absence
	Operator   *admin.Endpoint
}

// Serve implements peer.Handler. It does not wait.
func (h *Handler) Serve(r *peer.Request) {
	switch r.Type {
	case mesh.TypeRequest:
		h.Dispatcher.Serve(r)
	case mesh.TypeClaim:
		h.claim(r)
	case mesh.TypePropose, mesh.TypeGivenUp:
		h.word(r)
	case mesh.TypeHolds:
		free := h.Store.Free(ring.Partition(string(r.Payload)), false)
		h.Mesh.AtOnce(r, free, func() { r.Reply(h.Operator.ServeHolds(r.Payload)) })
	case mesh.TypeStats:
		h.Mesh.AtOnce(r, false, func() { mesh.Answer(r)(h.Operator.ServeStats()) })
	case mesh.TypeEvents:
		mesh.Answer(r)(h.Operator.ServeEvents(r.Payload))
	case mesh.TypeForget:
		mesh.Answer(r)(h.Operator.ServeForget(r.Payload))
	case mesh.TypePublish:
		mesh.Answer(r)(h.PubSub.Serve(r.Payload))
	case mesh.TypeWait:
		h.Mesh.AtOnce(r, false, func() { mesh.Answer(r)(h.Cluster.ServeWait(r.Context(), r.Payload)) })
	case replication.TypeList, replication.TypeListPage, replication.TypePull:
		if h.Absence.Away() {
			r.Fail(errAway)
			return
		}
		h.replicate(r)
	default:
		h.replicate(r)
	}
}

// errAway is what is said of copies that may be of sessions which have ended.
var errAway = errors.New("copies of a node that was away for long, and has not asked the others yet which of them are of use")

// replicate gives a frame to the replicator.
func (h *Handler) replicate(r *peer.Request) {
	reply, rest, err := h.Replicator.ServeNow(asker{h.Mesh, member.ID{Name: r.From.Name, Boot: r.From.Boot}}, r.Type, r.Payload)
	if rest == nil {
		mesh.Answer(r)(reply, err)
		return
	}
	h.Mesh.AtOnce(r, false, func() { mesh.Answer(r)(rest()) })
}

// asker is who has sent a frame.
type asker struct {
	mesh *mesh.Mesh
	id   member.ID
}

// ReadsMoved implements replication.Reader.
func (a asker) ReadsMoved() bool { return a.mesh.Speaks(a.id, member.WireMoved) }

// word takes in what nodes say of claims and of who counts. It waits for
// nothing.
func (h *Handler) word(r *peer.Request) {
	from := member.ID{Name: r.From.Name, Boot: r.From.Boot}
	switch {
	case r.From.Role != string(member.RoleNode):
		r.Fail(fmt.Errorf("word of a %s: a node's is accepted", r.From.Role))
	case r.Type == mesh.TypePropose:
		mesh.Answer(r)(h.Owner.Vote(from, r.Payload))
	default:
		mesh.Answer(r)(nil, h.Owner.GivenUp(from, r.Payload))
	}
}

// claim answers a claim. What it gives up is shut here and now, so that nothing
// that comes after it on the connection is served; the answer waits apart for
// operations that hold one of the partitions.
func (h *Handler) claim(r *peer.Request) {
	if r.From.Role != string(member.RoleNode) {
		r.Fail(fmt.Errorf("claim of a %s: a node's is accepted", r.From.Role))
		return
	}
	j, err := h.Owner.Judge(member.ID{Name: r.From.Name, Boot: r.From.Boot}, r.Payload)
	if err != nil {
		r.Fail(err)
		return
	}
	h.Mesh.AtOnce(r, j.Sum(0), func() {
		j.Sum(owner.Busy)
		r.Reply(j.Answer())
	})
}

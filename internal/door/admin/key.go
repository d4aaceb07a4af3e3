package admin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// holdsTimeout bounds how long a question about one key waits for a member.
const holdsTimeout = 300 * time.Millisecond

// key answers where a key belongs, and what each node holds of it.
func (e *Endpoint) key(w http.ResponseWriter, r *http.Request, view *member.View) {
	key := r.URL.Query().Get("key")
	if key == "" || len(key) > session.MaxKey {
		problem.Write(w, http.StatusBadRequest, "bad-key", "The key cannot be used", fmt.Sprintf("key of %d bytes: accepted are 1 to %d", len(key), session.MaxKey))
		return
	}
	p := ring.Partition(key)
	writeJSON(w, http.StatusOK, adminapi.Key{
		Key: key, Slot: ring.Slot(key), Partition: p, Owner: view.Table.Owner(p), Successors: orEmpty(view.Table.Successors(p)),
		Fingerprint: view.Table.Fingerprint(), Holders: e.holders(r.Context(), view, key),
	})
}

// holders asks every node what it holds of key.
func (e *Endpoint) holders(ctx context.Context, view *member.View, key string) []adminapi.Holding {
	ctx, cancel := context.WithTimeout(ctx, holdsTimeout)
	defer cancel()
	nodes := view.Nodes()
	answers := make([]adminapi.Holding, len(nodes))
	var asking sync.WaitGroup
	for i, m := range nodes {
		asking.Go(func() {
			h, err := e.holdsAt(ctx, m.ID, key)
			if err != nil {
				answers[i] = adminapi.Holding{Name: m.Name, State: "silent"}
				return
			}
			answers[i] = h.answer(m.Name)
		})
	}
	asking.Wait()
	return answers
}

func (e *Endpoint) holdsAt(ctx context.Context, id member.ID, key string) (holding, error) {
	if id == e.cfg.Self {
		return e.holds(key), nil
	}
	b, err := e.cfg.Links.Ask(ctx, id, mesh.TypeHolds, []byte(key))
	if err != nil {
		return holding{}, err
	}
	return decodeHolding(b)
}

// ServeHolds answers what this node holds of a key, to an endpoint elsewhere
// that asks with mesh.TypeHolds. It waits for an operation that holds the
// partition.
func (e *Endpoint) ServeHolds(key []byte) []byte { return e.holds(string(key)).encode() }

func (e *Endpoint) holds(key string) holding {
	if e.cfg.Node == nil {
		return holding{}
	}
	rec := e.cfg.Node.Store.Peek(key)
	switch {
	case rec == nil:
		return holding{}
	case rec.Dead():
		return holding{2, uint64(rec.Version()), rec.Hash()}
	default:
		return holding{1, uint64(rec.Version()), rec.Hash()}
	}
}

// holding is what a node has of one key: u8 state | u64 version | u64 hash.
type holding struct {
	state         byte // 0 none, 1 live, 2 tombstone
	version, hash uint64
}

func (h holding) encode() []byte {
	return order.AppendUint64(order.AppendUint64([]byte{h.state}, h.version), h.hash)
}

func decodeHolding(b []byte) (holding, error) {
	if len(b) != 17 || b[0] > 2 {
		return holding{}, fmt.Errorf("answer of %d bytes about a key: 17 are accepted", len(b))
	}
	return holding{b[0], order.Uint64(b[1:]), order.Uint64(b[9:])}, nil
}

func (h holding) answer(name string) adminapi.Holding {
	a := adminapi.Holding{Name: name, State: [...]string{"none", "live", "deleted"}[h.state]}
	if h.state != 0 {
		a.Version, a.Hash = fmt.Sprintf("%016x", h.version), fmt.Sprintf("%016x", h.hash)
	}
	return a
}

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/admin"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// holdsTimeout bounds how long a question about one key waits for a member.
const holdsTimeout = 300 * time.Millisecond

// adminHandler is the operator's door. GET changes nothing.
func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	n.handlePages(mux)
	mux.HandleFunc("GET /admin/ring", n.adminRing)
	mux.HandleFunc("GET /admin/cluster", n.adminCluster)
	mux.HandleFunc("GET /admin/members", n.adminMembers)
	mux.HandleFunc("GET /admin/stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, n.statsAnswer()) })
	mux.HandleFunc("GET /admin/events", n.adminEvents)
	mux.HandleFunc("POST /admin/drain", n.adminDrain)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", n.adminReady)
	handleProfiles(mux)
	return n.guardAdmin(mux)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		problem.Write(w, http.StatusInternalServerError, "internal", "The answer could not be written", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // fails only when the client has left
}

// ringMember is a member as /admin/ring has it.
func (n *Node) ringMember(view *View, m *Member) admin.Member {
	state := m.State.String()
	switch {
	case m.Gone:
		state = "gone"
	case !m.Up:
		state = "superseded"
	}
	owned := 0
	if m.Serves() {
		owned = view.Table.Owned(m.Name)
	}
	return admin.Member{
		Name: m.Name, Boot: m.Boot, Role: string(m.Role), State: state, Zone: m.Zone, HTTP: m.HTTP, Admin: m.Admin, RESP: m.RESP,
		Peer: m.Peer, Gossip: m.Gossip, Pid: m.Pid, Partitions: owned, Share: float64(owned) / ring.Partitions,
	}
}

func (n *Node) adminRing(w http.ResponseWriter, r *http.Request) {
	view := n.View()
	if r.URL.Query().Has("key") {
		n.adminKey(w, r, view)
		return
	}
	a := admin.Ring{
		Fingerprint: view.Table.Fingerprint(), Copies: n.cfg.Copies,
		Members: []admin.Member{}, Partitions: []admin.Partition{},
	}
	for _, m := range view.Members {
		if m.Up {
			a.Members = append(a.Members, n.ringMember(view, m))
		}
	}
	if len(view.Table.Members()) > 0 {
		for p := range ring.Partitions {
			a.Partitions = append(a.Partitions, admin.Partition{ID: p, Owner: view.Table.Owner(p), Successors: orEmpty(view.Table.Successors(p))})
		}
	}
	writeJSON(w, http.StatusOK, a)
}

// orEmpty makes an empty list of nil, which JSON would show as null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (n *Node) adminKey(w http.ResponseWriter, r *http.Request, view *View) {
	key := r.URL.Query().Get("key")
	if key == "" || len(key) > session.MaxKey {
		problem.Write(w, http.StatusBadRequest, "bad-key", "The key cannot be used", fmt.Sprintf("key of %d bytes: accepted are 1 to %d", len(key), session.MaxKey))
		return
	}
	p := ring.Partition(key)
	writeJSON(w, http.StatusOK, admin.Key{
		Key: key, Slot: ring.Slot(key), Partition: p, Owner: view.Table.Owner(p), Successors: orEmpty(view.Table.Successors(p)),
		Fingerprint: view.Table.Fingerprint(), Holders: n.holders(r.Context(), view, key),
	})
}

// holders asks every node what it holds of key.
func (n *Node) holders(ctx context.Context, view *View, key string) []admin.Holding {
	ctx, cancel := context.WithTimeout(ctx, holdsTimeout)
	defer cancel()
	nodes := view.Nodes()
	answers := make([]admin.Holding, len(nodes))
	var wg sync.WaitGroup
	for i, m := range nodes {
		wg.Go(func() {
			h, err := n.holdsAt(ctx, m, key)
			if err != nil {
				answers[i] = admin.Holding{Name: m.Name, State: "silent"}
				return
			}
			answers[i] = h.answer(m.Name)
		})
	}
	wg.Wait()
	return answers
}

func (n *Node) holdsAt(ctx context.Context, m *Member, key string) (holding, error) {
	if m.ID == n.id {
		return n.holds(key), nil
	}
	l := n.mesh.Link(m.ID)
	if l == nil {
		return holding{}, mesh.ErrNoLink
	}
	b, err := l.Call(ctx, mesh.TypeHolds, []byte(key))
	if err != nil {
		return holding{}, err
	}
	return decodeHolding(b)
}

// holding is what a node has of one key: u8 state | u64 version | u64 hash.
type holding struct {
	state         byte // 0 none, 1 live, 2 tombstone
	version, hash uint64
}

func (n *Node) holds(key string) holding {
	if n.store == nil {
		return holding{}
	}
	rec := n.store.Peek(key)
	switch {
	case rec == nil:
		return holding{}
	case rec.Dead():
		return holding{2, uint64(rec.Version()), rec.Hash()}
	default:
		return holding{1, uint64(rec.Version()), rec.Hash()}
	}
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

func (h holding) answer(name string) admin.Holding {
	a := admin.Holding{Name: name, State: [...]string{"none", "live", "deleted"}[h.state]}
	if h.state != 0 {
		a.Version, a.Hash = fmt.Sprintf("%016x", h.version), fmt.Sprintf("%016x", h.hash)
	}
	return a
}

func (n *Node) adminMembers(w http.ResponseWriter, _ *http.Request) {
	view := n.View()
	list := []admin.SeenMember{}
	for _, m := range view.Members {
		list = append(list, n.memberAnswer(view, m))
	}
	writeJSON(w, http.StatusOK, list)
}

func (n *Node) memberAnswer(view *View, m *Member) admin.SeenMember {
	a := admin.SeenMember{Member: n.ringMember(view, m), Link: "none", LastHeard: -1}
	l := n.mesh.Link(m.ID)
	switch {
	case m.ID == n.id:
		a.Link, a.LastHeard = "self", 0
	case l != nil:
		a.Link, a.Ring = "down", l.Ring()
		if l.Connected() {
			a.Link = "up"
		}
		a.ClockOffset = float64(l.ClockOffset().Microseconds()) / 1000
		if heard := l.LastHeard(); heard > 0 {
			a.LastHeard = float64((n.since() - heard).Microseconds()) / 1000
		}
		if n.replicator != nil {
			dirty, age := n.replicator.LagOf(m.ID.String())
			a.Dirty, a.Lag = dirty, float64(age.Microseconds())/1000
		}
	}
	return a
}

// adminReady says whether requests should be sent here: the member takes part,
// nothing that it owns is incomplete, and its copies are where they should be.
func (n *Node) adminReady(w http.ResponseWriter, _ *http.Request) {
	var why []string
	view := n.View()
	switch {
	case n.members.State() != StateReady:
		why = append(why, "leaving")
	case len(view.Nodes()) == 0:
		why = append(why, "no node is ready")
	}
	if n.beside != nil && n.beside.isDown() {
		why = append(why, "the application does not answer")
	}
	if n.cfg.Role == RoleNode {
		if _, cold := n.owner.gate.Counts(); cold > 0 {
			why = append(why, fmt.Sprintf("%d partitions are cold", cold))
		}
		if below := n.keeper.belowTarget(); below > 0 {
			why = append(why, fmt.Sprintf("%d keys have too few copies", below))
		}
	}
	if len(why) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "why": why})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// adminDrain drains the node and stops it, and tells how it goes, a line of
// JSON each time something has changed. It goes on when the client leaves.
func (n *Node) adminDrain(w http.ResponseWriter, r *http.Request) {
	if n.cfg.Role != RoleNode {
		problem.Write(w, http.StatusConflict, "nothing-to-drain", "A router holds nothing", "SIGTERM stops it; drain takes the admin address of a node")
		return
	}
	// Asking again joins the drain under way.
	if left := len(n.View().Nodes()) - 1; left < n.cfg.Copies && r.URL.Query().Get("force") != "1" && n.members.State() != StateLeaving {
		problem.Write(w, http.StatusConflict, "too-few-nodes", "Too few nodes would remain",
			fmt.Sprintf("%d nodes would remain for %d copies of each session: start another one first, or force it (holdfast drain -force, ?force=1)", left, n.cfg.Copies))
		return
	}
	out := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/jsonl")
	w.WriteHeader(http.StatusAccepted)
	lines := make(chan DrainStatus, 1)
	ended := make(chan error, 1)
	n.group.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.DrainTimeout)
		defer cancel()
		ended <- n.Drain(ctx, func(s DrainStatus) {
			select {
			case lines <- s:
			default: // the client is slow, and the next line is as good
			}
		})
	})
	last := DrainStatus{-1, -1}
	for {
		select {
		case s := <-lines:
			if s != last {
				last = s
				_ = enc.Encode(admin.Drain{Partitions: new(s.Partitions), Unsynced: s.Unsynced}) // fails only when the client has left
				_ = out.Flush()
			}
		case err := <-ended:
			if err != nil {
				_ = enc.Encode(admin.Drain{Error: drainError(err), Unsynced: n.drainStatus().Unsynced})
			} else {
				_ = enc.Encode(admin.Drain{Done: true})
				defer n.stopSoon()
			}
			_ = out.Flush()
			return
		}
	}
}

// drainError is why a drain has failed, and what has become of the node: unlike
// after a signal, it is still there, and only the operator can say what next.
func drainError(err error) string {
	switch {
	case errors.Is(err, ErrStopped):
		return err.Error()
	case errors.Is(err, errNobodyThere):
		return err.Error() + "; the node stays, out of the ring: start another and drain again, or SIGTERM ends it without them"
	default:
		return err.Error() + "; the node stays, out of the ring: drain again, or SIGTERM ends it"
	}
}

// stopSoon stops the node from one of its own handlers, which stop waits for.
func (n *Node) stopSoon() {
	go n.stop(ErrStopped, true)
}

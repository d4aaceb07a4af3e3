package admin

import (
	"cmp"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

// ring answers who is on the ring and owns what, or where one key is.
func (e *Endpoint) ring(w http.ResponseWriter, r *http.Request) {
	view := e.cfg.View()
	if r.URL.Query().Has("key") {
		e.key(w, r, view)
		return
	}
	a := adminapi.Ring{
		Fingerprint: view.Table.Fingerprint(), Copies: view.Target(),
		Members: []adminapi.Member{}, Partitions: []adminapi.Partition{},
	}
	for _, m := range view.Members {
		if m.Up {
			a.Members = append(a.Members, onRing(view, m))
		}
	}
	if len(view.Table.Members()) > 0 {
		for p := range ring.Partitions {
			a.Partitions = append(a.Partitions, adminapi.Partition{ID: p, Owner: view.Table.Owner(p), Successors: orEmpty(view.Table.Successors(p))})
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

// superseded is the state of a boot whose member runs again.
const superseded = "superseded"

// onRing is a member as /admin/ring has it.
func onRing(view *member.View, m *member.Member) adminapi.Member {
	state := m.State.String()
	switch {
	case m.HasLeft():
		state = "left"
	case m.Gone:
		state = "gone"
	case m.Unreached:
		state = "unreached"
	case !m.Up:
		state = superseded
	case m.Unfit && m.State == member.StateReady:
		state = "unfit"
	}
	owned, weight := 0, 0
	if m.Serves() {
		owned = view.Table.Owned(m.Name)
	}
	if m.Role == member.RoleNode {
		weight = cmp.Or(m.Weight, ring.DefaultWeight)
	}
	return adminapi.Member{
		Name: m.Name, Boot: m.Boot, Role: string(m.Role), State: state, Zone: m.Zone, Weight: float64(weight) / ring.DefaultWeight, HTTP: m.HTTP, Admin: m.Admin, RESP: m.RESP,
		Peer: m.Peer, Gossip: m.Gossip, Pid: m.Pid, Partitions: owned, Share: float64(owned) / ring.Partitions,
		Params: m.Params, Wants: m.Wants.Given(), Wire: cmp.Or(m.Older, member.Wire),
	}
}

// members answers how every known member looks from this one.
func (e *Endpoint) members(w http.ResponseWriter, _ *http.Request) {
	view := e.cfg.View()
	list := []adminapi.SeenMember{}
	for _, m := range view.Members {
		list = append(list, e.seen(view, m))
	}
	writeJSON(w, http.StatusOK, list)
}

func (e *Endpoint) seen(view *member.View, m *member.Member) adminapi.SeenMember {
	a := adminapi.SeenMember{Member: onRing(view, m), Link: "none", LastHeard: -1}
	if m.ID == e.cfg.Self {
		a.Link, a.LastHeard = "self", 0
		return a
	}
	l, ok := e.cfg.Links.Link(m.ID)
	if !ok {
		return a
	}
	a.Link, a.Ring, a.ClockOffset = "down", l.Ring, millis(l.ClockOffset)
	switch {
	case l.Relayed:
		a.Link = "relayed"
	case l.Connected:
		a.Link = "up"
	}
	if l.LastHeard >= 0 {
		a.LastHeard = millis(l.LastHeard)
	}
	if e.cfg.Node != nil {
		dirty, age := e.cfg.Node.Copies.LagOf(m.ID.String())
		a.Dirty, a.Lag = dirty, millis(age)
	}
	return a
}

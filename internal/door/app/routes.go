package app

import (
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
)

// Routes names the members whose application serves a user.
type Routes struct {
	Self    member.ID
	Owners  public.Owners
	Sidecar *Sidecar // next to this node; nil for none
}

// For names the member whose application serves a user, and the one whose will
// if that does not answer: the owner and its successor, or, where the sidecar
// of one is down, the next on the ring whose is not. On a node that is this
// member, the answer is its sidecar itself.
func (r *Routes) For(user string) router.Route {
	view := r.Owners.View()
	p := ring.Partition(user)
	owner := r.Owners.Of(view, p)
	successor := view.Named(view.Table.FirstSuccessor(p))
	route := router.Route{Fingerprint: view.Table.Fingerprint(), Owner: r.target(owner), Successor: r.target(successor)}
	if owner == nil || !view.AppsDown() && !r.Sidecar.Down() {
		return route
	}
	well := r.well(view, p, owner)
	if len(well) == 0 {
		return route // nobody is better off; the owner's own answer tells most
	}
	if well[0] != owner {
		route.Absent = owner.Name + "/" + owner.Boot
	}
	route.Owner, route.Successor = r.target(well[0]), router.Target{}
	if len(well) > 1 {
		route.Successor = r.target(well[1])
	}
	return route
}

// well lists up to two members whose application answers, in the order in which
// they take the place of the owner of partition p.
func (r *Routes) well(view *member.View, p int, owner *member.Member) (well []*member.Member) {
	order := []*member.Member{owner}
	for _, name := range view.Table.Holders(p) {
		order = append(order, view.Named(name))
	}
	nodes := view.Nodes()
	for i := range nodes {
		order = append(order, nodes[(p+i)%len(nodes)]) // from another one on for each partition
	}
	for _, m := range order {
		down := m == nil || m.AppDown || m.ID == r.Self && r.Sidecar.Down()
		if !down && len(well) < 2 && (len(well) == 0 || well[0] != m) {
			well = append(well, m)
		}
	}
	return well
}

// own names the sidecar next to this node, whoever the user's owner is.
func (r *Routes) own(string) router.Route {
	view := r.Owners.View()
	return router.Route{Fingerprint: view.Table.Fingerprint(), Owner: r.target(view.Member(r.Self))}
}

// target is where a member's application is reached: through the member, or
// directly if it is the sidecar of this one.
func (r *Routes) target(m *member.Member) router.Target {
	t := public.Target(m)
	if r.Sidecar != nil && m != nil && m.ID == r.Self {
		t.App, t.HTTP = true, r.Sidecar.Address()
	}
	return t
}

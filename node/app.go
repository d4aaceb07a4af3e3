package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/internal/visits"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// appHandler serves what is not the session API.
func (n *Node) appHandler() http.Handler {
	n.setApplication(n.application())
	return n.pinned()
}

// pinned gives a request to this node's application if the node owns its user,
// and to the owner otherwise.
func (n *Node) pinned() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hop := hopOf(r.Context())
		var user string
		var made bool
		var cookie *http.Cookie
		if hop != nil && r.Header.Get(header.Key) != "" {
			user, made = r.Header.Get(header.Key), r.Header.Get(header.New) != ""
		} else {
			user, made, cookie = n.finder.FindOrMake(r)
		}
		pass := router.Passage{Hop: hop, User: user, Made: made, SetCookie: cookie}
		if n.beside != nil && hop != nil && r.Header.Get(header.StandIn) != "" {
			// The owner's application is down, of which gossip may not have told yet.
			pass.Lookup = n.lookupOwnApp
			n.replaceEnded(r, &pass)
			n.router.Forward(w, r, pass)
			return
		}
		here, err := n.awaitOwner(r.Context(), user)
		switch {
		case err != nil:
			refuseUnavailable(w, err)
		case !here && !safe(r.Method) && n.stale(attemptOf(r.Context()).named(n.cfg.Now())):
			n.stats.refusedLate.Add(1)
			refuseUnavailable(w, errOvertaken)
		case !here:
			n.router.Forward(w, r, pass)
		case n.beside != nil:
			n.replaceEnded(r, &pass)
			n.router.Forward(w, r, pass)
		default:
			if cookie != nil {
				http.SetCookie(w, cookie)
				n.finder.Replace(r, cookie)
			}
			refused := n.finder.Refused(r, hop)
			for name := range r.Header {
				if refused(name) {
					r.Header.Del(name)
				}
			}
			r.Header.Set(header.Key, user)
			if made {
				r.Header.Set(header.New, "1")
			} else {
				r.Header.Del(header.New)
			}
			r.Header.Set(header.Node, n.id.Name)
			w.Header().Set(header.Node, n.id.Name)
			w.Header().Set(header.Ring, n.View().Table.Fingerprint())
			(*n.app.Load()).ServeHTTP(w, r)
		}
	})
}

// replaceEnded gives a client a new id whose cookie names one that was logged
// out. The application is told the new one, so that the old one, which others
// may have seen, does not begin another session. Both are owned here. Where it
// cannot be told whether the id was ended, the application will hear that when
// it asks for the session.
func (n *Node) replaceEnded(r *http.Request, p *router.Passage) {
	if _, err := n.Sessions().Get(r.Context(), p.User); !errors.Is(err, session.ErrDeleted) || !n.finder.Carries(r, p.User) {
		return // a user whom a proxy names stays who the proxy says
	}
	p.User = samePartition(p.User)
	p.SetCookie = n.finder.CookieFor(p.User)
}

// safe says whether a request with this method asks for nothing to be changed
// (RFC 9110, section 9.2.1).
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// awaitOwner says whether this node serves the user, and waits a little while
// nobody does. Without a lease it asks the others first.
func (n *Node) awaitOwner(ctx context.Context, user string) (here bool, err error) {
	p := ring.Partition(user)
	if d := n.owner.decide(p); d.Verdict == ownership.Serve && d.Leased {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	if !n.owner.leased() {
		_, _ = n.owner.ask(ctx) // whether the user's session may be used is for those who ask for it
	}
	var d ownership.Decision
	if n.pulse.Until(ctx, recheck, func() bool { d = n.owner.decide(p); return d.Verdict != ownership.Wait }) != nil {
		return false, fmt.Errorf("partition %d: %w", p, errNoOwner)
	}
	return d.Here(), nil
}

// application is what runs in this process.
func (n *Node) application() http.Handler {
	switch {
	case n.cfg.Handler != nil:
		n.warnOfRandomSecret()
		return n.bound(n.cfg.Handler)
	case n.cfg.Demo:
		return n.bound(&visits.Counter{Sessions: n.Sessions(), Refuse: refuseUnavailable})
	default:
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			problem.Write(w, http.StatusNotFound, "no-application", "No application is configured",
				"this node answers under /v1/; -app URL gives it an application, -demo a visit counter")
		})
	}
}

// lookupApp names the member whose application serves a user, and the one that
// will if it does not answer: the owner and the heir, or, where the application
// beside one is down, the next on the ring whose is not. On a node that is this
// member, the answer is its application itself.
func (n *Node) lookupApp(user string) router.Route {
	view := n.View()
	p := ring.Partition(user)
	owner := n.ownerOf(view, p)
	heir := view.Named(view.Table.Heir(p))
	route := router.Route{Fingerprint: view.Table.Fingerprint(), Owner: n.appTarget(owner), Heir: n.appTarget(heir)}
	if owner == nil || !view.AppsDown() && (n.beside == nil || !n.beside.isDown()) {
		return route
	}
	well := n.wellBeside(view, p, owner)
	if len(well) == 0 {
		return route // nobody is better off; the owner's own answer tells most
	}
	if well[0] != owner {
		route.Absent = owner.Name + "/" + owner.Boot
	}
	route.Owner, route.Heir = n.appTarget(well[0]), router.Target{}
	if len(well) > 1 {
		route.Heir = n.appTarget(well[1])
	}
	return route
}

// wellBeside lists up to two members whose application answers, in the order in
// which they stand in for the owner of partition p.
func (n *Node) wellBeside(view *View, p int, owner *Member) (well []*Member) {
	order := []*Member{owner}
	for _, name := range view.Table.Holders(p) {
		order = append(order, view.Named(name))
	}
	nodes := view.Nodes()
	for i := range nodes {
		order = append(order, nodes[(p+i)%len(nodes)]) // from another one on for each partition
	}
	for _, m := range order {
		down := m == nil || m.AppDown || m.ID == n.id && n.beside != nil && n.beside.isDown()
		if !down && len(well) < 2 && (len(well) == 0 || well[0] != m) {
			well = append(well, m)
		}
	}
	return well
}

// lookupOwnApp names the application beside this node, whoever the user's owner is.
func (n *Node) lookupOwnApp(string) router.Route {
	view := n.View()
	return router.Route{Fingerprint: view.Table.Fingerprint(), Owner: n.appTarget(view.Member(n.id))}
}

// appTarget is where a member's application is reached: through the member, or
// directly if it is beside this one.
func (n *Node) appTarget(m *Member) router.Target {
	t := target(m)
	if n.beside != nil && m != nil && m.ID == n.id {
		t.App, t.HTTP = true, n.beside.address
	}
	return t
}

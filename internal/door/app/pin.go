package app

import (
	"errors"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// ServeHTTP gives a request to this node's application if the node owns its
// user, and to the owner otherwise.
func (p *Pin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrival := public.ArrivalOf(r.Context())
	pass := p.passage(r, arrival.Hop)
	sidecar := p.cfg.Routes.Sidecar
	if sidecar != nil && arrival.Hop != nil && r.Header.Get(header.StandIn) != "" {
		// The owner's application is down, of which gossip may not have told
		// yet.
		defer p.begin(r)()
		pass.Lookup = p.cfg.Routes.own
		p.replaceEnded(r, &pass)
		p.cfg.Router.Forward(w, r, pass)
		return
	}
	here, err := p.cfg.Await(r.Context(), pass.User)
	if err != nil {
		public.Unavailable(w, err)
		return
	}
	if !here {
		p.forward(w, r, pass, arrival)
		return
	}
	defer p.begin(r)()
	if sidecar != nil {
		p.replaceEnded(r, &pass)
		p.cfg.Router.Forward(w, r, pass)
		return
	}
	p.run(w, r, pass)
}

// passage says whose a request is. A member that has passed it on has found the
// user already.
func (p *Pin) passage(r *http.Request, hop *router.Hop) router.Passage {
	if user := r.Header.Get(header.Key); hop != nil && user != "" {
		return router.Passage{Hop: hop, User: user, Made: r.Header.Get(header.New) != ""}
	}
	user, made, cookie := p.cfg.Finder.FindOrMake(r)
	return router.Passage{Hop: hop, User: user, Made: made, SetCookie: cookie}
}

// forward passes a request on to the owner.
func (p *Pin) forward(w http.ResponseWriter, r *http.Request, pass router.Passage, arrival public.Arrival) {
	if !public.Safe(r.Method) {
		if err := p.cfg.Overtaken(arrival.Attempt); err != nil {
			p.cfg.Late.Add(1)
			public.Unavailable(w, err)
			return
		}
	}
	p.cfg.Router.Forward(w, r, pass)
}

// run lets the handler of this program answer.
func (p *Pin) run(w http.ResponseWriter, r *http.Request, pass router.Passage) {
	if pass.SetCookie != nil {
		http.SetCookie(w, pass.SetCookie)
		p.cfg.Finder.Replace(r, pass.SetCookie)
	}
	refused := p.cfg.Finder.Refused(r, pass.Hop)
	for name := range r.Header {
		if refused(name) {
			r.Header.Del(name)
		}
	}
	r.Header.Set(header.Key, pass.User)
	if pass.Made {
		r.Header.Set(header.New, "1")
	}
	r.Header.Set(header.Node, p.cfg.Self.Name)
	w.Header().Set(header.Node, p.cfg.Self.Name)
	w.Header().Set(header.Ring, p.cfg.View().Table.Fingerprint())
	(*p.app.Load()).ServeHTTP(w, r)
}

// replaceEnded gives a client a new id whose cookie names one that was logged
// out. The sidecar is told the new one, so that the old one, which others may
// have seen, does not begin another session. Both are owned here. Where it
// cannot be told whether the id was ended, the sidecar will hear that when it
// asks for the session.
func (p *Pin) replaceEnded(r *http.Request, pass *router.Passage) {
	if _, err := p.cfg.Sessions.Get(r.Context(), pass.User); !errors.Is(err, session.ErrDeleted) || !p.cfg.Finder.Carries(r, pass.User) {
		return // a user whom a proxy names stays who the proxy says
	}
	pass.User = public.SamePartition(pass.User)
	pass.SetCookie = p.cfg.Finder.CookieFor(pass.User)
}

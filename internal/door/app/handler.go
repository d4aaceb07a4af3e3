package app

import (
	"net/http"
	"strings"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/router"
)

// Run makes a Go handler the application. It gets the session of each request
// in the request's context.
func (p *Pin) Run(app http.Handler) {
	binder := &holdfast.Binder{
		Sessions: p.cfg.Sessions, Rename: public.SamePartition, Cookie: p.cfg.Finder.CookieFor,
		Made:     func(r *http.Request) bool { return r.Header.Get(header.New) != "" },
		Counters: &p.bindings, Log: p.cfg.Log,
	}
	p.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get(header.Key)
		binder.Serve(w, r, app, user, !p.cfg.Finder.Carries(r, user))
	}))
}

// Handler is p for addresses of the program's own. Only members set Holdfast's
// headers, and they come by the public endpoint: here they are taken out first.
// The session API is not served here.
func (p *Pin) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, router.API) {
			problem.Write(w, http.StatusNotFound, "unknown-path", "Unknown path",
				"paths under /v1/ belong to the session API, which is not served at this address")
			return
		}
		p.ServeHTTP(w, withoutHeaders(r, p.cfg.Finder.Refused(r, nil)))
	})
}

// withoutHeaders returns r without the headers that drop names, which leaves
// the caller's request alone.
func withoutHeaders(r *http.Request, drop func(name string) bool) *http.Request {
	copied := false
	for name := range r.Header {
		if !drop(name) {
			continue
		}
		if !copied {
			r, copied = r.Clone(r.Context()), true
		}
		r.Header.Del(name)
	}
	return r
}

// Package app runs the application of a member: what answers the requests that
// are not for the session API.
//
// One request of a user: [Pin] finds the user, by what the member says that has
// passed the request on, or by the cookie or the header that the router's
// Finder reads. It asks the member who serves the user (pin.go). If another
// node does, the request goes there, by the code of package router. At the
// owner itself the application answers next to the session's memory: a Go
// handler of this program (handler.go), or the sidecar, a process next to the
// node (sidecar.go). While a sidecar is down, its users go to the next node on
// the ring whose own is not (routes.go); their sessions stay where they are.
package app

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/router"
)

// Config is what a Pin needs of its member. All fields are required, unless
// they say otherwise.
type Config struct {
	Self member.ID
	View func() *member.View
	// Await says whether this node serves a user, and waits a little while no
	// node does.
	Await func(ctx context.Context, user string) (here bool, err error)
	// Overtaken says why an attempt that another node may have been sent since
	// must not be passed on, nil if it may.
	Overtaken func(a attempt.Attempt) error
	Sessions  holdfast.Sessions

	Finder *router.Finder
	Router Router
	Routes *Routes

	Log      *slog.Logger
	Counters *metric.Set
	// Late counts requests that were refused because they came too late.
	Late *metric.Counter
}

// Router passes a request on. It is a router.Router.
type Router interface {
	Forward(w http.ResponseWriter, r *http.Request, p router.Passage)
}

// Pin gives each request to the application at the request's owner.
type Pin struct {
	cfg      Config
	bindings holdfast.Counters
	app      atomic.Pointer[http.Handler] // what answers when this node owns the user

	running atomic.Int64 // requests that the application here works on
	idle    wait.Pulse   // beats when there are none any more
}

// New returns a Pin without an application in this program.
func New(cfg Config) *Pin {
	p := &Pin{cfg: cfg}
	p.set(http.HandlerFunc(none))
	cfg.Counters.Func(p.count)
	return p
}

// Down says whether the sidecar of this node does not answer.
func (p *Pin) Down() bool { return p.cfg.Routes.Sidecar.Down() }

// idleCheck is how often a wait for the application looks all the same.
const idleCheck = time.Second

// AwaitIdle returns when the application here works on no request, or with
// ctx's error when that ends first. WebSockets are left out: they have no end
// of their own.
func (p *Pin) AwaitIdle(ctx context.Context) error {
	return p.idle.Until(ctx, idleCheck, func() bool { return p.running.Load() == 0 })
}

// begin counts a request that the application here works on, until end is
// called.
func (p *Pin) begin(r *http.Request) (end func()) {
	if r.Header.Get("Upgrade") != "" {
		return func() {}
	}
	p.running.Add(1)
	return func() {
		if p.running.Add(-1) == 0 {
			p.idle.Beat()
		}
	}
}

// Watch looks after the sidecar, where there is one. It ends with ctx.
func (p *Pin) Watch(ctx context.Context) {
	if s := p.cfg.Routes.Sidecar; s != nil {
		s.watch(ctx)
	}
}

func (p *Pin) set(app http.Handler) { p.app.Store(&app) }

// none answers where there is no application.
func none(w http.ResponseWriter, _ *http.Request) {
	problem.Write(w, http.StatusNotFound, "no-application", "No application is configured",
		"this node answers under /v1/; -app URL gives it an application, -demo a visit counter")
}

// count puts what became of the sessions of Go handlers.
func (p *Pin) count(put metric.Put) {
	put("requests_unsaved", "Requests of a Go program whose changes could not be written.", p.bindings.Unsaved.Load())
	put("requests_ended", "Requests of a Go program whose changes were dropped, because their session had been ended.", p.bindings.Ended.Load())
	put("requests_unslid", "Requests of a Go program that could not slide the expiry of their session.", p.bindings.Unslid.Load())
}

package public

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/door/api"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/session"
)

// Handler is what a node answers: the session API, and by app everything else.
func (e *Endpoint) Handler(app http.Handler) http.Handler {
	sessions := api.New(api.Config{
		Sessions: asArrived{e.cfg.Do}, MaxSession: e.cfg.MaxSession, Bodies: e.bodies,
		NewID: func() string { return NewID(e.cfg.Owners.Decide) }, SamePartition: SamePartition,
		Untold: e.cfg.Finder.Visitor, Log: e.cfg.Log,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ofAPI := r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/")
		if ofAPI && !e.mayAsk(w, r) {
			return
		}
		r, err := e.arrive(r)
		switch {
		case err != nil:
			e.cfg.Late.Add(1)
			Unavailable(w, err)
		case ofAPI:
			sessions.ServeHTTP(w, r)
		default:
			app.ServeHTTP(w, r)
		}
	})
}

// arrive notes how a request has come here. An error says why it must not be
// run.
func (e *Endpoint) arrive(r *http.Request) (*http.Request, error) {
	hop, err := e.router.Arrived(r)
	if err != nil {
		return r, err
	}
	if failed := r.Header.Get(header.Failover); failed != "" && hop != nil {
		e.takeOver(r.Context(), failed)
	}
	a, err := e.received(r, hop)
	if err != nil || hop == nil {
		return r, err
	}
	return Arrival{a, hop}.With(r), nil
}

// takeOver checks an owner that refused a router, given as <name>/<boot>, and
// waits until this member's own view is without it. It believes its own dial,
// not the router: if the owner answers here, the request is forwarded to it.
func (e *Endpoint) takeOver(ctx context.Context, failed string) {
	e.failovers.Add(1)
	name, boot, _ := strings.Cut(failed, "/")
	ctx, cancel := context.WithTimeout(ctx, ownership.ClaimTimeout)
	defer cancel()
	e.cfg.AwaitGone(ctx, member.ID{Name: name, Boot: boot})
}

// asArrived runs the operations of the API as the attempts that their requests
// are.
type asArrived struct {
	do func(ctx context.Context, op *session.Op, ack session.Ack, a attempt.Attempt) (session.Reply, error)
}

// Do implements api.Sessions.
func (s asArrived) Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	a := ArrivalOf(ctx).Attempt
	if op.Kind == session.DeleteAll && op.NewKey != session.FirstPage && a.ID != 0 {
		// Each page is an operation of its own: a repetition is answered as
		// what it repeats was, and no page as the one before it.
		a.ID ^= session.KeyHash(op.NewKey)
	}
	return s.do(ctx, op, ack, a)
}

// Unavailable answers a request that was not run here, and tells a router who
// may do it: another member, or, if the claims are changing at this moment so
// that others may refuse it as well, whoever owns the key in a moment.
func Unavailable(w http.ResponseWriter, err error) {
	retry := header.RetryElsewhere
	if errors.Is(err, attempt.ErrOtherEpoch) {
		retry = header.RetrySoon
	}
	w.Header().Set("Retry-After", "1")
	w.Header().Set(header.Retry, retry)
	problem.Write(w, http.StatusServiceUnavailable, "unavailable", "The owner is not available", err.Error())
}

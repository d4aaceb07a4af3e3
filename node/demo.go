package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// demoAnswer is what the visit counter says.
type demoAnswer struct {
	User   string `json:"user"`
	Visits int    `json:"visits"`
	Node   string `json:"node"`
}

// demo counts a user's visits in the user's session: it reads, adds one, and
// writes on the condition that nobody else has written meanwhile.
func (n *Node) demo(w http.ResponseWriter, r *http.Request) {
	pass := router.Passage{User: r.Header.Get(header.Key)}
	if n.replaceEnded(r, &pass); pass.SetCookie != nil {
		w.Header().Del("Set-Cookie") // of an id that was only signed anew
		http.SetCookie(w, pass.SetCookie)
	}
	user := pass.User
	// Each try that fails is one of another request that succeeded, so this
	// ends when as many have been counted as came at once.
	for r.Context().Err() == nil {
		visits, err := n.countVisit(r.Context(), user)
		if errors.Is(err, session.ErrPrecondition) {
			continue // a request of the same user was faster
		}
		switch {
		case errors.Is(err, session.ErrType):
			problem.Write(w, http.StatusConflict, "type-conflict", "The session holds something else", "the visit counter needs a session with fields")
		case err != nil:
			refuseUnavailable(w, err)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			// Fails only when the client has left.
			_ = json.NewEncoder(w).Encode(demoAnswer{user, visits, n.id.Name})
		}
		return
	}
}

const visitsField = "visits"

func (n *Node) countVisit(ctx context.Context, user string) (int, error) {
	s := n.Sessions()
	rec, err := s.Get(ctx, user)
	op := session.Op{Kind: session.Patch, Key: user}
	visits := 0
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted):
		// The first visit of an id, or of a user whom a proxy names after the
		// logout, begins a session.
		op.Kind, op.Create = session.Put, true
	case err != nil:
		return 0, err
	default:
		op.IfVersion = rec.Version()
		if count, ok := rec.Value(visitsField); ok {
			if visits, err = strconv.Atoi(count); err != nil {
				visits = 0 // some other writer's field: begin anew
			}
		}
	}
	visits++
	op.Fields = []session.Field{{Name: visitsField, Value: strconv.Itoa(visits)}}
	_, err = s.Do(ctx, &op, session.AckDefault)
	return visits, err
}

// Package visits is the application of -demo. It counts each user's visits in
// the user's session.
//
// It is an ordinary handler, served as node.Config.Handler is: the node runs it
// at the user's owner, with the request's session in its context. A counter
// must lose no visit of two at once, so it is written on a condition, as
// node.Sessions can: read the session, add one, write if nobody else has
// written meanwhile, and begin anew if somebody has.
package visits

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/session"
)

// Answer is what a visitor gets, as JSON.
type Answer struct {
	User   string `json:"user"`
	Visits int    `json:"visits"`
	Node   string `json:"node"` // the node that has counted
}

// Counter is the handler. Its fields are required.
type Counter struct {
	Sessions holdfast.Sessions
	// Refuse answers a request whose session cannot be reached now.
	Refuse func(w http.ResponseWriter, err error)
}

// field is the field of a session that has the number.
const field = "visits"

// ServeHTTP implements http.Handler.
func (c *Counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user := holdfast.FromContext(r.Context())
	// Each try that fails is one of another request that succeeded, so this
	// ends when as many have been counted as came at once.
	for r.Context().Err() == nil {
		visits, err := c.count(r.Context(), user)
		if errors.Is(err, session.ErrPrecondition) {
			continue // a request of the same user was faster
		}
		switch {
		case errors.Is(err, session.ErrType):
			problem.Write(w, http.StatusConflict, "type-conflict", "The session holds something else", "the visit counter needs a session with fields")
		case err != nil:
			c.Refuse(w, err)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			// Fails only when the client has left.
			_ = json.NewEncoder(w).Encode(Answer{user.ID(), visits, r.Header.Get(header.Node)})
		}
		return
	}
}

// count makes one try.
func (c *Counter) count(ctx context.Context, user *holdfast.Session) (visits int, err error) {
	rec, err := c.Sessions.Get(ctx, user.ID())
	op := session.Op{Kind: session.Patch}
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted):
		// The first visit begins a session. After a logout the user gets a new
		// id for it, unless a proxy names the user.
		op.Kind, op.Create = session.Put, true
		if errors.Is(err, session.ErrDeleted) {
			if err := user.Renew(); err != nil {
				return 0, err
			}
		}
	case err != nil:
		return 0, err
	default:
		op.IfVersion = rec.Version()
		if count, ok := rec.Value(field); ok {
			if visits, err = strconv.Atoi(count); err != nil {
				visits = 0 // some other writer's field: begin anew
			}
		}
	}
	visits++
	op.Key, op.Fields = user.ID(), []session.Field{{Name: field, Value: strconv.Itoa(visits)}}
	_, err = c.Sessions.Do(ctx, &op, session.AckDefault)
	return visits, err
}

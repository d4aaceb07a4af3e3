package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/dump"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// loadTimeout bounds how long one request's lines are worked on.
	loadTimeout = 20 * time.Second
	// loadWriters is how many sessions of one request are written at a time.
	loadWriters = 16
	// loadAttempts is how often a session is looked at again because others wrote
	// to it meanwhile.
	loadAttempts = 4
)

// loading says what is done with sessions that there are, or were.
type loading struct {
	replace bool // those that there are
	revive  bool // those that were logged out
}

// load writes the sessions of a request's lines, as package dump has them, each
// at its owner. It says of each line what became of it. A request may be sent
// again: what it has written is there then.
func (e *Endpoint) load(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	how := loading{replace: q.Get("replace") == "1", revive: q.Get("revive") == "1"}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, dump.MaxBatch))
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "bad-body", "The lines could not be read", fmt.Sprintf("%v: %d bytes are accepted at a time", err, dump.MaxBatch))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), loadTimeout)
	defer cancel()
	a := adminapi.Load{Fingerprint: e.cfg.View().Table.Fingerprint(), Refused: []adminapi.Refused{}}
	var mu sync.Mutex // guards a
	var writing sync.WaitGroup
	slots := make(chan struct{}, loadWriters)
	number := 0
	for text := range bytes.Lines(body) {
		number++
		line := number
		slots <- struct{}{}
		writing.Go(func() {
			defer func() { <-slots }()
			outcome, err := e.loadLine(ctx, text, how)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.Refused = append(a.Refused, adminapi.Refused{Line: line, Error: err.Error()})
				return
			}
			*outcome(&a)++
		})
	}
	writing.Wait()
	slices.SortFunc(a.Refused, func(a, b adminapi.Refused) int { return a.Line - b.Line })
	writeJSON(w, http.StatusOK, a)
}

// outcome names the count of what became of a line.
type outcome func(a *adminapi.Load) *int

func loaded(a *adminapi.Load) *int    { return &a.Loaded }
func present(a *adminapi.Load) *int   { return &a.Present }
func ended(a *adminapi.Load) *int     { return &a.Ended }
func loggedOut(a *adminapi.Load) *int { return &a.LoggedOut }

func (e *Endpoint) loadLine(ctx context.Context, text []byte, how loading) (outcome, error) {
	s, err := dump.ReadLine(text)
	if err != nil {
		return nil, err
	}
	for range loadAttempts {
		var done outcome
		if done, err = e.loadSession(ctx, &s, how); !errors.Is(err, session.ErrPrecondition) {
			return done, err
		}
	}
	return nil, err
}

// loadSession looks what there is of a session, and writes it if it may. It
// returns session.ErrPrecondition if that has changed in between.
//
// A look is needed in any case: a write that makes a session says that it may
// be over one that was logged out, and one over a session that there is has to
// say for how long from its beginning on it lives.
func (e *Endpoint) loadSession(ctx context.Context, s *dump.Session, how loading) (outcome, error) {
	now := e.cfg.Now()
	if s.Ended(now) {
		return ended, nil
	}
	there, err := e.cfg.Sessions.Do(ctx, &session.Op{Kind: session.Get, Key: s.Key}, session.AckDefault)
	op := s.Put(now)
	switch {
	case err == nil && !how.replace:
		return present, nil
	case err == nil:
		if began := there.Record.Began(); began.Before(now) {
			op = s.Put(began)
		}
		op.IfVersion = there.Record.Version()
	case errors.Is(err, session.ErrDeleted) && !how.revive:
		return loggedOut, nil
	case errors.Is(err, session.ErrDeleted), errors.Is(err, session.ErrNotFound):
		op.Create = true
	default:
		return nil, fmt.Errorf("look for the session: %w", err)
	}
	if _, err := e.cfg.Sessions.Do(ctx, op, session.AckDefault); err != nil {
		if errors.Is(err, session.ErrDeleted) {
			return loggedOut, nil
		}
		return nil, fmt.Errorf("write the session: %w", err)
	}
	return loaded, nil
}

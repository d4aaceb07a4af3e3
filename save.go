package holdfast

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-95a32959/holdfast/session"
)

// Save writes what has changed. This happens by itself before the answer
// begins. A handler calls Save if it must know first (was the code really taken
// back?), or if it goes on after its answer has begun, as over a WebSocket.
//
// What is saved for a client whose session was logged out begins a new session,
// under a new id that the client gets: see [Session.Renew] for when that can
// be.
func (s *Session) Save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saveLocked()
}

func (s *Session) saveLocked() error {
	op, needed := s.patchLocked()
	if !needed {
		return nil
	}
	if !s.read { // a Reload failed
		if err := s.readLocked(); err != nil {
			return err
		}
		op, needed = s.patchLocked()
		if !needed {
			return nil
		}
	}
	if s.worn {
		if err := s.renewWornLocked(); err != nil {
			return fmt.Errorf("save session: %w", err)
		}
		op.Key = s.id
	}
	s.made = false
	// A request that was carried out has changed its session, also if the
	// client is gone meanwhile. The operation has a time limit of its own.
	ctx := context.WithoutCancel(s.ctx)
	reply, err := s.binder.Sessions.Do(ctx, &op, s.ack)
	if op.Kind == session.Put && errors.Is(err, session.ErrPrecondition) {
		// Another request of the same user has created it since. The fields of
		// both are in it.
		op.Kind, op.Create, op.Fields = session.Patch, false, s.changes
		reply, err = s.binder.Sessions.Do(ctx, &op, s.ack)
	}
	switch {
	case gone(err):
		s.endLocked()
		return fmt.Errorf("save session: %w", ErrEnded)
	case err != nil:
		return fmt.Errorf("save session: %w", err)
	}
	s.rec, s.slid = reply.Record, true
	s.changes, s.idle, s.maxAge = nil, 0, 0
	return nil
}

// renewWornLocked gives the client a new id in place of one whose session was
// ended. The old one must not begin another session: a stranger who has kept
// it, from a browser that was not closed or from a log, would be in that
// session too. A request that writes nothing keeps its cookie: it may have been
// sent in parallel with the request that has replaced it.
func (s *Session) renewWornLocked() error {
	if s.answered {
		s.endLocked()
		return ErrEnded
	}
	s.identifyLocked(s.binder.Rename(s.id))
	return nil
}

// patchLocked makes the operation that writes the changes, if there are any.
// One on a session that was read can never create it, and so not bring it back.
func (s *Session) patchLocked() (op session.Op, needed bool) {
	op = session.Op{Key: s.id, TTL: s.idle, MaxAge: s.maxAge}
	switch {
	case s.rec == nil:
		op.Kind, op.Create = session.Put, true
		for _, f := range s.changes {
			if !f.Absent {
				op.Fields = append(op.Fields, f)
			}
		}
		return op, len(op.Fields) > 0
	case len(s.changes) > 0:
		op.Kind, op.Fields = session.Patch, s.changes
		return op, true
	default:
		op.Kind = session.Touch
		return op, s.idle != 0 || s.maxAge != 0
	}
}

// gone says whether a write failed because its session is no more.
func gone(err error) bool {
	return errors.Is(err, session.ErrDeleted) || errors.Is(err, session.ErrNotFound)
}

func (s *Session) endLocked() {
	s.binder.Counters.Ended.Add(1)
	s.ended, s.worn, s.rec, s.changes = true, false, nil, nil
	s.idle, s.maxAge = 0, 0
}

// Renew moves the session to a new id, in one step with all it holds, and gives
// the client the new one. Call it when the user logs in or gains rights: an id
// that an attacker planted or saw before is worth nothing afterwards. The user
// stays on this node. A request that runs in parallel and has read the session
// under its old id ends with [ErrEnded]. Like Destroy it sets a header of the
// answer, so it belongs to the handler's own goroutine.
//
// Where the id comes from a trusted header it is not the client's to choose,
// and stays.
func (s *Session) Renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return err
	}
	if s.fixed {
		return nil
	}
	if s.answered {
		return fmt.Errorf("renew session: %w", ErrAnswered)
	}
	id := s.binder.Rename(s.id)
	if s.rec != nil {
		op := session.Op{Kind: session.Rotate, Key: s.id, NewKey: id}
		reply, err := s.binder.Sessions.Do(context.WithoutCancel(s.ctx), &op, s.ack)
		switch {
		case gone(err):
			s.endLocked()
			return fmt.Errorf("renew session: %w", ErrEnded)
		case err != nil:
			return fmt.Errorf("renew session: %w", err)
		}
		s.rec, s.slid = reply.Record, true
	}
	s.identifyLocked(id)
	return nil
}

// Destroy logs the session out at once: when it has returned nil no node serves
// the session again, unless a copy that could be reached did not confirm in
// time and the owner dies before it does. What the request has changed is
// dropped. The client gets a new id; what is set from here on begins a new
// session under it.
func (s *Session) Destroy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return ErrAnswered
	}
	// A visitor without a session who logs out leaves nothing to remember.
	if none := s.made && s.readLocked() == nil && s.rec == nil; !none {
		op := session.Op{Kind: session.Delete, Key: s.id}
		if _, err := s.binder.Sessions.Do(context.WithoutCancel(s.ctx), &op, s.ack); err != nil {
			return fmt.Errorf("destroy session: %w", err)
		}
	}
	s.rec, s.changes, s.idle, s.maxAge = nil, nil, 0, 0
	s.read, s.ended, s.worn = true, s.answered, false
	if !s.fixed && !s.answered {
		s.identifyLocked(s.binder.Rename(s.id))
	}
	return nil
}

// identifyLocked makes id the session's, and tells the client.
func (s *Session) identifyLocked(id string) {
	s.id, s.worn = id, false
	cookie := s.binder.Cookie(id)
	keepCookies(s.header, func(name string) bool { return name != cookie.Name })
	s.header.Add("Set-Cookie", cookie.String())
	// A shared cache must not hand one user's id to the next.
	s.header.Add("Cache-Control", "private")
}

// keepCookies takes the cookies out of an answer that keep does not name.
func keepCookies(h http.Header, keep func(name string) bool) {
	left := slices.DeleteFunc(slices.Clone(h["Set-Cookie"]), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return !keep(name)
	})
	if h.Del("Set-Cookie"); len(left) > 0 {
		h["Set-Cookie"] = left
	}
}

package api

import (
	"net/http"

	"github.com/seed-95a32959/holdfast/session"
)

// get reads a session. Its preconditions are judged here, on the record that
// is then written, so that they hold for exactly what the client receives.
func (e *exchange) get() error {
	if err := e.noParameters(); err != nil {
		return err
	}
	match, err := readCondition(e.r.Header, "If-Match", false)
	if err != nil {
		return err
	}
	none, err := readCondition(e.r.Header, "If-None-Match", true)
	if err != nil {
		return err
	}
	reply, err := e.do(&session.Op{Kind: session.Get, Key: e.key})
	if err != nil {
		return err
	}
	version := reply.Record.Version()
	switch {
	case match.given && !match.matches(version):
		return session.ErrPrecondition
	case none.matches(version):
		e.tag(reply)
		e.bare(http.StatusNotModified)
	default:
		e.represent(reply)
	}
	return nil
}

// put replaces a session, or creates it where none is.
func (e *exchange) put() error {
	op := session.Op{Kind: session.Put, Key: e.key}
	if err := e.conditions(&op, true); err != nil {
		return err
	}
	if err := e.lifetime(&op); err != nil {
		return err
	}
	var err error
	if op.Fields, err = e.value(); err != nil {
		return err
	}
	reply, err := e.write(&op)
	if err != nil {
		return err
	}
	if reply.Created {
		e.bare(http.StatusCreated)
	} else {
		e.bare(http.StatusNoContent)
	}
	return nil
}

// patch changes single fields and answers with the whole session. The nested
// merge is the owner's work, under the lock, so that two patches of different
// fields both count.
func (e *exchange) patch() error {
	op := session.Op{Kind: session.Patch, Key: e.key, Nested: true}
	if err := e.conditions(&op, false); err != nil {
		return err
	}
	if err := e.lifetime(&op); err != nil {
		return err
	}
	var err error
	if op.Fields, err = e.mergePatch(); err != nil {
		return err
	}
	reply, err := e.write(&op)
	if err != nil {
		return err
	}
	e.represent(reply)
	return nil
}

// touch slides the session's expiry, and nothing else: its version stays.
func (e *exchange) touch() error {
	op := session.Op{Kind: session.Touch, Key: e.key}
	if err := e.conditions(&op, false); err != nil {
		return err
	}
	if err := e.lifetime(&op); err != nil {
		return err
	}
	if _, err := e.write(&op); err != nil {
		return err
	}
	e.bare(http.StatusNoContent)
	return nil
}

// delete ends a session, and is as content when there was none.
func (e *exchange) delete() error {
	op := session.Op{Kind: session.Delete, Key: e.key}
	if err := e.conditions(&op, false); err != nil {
		return err
	}
	if err := e.noParameters(); err != nil {
		return err
	}
	reply, err := e.write(&op)
	if err != nil {
		return err
	}
	e.deleted(reply)
	return nil
}

// create stores a session under an id made here.
func (e *exchange) create() error {
	op := session.Op{Kind: session.Put} // no condition: nobody else has the id
	if err := e.noConditions(); err != nil {
		return err
	}
	if err := e.lifetime(&op); err != nil {
		return err
	}
	// A bare POST asks for a session that has no fields yet, not for an
	// opaque one of no bytes, which could never be patched.
	if e.r.ContentLength != 0 || e.r.Header.Get("Content-Type") != "" {
		var err error
		if op.Fields, err = e.value(); err != nil {
			return err
		}
	}
	op.Key = e.NewID()
	if _, err := e.write(&op); err != nil {
		return err
	}
	e.located(op.Key)
	return nil
}

// rotate moves a session to a new id in one step, for the moment of login: an
// id planted before it is worth nothing after it.
func (e *exchange) rotate() error {
	op := session.Op{Kind: session.Rotate, Key: e.key}
	if err := e.conditions(&op, false); err != nil {
		return err
	}
	if err := e.lifetime(&op); err != nil {
		return err
	}
	op.NewKey = e.SamePartition(e.key)
	if _, err := e.write(&op); err != nil {
		return err
	}
	e.located(op.NewKey)
	return nil
}

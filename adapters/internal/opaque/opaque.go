// Package opaque keeps values of bytes that end at a given time, which is what
// session libraries ask of a store. The adapters differ in how they are asked.
//
// A value is a session of its own, whose key is the library's name for it
// behind a prefix. Writing one, here as by every endpoint, never brings back
// what was deleted: so a request that saves late does not log its user in
// again.
package opaque

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// Sessions runs operations where their keys are owned, as node.Sessions does.
type Sessions interface {
	Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error)
	All(ctx context.Context) iter.Seq2[*session.Record, error]
}

// Values keeps values under names.
type Values struct {
	Sessions Sessions
	Prefix   string      // of every name; it keeps libraries apart
	Ack      session.Ack // what a write waits for
	Revive   bool        // writing a deleted value makes it anew
}

// key is the name's key. It is a copy: a name may lie in a buffer that its
// server will use again.
func (v *Values) key(name string) string { return strings.Clone(v.Prefix + name) }

// Get returns a value, and whether there is one.
func (v *Values) Get(ctx context.Context, name string) (value []byte, found bool, err error) {
	rec, err := v.read(ctx, name)
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted), errors.Is(err, session.ErrKey):
		return nil, false, nil // a name may come from a client: one that cannot be is not there
	case err != nil:
		return nil, false, fmt.Errorf("get: %w", err)
	}
	text, opaque := rec.Opaque()
	return []byte(text), opaque, nil
}

func (v *Values) read(ctx context.Context, name string) (*session.Record, error) {
	reply, err := v.Sessions.Do(ctx, &session.Op{Kind: session.Get, Key: v.key(name)}, session.AckDefault)
	return reply.Record, err
}

// Put writes a value that ends at end, exactly, on whichever node it is then;
// the zero time is never. An error that wraps session.ErrDeleted says that the
// value was deleted, and stays so.
//
// It reads first. A session's fixed end is kept as its longest life, which
// counts from its creation, or from now while the stamp of that is ahead.
func (v *Values) Put(ctx context.Context, name string, value []byte, end time.Time) error {
	rec, err := v.read(ctx, name)
	if err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrDeleted) {
		return fmt.Errorf("put: %w", err)
	}
	op := session.Op{
		Kind: session.Put, Key: v.key(name), Revive: v.Revive, TTL: -1, MaxAge: -1,
		Fields: []session.Field{{Name: "", Value: string(value)}},
	}
	if !end.IsZero() {
		born := time.Now()
		if rec != nil && rec.Began().Before(born) {
			born = rec.Began()
		}
		if op.MaxAge = end.Sub(born); time.Until(end) <= 0 {
			return v.Delete(ctx, name) // it has ended before it was written
		}
	}
	if _, err := v.Sessions.Do(ctx, &op, v.Ack); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	return nil
}

// Delete deletes a value for good. That there is none is no error.
func (v *Values) Delete(ctx context.Context, name string) error {
	_, err := v.Sessions.Do(ctx, &session.Op{Kind: session.Delete, Key: v.key(name)}, v.Ack)
	if err != nil && !errors.Is(err, session.ErrKey) { // one that cannot be is not there
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// All yields every value of the cluster with its name.
func (v *Values) All(ctx context.Context) iter.Seq2[Named, error] {
	return func(yield func(Named, error) bool) {
		for rec, err := range v.Sessions.All(ctx) {
			if err != nil {
				yield(Named{}, fmt.Errorf("read all: %w", err))
				return
			}
			name, ours := strings.CutPrefix(rec.Key(), v.Prefix)
			value, opaque := rec.Opaque()
			if ours && opaque && !yield(Named{name, []byte(value)}, nil) {
				return
			}
		}
	}
}

// Named is a value and its name.
type Named struct {
	Name  string
	Value []byte
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// memory is where the application keeps what it knows of its visitors.
type memory interface {
	// load returns what is known, which is nothing for a new visitor.
	load(ctx context.Context, key string) (visitor, error)
	// change loads, calls f, and saves, as one step: of two changes at once
	// the second sees the first. If f fails nothing is saved.
	change(ctx context.Context, key string, f func(*visitor) error) error
	// forget ends the session.
	forget(ctx context.Context, key string) error
}

// held keeps visitors in Holdfast. The node in this process owns them, so that
// a load is a look-up in its memory.
type held struct{ sessions *node.Sessions }

func (h held) load(ctx context.Context, key string) (visitor, error) {
	v, _, err := h.read(ctx, key)
	return v, err
}

func (h held) read(ctx context.Context, key string) (v visitor, version session.Stamp, err error) {
	rec, err := h.sessions.Get(ctx, key)
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted):
		return visitor{}, 0, nil
	case err != nil:
		return visitor{}, 0, err
	}
	text, _ := rec.Value(visitorField)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return visitor{}, 0, fmt.Errorf("read a session: %w", err)
	}
	return v, rec.Version(), nil
}

const (
	visitorField = "visitor"
	sessionTTL   = 30 * time.Minute
)

// change writes on the condition that the session is as it was read, and begins
// anew if it is not. It answers when a successor has the change too: what the
// visitor has seen happen has happened, whatever dies next.
func (h held) change(ctx context.Context, key string, f func(*visitor) error) error {
	for {
		v, version, err := h.read(ctx, key)
		if err != nil {
			return err
		}
		if err := f(&v); err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = h.sessions.Do(ctx, &session.Op{
			Kind: session.Put, Key: key, TTL: sessionTTL, IfVersion: version, Create: version == 0,
			Fields: []session.Field{{Name: visitorField, Value: string(text)}},
		}, session.AckReplica)
		if changed := errors.Is(err, session.ErrPrecondition) || errors.Is(err, session.ErrDeleted); !changed {
			return err
		}
	}
}

func (h held) forget(ctx context.Context, key string) error { return h.sessions.Delete(ctx, key) }

// own keeps visitors in a map of this server: fast, and unknown to the other
// servers.
type own struct {
	mu       sync.Mutex
	visitors map[string]visitor // guarded by mu
}

// mostVisitors bounds the map. The map is the example of how not to do it, so
// it has no order of eviction.
const mostVisitors = 1000

func (o *own) load(_ context.Context, key string) (visitor, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.visitors[key], nil
}

func (o *own) change(_ context.Context, key string, f func(*visitor) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.visitors[key]
	if err := f(&v); err != nil {
		return err
	}
	if len(o.visitors) >= mostVisitors {
		clear(o.visitors)
	}
	o.visitors[key] = v
	return nil
}

func (o *own) forget(_ context.Context, key string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.visitors, key)
	return nil
}

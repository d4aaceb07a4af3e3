// Package fiber lets the middleware of github.com/gofiber/fiber keep its data
// in Holdfast. A [Storage] has the methods of fiber.Storage, of version 2 and
// 3, and of the drivers in github.com/gofiber/storage:
//
//	app.Use(session.New(session.Config{Storage: holdfastfiber.New(n.Sessions())}))
//
// For sessions, what was deleted stays deleted: a Set that comes after the
// Delete of its key, as by a request that was slower than the logout, is an
// error that wraps session.ErrDeleted. Caches and rate limiters delete keys to
// write them again, and need [WithRevive].
package fiber

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/adapters/internal/opaque"
	"github.com/seed-95a32959/holdfast/session"
)

// Prefix begins the keys of everything stored: k is the session "fiber:k".
const Prefix = "fiber:"

// Storage keeps values of bytes for fiber's middleware.
type Storage struct{ values opaque.Values }

// Option changes how a Storage works.
type Option func(*Storage)

// WithPrefix replaces [Prefix]. Each Storage that is reset by itself needs one
// of its own.
func WithPrefix(prefix string) Option { return func(s *Storage) { s.values.Prefix = prefix } }

// WithAck says what Set waits for, in place of the node's own setting.
func WithAck(ack session.Ack) Option { return func(s *Storage) { s.values.Ack = ack } }

// WithRevive lets Set write a key that was deleted. Not for sessions.
func WithRevive() Option { return func(s *Storage) { s.values.Revive = true } }

// New returns a Storage over the sessions of a cluster, which node.Sessions
// are.
func New(sessions opaque.Sessions, options ...Option) *Storage {
	s := &Storage{opaque.Values{Sessions: sessions, Prefix: Prefix}}
	for _, o := range options {
		o(s)
	}
	return s
}

// GetWithContext returns the value of a key, nil if there is none.
func (s *Storage) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	value, found, err := s.values.Get(ctx, key)
	if !found {
		return nil, err
	}
	return value, nil
}

// SetWithContext stores a value for the time given, for ever if that is 0. An
// empty key or value is ignored, as fiber has it.
func (s *Storage) SetWithContext(ctx context.Context, key string, value []byte, expires time.Duration) error {
	if key == "" || len(value) == 0 {
		return nil
	}
	var end time.Time
	if expires != 0 {
		end = time.Now().Add(expires)
	}
	return s.values.Put(ctx, key, value, end)
}

// DeleteWithContext deletes a key. That there is none is no error.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	return s.values.Delete(ctx, key)
}

// ResetWithContext deletes all keys of this Storage on all nodes.
func (s *Storage) ResetWithContext(ctx context.Context) error {
	for v, err := range s.values.All(ctx) {
		if err != nil {
			return err
		}
		if err := s.values.Delete(ctx, v.Name); err != nil {
			return err
		}
	}
	return nil
}

// Get is GetWithContext without a context. An operation has a time limit of its
// own.
func (s *Storage) Get(key string) ([]byte, error) {
	return s.GetWithContext(context.Background(), key)
}

// Set is SetWithContext without a context.
func (s *Storage) Set(key string, value []byte, expires time.Duration) error {
	return s.SetWithContext(context.Background(), key, value, expires)
}

// Delete is DeleteWithContext without a context.
func (s *Storage) Delete(key string) error { return s.DeleteWithContext(context.Background(), key) }

// Reset is ResetWithContext without a context.
func (s *Storage) Reset() error { return s.ResetWithContext(context.Background()) }

// Close does nothing: the node is the program's to shut down.
func (s *Storage) Close() error { return nil }

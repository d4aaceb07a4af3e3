// Package scs lets github.com/alexedwards/scs keep its sessions in Holdfast. A
// [Store] has the methods of its Store, CtxStore, IterableStore and
// IterableCtxStore; nothing else is needed from here:
//
//	sessions := scs.New() // of alexedwards/scs
//	sessions.Store = holdfastscs.New(n.Sessions())
//
// A commit that comes after the session was destroyed, as by a request that was
// slower than the logout, is an error that wraps session.ErrDeleted: the
// session stays logged out. scs gives its requests new tokens after a logout
// and at a login, so only a late request meets it.
//
// Each token is placed by itself, and reached from any node: where the node
// that has the request does not own the token, reading it is one call over the
// peer link.
package scs

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/adapters/internal/opaque"
	"github.com/seed-95a32959/holdfast/session"
)

// Prefix begins the keys of all scs sessions: a token t is the session "scs:t".
const Prefix = "scs:"

// Store keeps the sessions of an scs.SessionManager.
type Store struct{ values opaque.Values }

// Option changes how a Store works.
type Option func(*Store)

// WithPrefix replaces [Prefix], where programs that must not see each other's
// sessions share a cluster.
func WithPrefix(prefix string) Option { return func(s *Store) { s.values.Prefix = prefix } }

// WithAck says what a commit waits for, in place of the node's own setting.
func WithAck(ack session.Ack) Option { return func(s *Store) { s.values.Ack = ack } }

// New returns a Store over the sessions of a cluster, which node.Sessions are.
func New(sessions opaque.Sessions, options ...Option) *Store {
	s := &Store{opaque.Values{Sessions: sessions, Prefix: Prefix}}
	for _, o := range options {
		o(s)
	}
	return s
}

// FindCtx returns the data of a token, and whether there is any.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	return s.values.Get(ctx, token)
}

// CommitCtx stores the data of a token until expiry.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.values.Put(ctx, token, data, expiry)
}

// DeleteCtx ends the token's session.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	return s.values.Delete(ctx, token)
}

// AllCtx returns the data of all sessions of the cluster by token.
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	all := make(map[string][]byte)
	for v, err := range s.values.All(ctx) {
		if err != nil {
			return nil, err
		}
		all[v.Name] = v.Value
	}
	return all, nil
}

// Find is FindCtx without a context. An operation has a time limit of its own.
func (s *Store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// All is AllCtx without a context.
func (s *Store) All() (map[string][]byte, error) { return s.AllCtx(context.Background()) }

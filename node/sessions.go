package node

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/session"
)

// Sessions is every member's door to all sessions of the cluster: it looks the
// owner up and serves there. It implements api.Sessions.
type Sessions struct{ node *Node }

// Do runs one operation where its key is owned: here, or forwarded there. ack
// says what a write waits for. Errors are those of package session, and
// session.ErrUnavailable or session.ErrUncertain.
func (s *Sessions) Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	return s.node.dispatcher.Do(ctx, op, ack, attempt.Attempt{})
}

// Get returns the session, or session.ErrNotFound or session.ErrDeleted.
func (s *Sessions) Get(ctx context.Context, key string) (*session.Record, error) {
	return s.node.dispatcher.Get(ctx, key)
}

// Put stores the whole value of a session. ttl is its idle time; 0 keeps what
// it has, or takes the node's default.
func (s *Sessions) Put(ctx context.Context, key string, fields []session.Field, ttl time.Duration) (*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Put, Key: key, Fields: fields, TTL: ttl}, session.AckDefault)
	return reply.Record, err
}

// Patch sets the fields given, removes those that are Absent, and leaves the
// others alone.
func (s *Sessions) Patch(ctx context.Context, key string, fields []session.Field) (*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Patch, Key: key, Fields: fields}, session.AckDefault)
	return reply.Record, err
}

// Touch slides the session's expiry.
func (s *Sessions) Touch(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Touch, Key: key}, session.AckDefault)
	return err
}

// Delete logs the session out. Once it has returned nil no member serves the
// session again, unless a copy that could be reached did not confirm in time and
// the owner dies before it does: Do says so, by Reply.Unconfirmed. Deleting what
// is not there is no error.
func (s *Sessions) Delete(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Delete, Key: key}, session.AckDefault)
	return err
}

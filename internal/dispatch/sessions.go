package dispatch

import (
	"context"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Sessions is the way to all sessions of the cluster: it looks the owner up and
// serves there. It implements api.Sessions.
type Sessions struct{ dispatcher *Dispatcher }

// Sessions returns the way to all sessions of the cluster.
func (d *Dispatcher) Sessions() *Sessions { return &Sessions{d} }

// Do runs one operation where its key is owned: here, or forwarded there. ack
// says what a write waits for. Errors are those of package session, and
// session.ErrUnavailable or session.ErrUncertain.
func (s *Sessions) Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	return s.dispatcher.Do(ctx, op, ack, attempt.Attempt{})
}

// Get returns the session, or session.ErrNotFound or session.ErrDeleted.
func (s *Sessions) Get(ctx context.Context, key string) (*session.Record, error) {
	return s.dispatcher.Get(ctx, key)
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
// session again, unless a copy that could be reached did not confirm in time
// and the owner dies before it does: Do says so, by Reply.Unconfirmed. Deleting
// what is not there is no error.
func (s *Sessions) Delete(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Delete, Key: key}, session.AckDefault)
	return err
}

// All yields every live session of the cluster, partition after partition, each
// from its owner. Sessions that are created or end meanwhile may be among them
// or not. After an error there is nothing more: what was yielded before is not
// everything.
//
// It reads the whole cluster, a page at a time: it is for the operator's and
// the administrator's page, not for a request of a user.
func (s *Sessions) All(ctx context.Context) iter.Seq2[*session.Record, error] {
	return func(yield func(*session.Record, error) bool) {
		for p := range ring.Partitions {
			for after := ""; ; {
				records, err := s.Page(ctx, p, after)
				if err != nil {
					yield(nil, err)
					return
				}
				for _, rec := range records {
					if !yield(rec, nil) {
						return
					}
					after = rec.Key()
				}
				if len(records) == 0 {
					break
				}
			}
		}
	}
}

// Page returns some live sessions of a partition from its owner, in order of
// key: those whose keys come after one. There are no more if there are none.
// The owner may be another for each page.
func (s *Sessions) Page(ctx context.Context, partition int, after string) ([]*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Scan, Key: partitionKeys()[partition], NewKey: after}, session.AckDefault)
	return reply.Records, err
}

// partitionKeys has a key of each partition, by which an operation on the whole
// partition finds its owner.
var partitionKeys = sync.OnceValue(func() *[ring.Partitions]string {
	keys := new([ring.Partitions]string)
	for i, missing := 0, ring.Partitions; missing > 0; i++ {
		key := strconv.Itoa(i)
		if p := &keys[ring.Partition(key)]; *p == "" {
			*p = key
			missing--
		}
	}
	return keys
})

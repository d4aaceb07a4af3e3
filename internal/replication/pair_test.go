package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPartitions = 4

func partitionOf(key string) int { return int(session.KeyHash(key) % testPartitions) }

// newStore returns a store with all partitions open.
func newStore(t require.TestingT, now func() time.Time) *session.Store {
	store, err := session.NewStore(session.Config{
		Partitions: testPartitions, PartitionOf: partitionOf, Now: now,
		TagOf: func(key string) (string, bool) { return key, false },
	})
	require.NoError(t, err)
	for p := range testPartitions {
		store.Open(p)
	}
	return store
}

func put(t require.TestingT, store *session.Store, key, value string) *session.Record {
	res, err := store.Do(&session.Op{Kind: session.Put, Key: key, Revive: true, Fields: []session.Field{{Name: "v", Value: value}}})
	require.NoError(t, err)
	return res.Record
}

// keys returns n keys that all lie in one partition.
func keys(partition, n int) []string {
	var found []string
	for i := 0; len(found) < n; i++ {
		if key := fmt.Sprint("key-", i); partitionOf(key) == partition {
			found = append(found, key)
		}
	}
	return found
}

// decodeAll reads the records of a frame.
func decodeAll(t require.TestingT, payload []byte) (records []*session.Record) {
	for len(payload) > 0 {
		rec, n, err := session.DecodeRecord(payload)
		require.NoError(t, err)
		records = append(records, rec)
		payload = payload[n:]
	}
	return records
}

// peerFunc is a Peer in one function.
type peerFunc func(ctx context.Context, typ byte, payload []byte) ([]byte, error)

func (peerFunc) ReadsMoved() bool { return false }
func (peerFunc) ListsPages() bool { return false }

func (f peerFunc) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	return f(ctx, typ, payload)
}

var errNoLink = errors.New("no link")

// memory is a Peer that is another Replicator in the same process. It counts
// what passes.
type memory struct {
	to *Replicator

	mu      sync.Mutex // guards what follows
	calls   map[byte]int
	largest int  // bytes of a payload or an answer
	old     bool // both sides are of an older version

	answered func(typ byte, answer []byte) // if set
}

func (m *memory) ReadsMoved() bool { return !m.old }
func (m *memory) ListsPages() bool { return !m.old }

// older is a Reader of an older version.
type older struct{}

func (older) ReadsMoved() bool { return false }
func (older) ListsPages() bool { return false }

func newMemory(to *Replicator) *memory { return &memory{to: to, calls: make(map[byte]int)} }

// Call lends Serve a copy of payload and spoils it afterwards, so that a side
// that keeps what it does not own is found out.
func (m *memory) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	lent := bytes.Clone(payload)
	answer, err := m.to.Serve(m, typ, lent)
	for i := range lent {
		lent[i] = 0xff
	}
	m.mu.Lock()
	m.calls[typ]++
	m.largest = max(m.largest, len(payload), len(answer))
	m.mu.Unlock()
	if m.answered != nil {
		m.answered(typ, answer)
	}
	if err != nil {
		return nil, &peer.RemoteError{Text: err.Error()}
	}
	return answer, nil
}

// held is a Peer whose calls wait until the test answers them.
type held struct {
	older
	calls chan *heldCall
}

type heldCall struct {
	payload []byte
	answer  []byte
	err     error
	done    chan struct{}
}

func newHeld() *held { return &held{calls: make(chan *heldCall, 1)} }

func (h *held) Call(ctx context.Context, _ byte, payload []byte) ([]byte, error) {
	c := &heldCall{payload: bytes.Clone(payload), done: make(chan struct{})}
	h.calls <- c
	select {
	case <-c.done:
		return c.answer, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *heldCall) reply(answer []byte, err error) {
	c.answer, c.err = answer, err
	close(c.done)
}

// only is the one record that the call carries.
func (c *heldCall) only(t *testing.T) *session.Record {
	t.Helper()
	records := decodeAll(t, c.payload)
	require.Len(t, records, 1)
	return records[0]
}

// next is the call that waits for an answer; nil if there is none although
// everybody has done what they can. To be used within a synctest bubble.
func (h *held) next(wait func()) *heldCall {
	wait()
	select {
	case c := <-h.calls:
		return c
	default:
		return nil
	}
}

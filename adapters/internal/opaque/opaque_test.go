package opaque

import (
	"bytes"
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// one is a Sessions of one partition. before runs before each operation.
type one struct {
	*session.Store
	before func(op *session.Op)
}

func newOne(t *testing.T) *one {
	t.Helper()
	store, err := session.NewStore(session.Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 },
		TagOf: func(key string) (string, bool) { return key, false },
	})
	require.NoError(t, err)
	store.Open(0)
	return &one{store, func(*session.Op) {}}
}

func (o *one) Do(_ context.Context, op *session.Op, _ session.Ack) (session.Reply, error) {
	o.before(op)
	res, err := o.Store.Do(op)
	return session.Reply{Result: res}, err
}

func (o *one) All(context.Context) iter.Seq2[*session.Record, error] {
	return func(func(*session.Record, error) bool) {}
}

// A logout between a Put's look and its write is not undone by it.
func TestDeleteInTheMiddleOfAPut(t *testing.T) {
	o := newOne(t)
	v := Values{Sessions: o, Prefix: "p:"}
	end := time.Now().Add(time.Hour)
	require.NoError(t, v.Put(t.Context(), "a", []byte("1"), end))
	o.before = func(op *session.Op) {
		if op.Kind == session.Put {
			_, err := o.Store.Do(&session.Op{Kind: session.Delete, Key: "p:a"})
			require.NoError(t, err)
		}
	}
	require.ErrorIs(t, v.Put(t.Context(), "a", []byte("2"), end), session.ErrDeleted)
	v.Revive = true
	require.NoError(t, v.Put(t.Context(), "a", []byte("3"), end))
	value, found, err := v.Get(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "3", string(value))
}

// The stamp of a session that began right after a succession is ahead of the
// clock, and may be after the end that a value has.
func TestEndIsKeptWhileStampsAreAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOne(t)
		o.Admit(0)
		v := Values{Sessions: o}
		for wait := time.Duration(0); wait < 2*session.Lead; wait += 300 * time.Millisecond {
			end := time.Now().Add(time.Second)
			require.NoError(t, v.Put(t.Context(), "a", []byte("1"), end))
			require.Equal(t, end.UnixMilli(), o.Peek("a").Expiry().At, "%v after the succession", wait)
			time.Sleep(300 * time.Millisecond)
		}
	})
}

// So it is of a session that was made without knowing whether it was elsewhere,
// whose rank is no stamp.
func TestEndIsKeptOfABlindSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOne(t)
		_, err := o.Store.Do(&session.Op{Kind: session.Put, Key: "a", Blind: true, Fields: []session.Field{{Value: "1"}}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		end := time.Now().Add(time.Minute)
		v := Values{Sessions: o}
		require.NoError(t, v.Put(t.Context(), "a", []byte("2"), end))
		require.Equal(t, end.UnixMilli(), o.Peek("a").Expiry().At)
	})
}

// Operations outlive the call on their way to copies, and so do their keys.
func TestKeysAreCopies(t *testing.T) {
	o := newOne(t)
	var keys []string
	o.before = func(op *session.Op) { keys = append(keys, op.Key) }
	v := Values{Sessions: o}
	buffer := bytes.Clone([]byte("mine")) // not on the stack, from where strings are copied anyway
	require.NoError(t, v.Put(t.Context(), unsafe.String(&buffer[0], len(buffer)), []byte("1"), time.Time{}))
	copy(buffer, "your")
	require.Equal(t, []string{"mine", "mine"}, keys)
}

// Fields that another endpoint has written are no value.
func TestFieldsAreNoValue(t *testing.T) {
	o := newOne(t)
	_, err := o.Store.Do(&session.Op{Kind: session.Put, Key: "p:a", Fields: []session.Field{{Name: "f", Value: "1"}}})
	require.NoError(t, err)
	v := Values{Sessions: o, Prefix: "p:"}
	_, found, err := v.Get(t.Context(), "a")
	require.NoError(t, err)
	require.False(t, found)
}

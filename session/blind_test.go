package session

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// blindly creates a session as an owner does that finds nothing, and cannot ask
// those who may have it.
func blindly(t *testing.T, s *Store, op Op) *Record {
	t.Helper()
	op.Kind, op.Blind = Put, true
	return do(t, s, op).Record
}

func fields(value string) []Field { return []Field{{Name: "n", Value: value}} }

// Two sides of a cut write to one session, of which one side has no copy. What it
// wrote earlier than the other must not undo what the other has acknowledged
// since.
func TestBlindWriteYieldsToWhatIsThere(t *testing.T) {
	t.Parallel()
	there, clock := testStore(t)
	here := testStoreWith(t, testConfig(clock))
	put(t, there, "k", fields("1")...)
	clock.advance(time.Minute)
	blind := blindly(t, here, Op{Key: "k", Fields: fields("2")})
	require.Equal(t, clock.t, blind.Began())
	clock.advance(time.Minute)
	kept := put(t, there, "k", fields("3")...)

	for _, merged := range []*Record{Merge(blind, kept), Merge(kept, blind)} {
		require.Equal(t, kept, merged)
	}
	// Also with what was written before, for it is known there, and confirmed.
	clock.advance(time.Minute)
	late := blindly(t, testStoreWith(t, testConfig(clock)), Op{Key: "k", Fields: fields("4")})
	require.Equal(t, kept, Merge(late, kept))
}

// A logout on the side that has the session holds for what the other writes
// without knowing of it.
func TestLogoutHoldsForBlindWrites(t *testing.T) {
	t.Parallel()
	there, clock := testStore(t)
	here := testStoreWith(t, testConfig(clock))
	put(t, there, "k", fields("1")...)
	do(t, there, Op{Kind: Delete, Key: "k"})
	tombstone := there.Peek("k")
	require.True(t, tombstone.Dead())
	clock.advance(time.Minute)
	blind := blindly(t, here, Op{Key: "k", Fields: fields("2")})
	require.Equal(t, tombstone, Merge(blind, tombstone))

	// Where the logout is known, whoever creates the session anew means it.
	clock.advance(time.Minute)
	again := blindly(t, there, Op{Key: "k", Fields: fields("3"), Revive: true})
	require.Equal(t, again, Merge(again, tombstone))
	require.Equal(t, again, Merge(again, blind))
}

// Nobody else has it: then it is a session like any other.
func TestBlindSessionLives(t *testing.T) {
	t.Parallel()
	s, clock := testStore(t)
	blindly(t, s, Op{Key: "k", Fields: fields("1"), TTL: time.Hour, MaxAge: 90 * time.Minute})
	clock.advance(50 * time.Minute)
	put(t, s, "k", fields("2")...)
	require.Equal(t, "2", slices.Collect(do(t, s, Op{Kind: Get, Key: "k"}).Record.Fields())[0].Value)
	do(t, s, Op{Kind: Patch, Key: "k", Fields: fields("3"), MaxAge: 90 * time.Minute})
	clock.advance(39 * time.Minute)
	do(t, s, Op{Kind: Get, Key: "k"})
	clock.advance(time.Minute)
	_, err := s.Do(&Op{Kind: Get, Key: "k"})
	require.ErrorIs(t, err, ErrNotFound, "90 minutes after it was created, and not after the last write")

	rec := blindly(t, s, Op{Key: "other", Fields: fields("1")})
	decoded, _, err := DecodeRecord(rec.Append(nil))
	require.NoError(t, err)
	require.Equal(t, rec.Began(), decoded.Began())
	do(t, s, Op{Kind: Delete, Key: "other"})
	require.Equal(t, s.Peek("other"), Merge(rec, s.Peek("other")))
}

// One that has expired here, and elsewhere maybe not, goes on.
func TestBlindWriteGoesOnWithWhatHasExpired(t *testing.T) {
	t.Parallel()
	s, clock := testStore(t)
	was := do(t, s, Op{Kind: Put, Key: "k", Fields: fields("1"), TTL: time.Minute}).Record
	clock.advance(2 * time.Minute)
	require.Equal(t, was.Rank(), blindly(t, s, Op{Key: "k", Fields: fields("2")}).Rank())
	clock.advance(time.Hour)
	require.NotEqual(t, was.Rank(), put(t, s, "k", fields("3")...).Rank())
}

// So it is in a transaction.
func TestBlindTx(t *testing.T) {
	t.Parallel()
	s, clock := testStore(t)
	write := func(key string, blind bool) *Record {
		_, err := s.Update(s.cfg.PartitionOf(key), func(tx *Tx) error {
			if blind {
				tx.Blind()
			}
			return tx.Put(key, fields("1"), nil)
		})
		require.NoError(t, err)
		return s.Peek(key)
	}
	require.Equal(t, Stamp(clock.t.UnixMilli()), write("a", true).Rank())
	require.Greater(t, write("b", false).Rank(), firstStamp)
}

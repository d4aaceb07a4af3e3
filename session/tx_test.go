package session

import (
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/alloctest"
)

func update(t require.TestingT, s *Store, key string, f func(tx *Tx) error) Changes {
	changes, err := s.Update(s.cfg.PartitionOf(key), f)
	require.NoError(t, err)
	return changes
}

func opaque(value string) []Field { return []Field{{Value: value}} }

func TestTxPutKeepsOrSetsTheEnd(t *testing.T) {
	s, c := testStore(t)
	at := c.t.Add(time.Minute).UnixMilli()
	until := func() int64 {
		var until int64
		require.NoError(t, s.View(s.cfg.PartitionOf("k"), func(tx *Tx) error {
			rec, end := tx.Get("k")
			require.NotNil(t, rec)
			until = end
			return nil
		}))
		return until
	}
	update(t, s, "k", func(tx *Tx) error { return tx.Put("k", opaque("1"), nil) })
	require.Zero(t, until(), "a command's session has no end of its own accord")
	update(t, s, "k", func(tx *Tx) error { return tx.Put("k", opaque("1"), &Expiry{At: at, Deadline: at}) })
	require.Equal(t, at, until())
	c.advance(time.Second)
	update(t, s, "k", func(tx *Tx) error { return tx.Put("k", opaque("2"), nil) })
	require.Equal(t, at, until(), "kept")
	update(t, s, "k", func(tx *Tx) error { return tx.Put("k", opaque("2"), &Expiry{}) })
	require.Zero(t, until(), "taken off")

	do(t, s, Op{Kind: Put, Key: "k", TTL: time.Minute})
	c.advance(time.Second)
	update(t, s, "k", func(tx *Tx) error { return tx.Patch("k", []Field{{Name: "a", Value: "1"}}) })
	require.Equal(t, c.t.Add(time.Minute).UnixMilli(), until(), "a session that slides does so with every write")
}

// TestView: a look at one session that is there takes no lock, one at what is
// not there asks with the lock whether the partition is still open.
func TestView(t *testing.T) {
	s, c := testStore(t)
	p := s.cfg.PartitionOf("k")
	look := func() (found bool, deleted int64, n int, err error) {
		err = s.View(p, func(tx *Tx) error {
			d, _ := tx.Get("k")
			found = d != nil
			deleted, _ = tx.DeletedAt("k")
			for range tx.Each {
				n++
			}
			return nil
		})
		require.True(t, s.partitions[p].mu.TryLock(), "the lock was not given back")
		s.partitions[p].mu.Unlock()
		return found, deleted, n, err
	}
	same := func(found bool, deleted int64, n int) {
		t.Helper()
		f, d, m, err := look()
		require.Equal(t, []any{found, deleted, n, nil}, []any{f, d, m, err})
	}
	same(false, 0, 0)
	do(t, s, Op{Kind: Put, Key: "k", TTL: time.Minute})
	same(true, 0, 1)
	s.partitions[p].mu.Lock()
	require.NoError(t, s.View(p, func(tx *Tx) error {
		d, _ := tx.Get("k")
		require.NotNil(t, d)
		return nil
	}), "no lock is taken")
	s.partitions[p].mu.Unlock()
	c.advance(time.Hour)
	same(false, 0, 0)
	put(t, s, "k")
	do(t, s, Op{Kind: Delete, Key: "k"})
	same(false, c.t.UnixMilli(), 0)
	s.Close(p)
	_, _, _, err := look()
	require.ErrorIs(t, err, ErrNotServed)

	s.Open(p)
	err = s.View(p, func(tx *Tx) error {
		s.Close(p) // after the first look at it
		d, _ := tx.Get("k")
		require.Nil(t, d)
		return nil
	})
	require.ErrorIs(t, err, ErrNotServed, "a miss of a closed partition is no miss")
}

func TestTxPatchLeavesTheExpiryRegisterAlone(t *testing.T) {
	s, c := testStore(t)
	at := c.t.Add(time.Minute).UnixMilli()
	update(t, s, "k", func(tx *Tx) error {
		require.NoError(t, tx.Patch("k", []Field{{Name: "a", Value: "1"}}))
		require.True(t, tx.Expire("k", Expiry{At: at, Deadline: at}))
		return nil
	})
	before := s.Peek("k").Expiry()
	update(t, s, "k", func(tx *Tx) error { return tx.Patch("k", []Field{{Name: "b", Value: "1"}}) })
	require.Equal(t, before, s.Peek("k").Expiry(), "so it wins over no EXPIRE of another side")
}

func TestTxDeleteOutlivesADeadline(t *testing.T) {
	s, c := testStore(t)
	for _, after := range []time.Duration{time.Second, 48 * time.Hour} {
		at := c.t.Add(after).UnixMilli()
		update(t, s, "k", func(tx *Tx) error {
			require.NoError(t, tx.Put("k", opaque(""), &Expiry{At: at, Deadline: at}))
			require.True(t, tx.Delete("k"))
			require.False(t, tx.Delete("k"), "it is gone")
			deleted, ok := tx.DeletedAt("k")
			require.True(t, ok)
			require.Equal(t, tx.Now(), deleted)
			return nil
		})
		require.Equal(t, max(at, c.t.Add(24*time.Hour).UnixMilli())+tombstoneSlack, s.Peek("k").Expiry().At)
	}
}

func TestTxRenameMovesAndBuries(t *testing.T) {
	s, c := testStore(t)
	at := c.t.Add(time.Minute).UnixMilli()
	changes := update(t, s, "{a}1", func(tx *Tx) error {
		require.NoError(t, tx.Put("{a}1", opaque("x"), &Expiry{At: at, Deadline: at}))
		require.NoError(t, tx.Put("{a}2", opaque("y"), nil))
		ok, err := tx.Rename("{a}1", "{a}2")
		require.True(t, ok)
		require.NoError(t, err)
		ok, err = tx.Rename("{a}1", "{a}2")
		require.False(t, ok)
		return err
	})
	require.Equal(t, []string{"{a}1", "{a}2"}, changes.Keys)
	rec, err := s.Get("{a}2")
	require.NoError(t, err)
	value, _ := rec.Opaque()
	require.Equal(t, "x", value)
	require.Equal(t, at, rec.Expiry().At)
	_, err = s.Get("{a}1")
	require.ErrorIs(t, err, ErrDeleted)
	checkInvariants(t, s)
}

func TestTxRefusals(t *testing.T) {
	s, _ := testStore(t)
	long := string(make([]byte, s.cfg.MaxKey+1))
	update(t, s, "k", func(tx *Tx) error {
		require.ErrorIs(t, tx.Put("", opaque(""), nil), ErrKey)
		require.ErrorIs(t, tx.Patch(long, nil), ErrKey)
		require.ErrorIs(t, tx.Put("k", opaque(string(make([]byte, s.cfg.MaxSession+1))), nil), ErrTooLarge)
		require.NoError(t, tx.Put("k", opaque("x"), nil))
		require.ErrorIs(t, tx.Patch("k", []Field{{Name: "f"}}), ErrType)
		return nil
	})
	mine := errors.New("mine")
	_, err := s.Update(0, func(*Tx) error { return mine })
	require.Equal(t, mine, err)
	s.Close(3)
	_, err = s.Update(3, func(*Tx) error { panic("not to be run") })
	require.ErrorIs(t, err, ErrNotServed)
	require.ErrorIs(t, s.View(3, func(*Tx) error { panic("not to be run") }), ErrNotServed)
}

// Keys and values may lie in a buffer that is used again.
func TestTxKeepsNothingOfItsArguments(t *testing.T) {
	s, _ := testStore(t)
	buffer := make([]byte, 3)
	key := unsafe.String(&buffer[0], 3)
	writes := []func(tx *Tx) error{
		func(tx *Tx) error { return tx.Put(key, opaque(key), nil) },
		func(tx *Tx) error { tx.Delete(key); return nil },
		func(tx *Tx) error { return tx.Put(key, opaque(key), nil) },
		func(tx *Tx) error { tx.Delete(key); return nil },
		func(tx *Tx) error { tx.Delete(key); return nil }, // of what is deleted already
		func(tx *Tx) error { return tx.Patch(key, []Field{{Name: key, Value: key}}) },
		func(tx *Tx) error { return tx.Patch(key, []Field{{Name: key, Value: key}}) },
		func(tx *Tx) error { _, err := tx.Rename(key, key); return err },
		func(tx *Tx) error { tx.Expire(key, Expiry{}); return nil },
	}
	for i, write := range writes {
		copy(buffer, "key")
		changes := update(t, s, key, write)
		copy(buffer, "xxx")
		rec := s.Peek("key")
		require.NotNil(t, rec, i)
		require.NotContains(t, string(rec.Append(nil)), "xxx", i)
		for _, changed := range changes.Keys {
			require.Equal(t, "key", changed, i)
		}
		checkInvariants(t, s)
	}
}

func TestTxOverAnEndedSession(t *testing.T) {
	s, c := testStore(t)
	do(t, s, Op{Kind: Put, Key: "k", TTL: time.Second})
	c.advance(time.Second)
	changes := update(t, s, "k", func(tx *Tx) error { return tx.Put("k", opaque("x"), nil) })
	require.Equal(t, []string{"k"}, changes.Lapsed, "nobody else will say that it ended")
}

func TestSweepNamesWhatEndedWhereItWasServed(t *testing.T) {
	s, c := testStore(t)
	for i := range 20 {
		do(t, s, Op{Kind: Put, Key: fmt.Sprintf("{a}%d", i), TTL: time.Second})
		do(t, s, Op{Kind: Put, Key: fmt.Sprintf("{b}%d", i), TTL: time.Second})
	}
	require.NotEqual(t, s.cfg.PartitionOf("{a}"), s.cfg.PartitionOf("{b}"))
	s.Close(s.cfg.PartitionOf("{b}"))
	c.advance(time.Minute)
	ended, n := s.Sweep(15)
	require.Equal(t, 40, n)
	require.Len(t, ended, 15, "bounded")
	for _, key := range ended {
		require.Contains(t, key, "{a}")
	}
}

// txStep runs one random write on one of several copies of a partition.
func txStep(t *rapid.T, s *Store) {
	key := rapid.SampledFrom([]string{"{a}1", "{a}2"}).Draw(t, "key")
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	value := rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")
	update(t, s, key, func(tx *Tx) error {
		at := tx.Now() + rapid.Int64Range(1, 5000).Draw(t, "for")
		end := Expiry{At: at, Deadline: at}
		switch rapid.IntRange(0, 6).Draw(t, "what") {
		case 0:
			return tx.Put(key, opaque(value), &end)
		case 1:
			return tx.Put(key, []Field{{Name: name, Value: value}}, nil)
		case 2:
			tx.Expire(key, end)
		case 3:
			tx.Delete(key)
		case 4:
			_, err := tx.Rename(key, "{a}1")
			return err
		default:
			absent := rapid.Bool().Draw(t, "absent")
			if err := tx.Patch(key, []Field{{Name: name, Value: value, Absent: absent}}); !errors.Is(err, ErrType) {
				return err
			}
		}
		return nil
	})
}

// TestTxCopiesConverge: whatever commands copies have run apart, once each has
// merged what the others hold, in any order, all are equal, and no invariant is
// broken.
func TestTxCopiesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		stores := []*Store{propertyStore(t, c), propertyStore(t, c), propertyStore(t, c)}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch s := rapid.SampledFrom(stores).Draw(t, "copy"); rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				exchange(t, rapid.SampledFrom(stores).Draw(t, "from"), s)
			case 1:
				c.advance(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
			default:
				txStep(t, s)
			}
		}
		for range 2 {
			for _, to := range stores {
				for _, from := range stores {
					exchange(t, from, to)
				}
			}
		}
		p := stores[0].cfg.PartitionOf("{a}1")
		for _, s := range stores {
			s.Expire()
			require.Equal(t, stores[0].Digest(p), s.Digest(p))
			checkInvariants(t, s)
		}
	})
}

func exchange(t require.TestingT, from, to *Store) {
	for _, rec := range from.Records(from.cfg.PartitionOf("{a}1")) {
		decoded, _, err := DecodeRecord(rec.Append(nil))
		require.NoError(t, err)
		if _, err = to.Merge(decoded); !errors.Is(err, ErrPast) {
			require.NoError(t, err)
		}
	}
}

func TestTxReadsWithoutAllocating(t *testing.T) {
	s, _ := testStore(t)
	put(t, s, "k", Field{Name: "a", Value: "1"})
	p := s.cfg.PartitionOf("k")
	found := 0
	require.Zero(t, alloctest.Fewest(func() {
		_ = s.View(p, func(tx *Tx) error {
			if rec, _ := tx.Get("k"); rec != nil {
				found++
			}
			return nil
		})
	}))
	require.Positive(t, found)
}

// Whoever puts something in the place of nothing asks whether there is anything:
// what has ended, or was deleted, counts until it is forgotten.
func TestTxKnows(t *testing.T) {
	s, c := testStore(t)
	knows := func() (knows bool) {
		require.NoError(t, s.View(s.cfg.PartitionOf("k"), func(tx *Tx) error {
			knows = tx.Knows("k")
			return nil
		}))
		return knows
	}
	require.False(t, knows())
	do(t, s, Op{Kind: Put, Key: "k", TTL: time.Minute})
	require.True(t, knows())
	c.advance(time.Minute)
	_, err := s.Get("k")
	require.ErrorIs(t, err, ErrNotFound)
	require.True(t, knows(), "it has ended and is not forgotten")
	c.advance(time.Minute)
	s.Expire()
	require.False(t, knows())
	do(t, s, Op{Kind: Delete, Key: "k"})
	require.True(t, knows())
}

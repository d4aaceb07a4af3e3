package session

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// step is one thing that a transaction does to the session "k".
type step struct {
	name string
	do   func(tx *Tx) string // what it saw
}

func drawStep(t *rapid.T) step {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", FieldKind, strings.Repeat("long", 40)})
	fields := func() []Field {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Field {
			f := Field{Name: name.Draw(t, "name"), Absent: rapid.Bool().Draw(t, "absent")}
			f.Value = rapid.SampledFrom([]string{"", "1", strings.Repeat("v", 300)}).Draw(t, "value")
			return f
		}), 0, 4).Draw(t, "fields")
	}
	switch kind := rapid.SampledFrom([]string{"put", "patch", "patch", "patch", "expire", "delete", "look", "all", "rename"}).Draw(t, "step"); kind {
	case "put":
		set := fields()
		return step{kind, func(tx *Tx) string { return fmt.Sprint(tx.Put("k", set, nil)) }}
	case "patch":
		set := fields()
		return step{kind, func(tx *Tx) string { return fmt.Sprint(tx.Patch("k", set)) }}
	case "expire":
		at := rapid.Int64Range(0, 3).Draw(t, "hours")
		return step{kind, func(tx *Tx) string {
			return fmt.Sprint(tx.Expire("k", Expiry{At: at * (tx.Now() + 3_600_000)}))
		}}
	case "delete":
		return step{kind, func(tx *Tx) string { return fmt.Sprint(tx.Delete("k")) }}
	case "rename":
		return step{kind, func(tx *Tx) string { return fmt.Sprint(tx.Rename("k", "k")) }}
	case "look":
		wanted := name.Draw(t, "name")
		return step{kind, func(tx *Tx) string {
			d, until := tx.Get("k")
			if d == nil {
				_, deleted := tx.DeletedAt("k")
				return fmt.Sprint(deleted)
			}
			value, ok := d.Value(wanted)
			return fmt.Sprint(value, ok, until, d.Len(), d.Kind(), d.Expiry().At)
		}}
	default:
		return step{kind, func(tx *Tx) string {
			d, _ := tx.Get("k")
			if d == nil {
				return ""
			}
			var all []string
			for f := range d.Fields() {
				all = append(all, f.Name+"="+f.Value)
			}
			return strings.Join(all, " ")
		}}
	}
}

// TestDraftIsWhatTransactionsInARowDo: steps in one transaction see and leave
// what they would, each in a transaction of its own.
func TestDraftIsWhatTransactionsInARowDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		one, many := propertyStore(t, c), propertyStore(t, c)
		for _, s := range []*Store{one, many} {
			s.cfg.MaxSession, s.cfg.MaxFields = 900, 5 // so that removed fields give way
		}
		for range rapid.IntRange(1, 3).Draw(t, "transactions") {
			steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 12).Draw(t, "steps")
			var saw, want []string
			update(t, one, "k", func(tx *Tx) error {
				for _, s := range steps {
					saw = append(saw, s.do(tx))
				}
				return nil
			})
			for _, s := range steps {
				update(t, many, "k", func(tx *Tx) error {
					want = append(want, s.do(tx))
					return nil
				})
			}
			require.Equal(t, want, saw)
			checkInvariants(t, one)
			a, b := one.Peek("k"), many.Peek("k")
			require.Equal(t, b == nil, a == nil)
			if a != nil {
				require.Equal(t, string(b.Append(nil)), string(a.Append(nil)))
			}
			c.advance(time.Minute)
		}
	})
}

// large makes the session "k" of n fields.
func large(t testing.TB, s *Store, n int) {
	s.cfg.MaxSession = 4 << 20
	fields := make([]Field, n)
	for i := range fields {
		fields[i] = Field{Name: fmt.Sprintf("f%06d", i), Value: "v"}
	}
	_, err := s.Update(s.cfg.PartitionOf("k"), func(tx *Tx) error { return tx.Put("k", fields, nil) })
	require.NoError(t, err)
}

// TestWorkPerField: n steps of a transaction on a session of m fields cost no
// more than a multiple of m + n log m, for any mix of them. It counts the work
// that the store itself limits transactions by.
func TestWorkPerField(t *testing.T) {
	for _, m := range []int{100, 1_000, 10_000, 100_000} {
		s, _ := testStore(t)
		large(t, s, m)
		n := min(m, 2_000)
		steps := map[string]func(tx *Tx, i int){
			"look": func(tx *Tx, i int) {
				d, _ := tx.Get("k")
				_, ok := d.Value(fmt.Sprintf("f%06d", i))
				require.True(t, ok)
			},
			"set": func(tx *Tx, i int) {
				require.NoError(t, tx.Patch("k", []Field{{Name: fmt.Sprintf("f%06d", i), Value: "w"}}))
			},
			"add and look": func(tx *Tx, i int) {
				require.NoError(t, tx.Patch("k", []Field{{Name: fmt.Sprintf("g%06d", i), Value: "w"}}))
				d, _ := tx.Get("k")
				require.Equal(t, m+i+1, d.Len())
			},
			"remove and expire": func(tx *Tx, i int) {
				require.NoError(t, tx.Patch("k", []Field{{Name: fmt.Sprintf("g%06d", i), Absent: true}}))
				require.True(t, tx.Expire("k", Expiry{At: tx.Now() + int64(i) + 1000}))
			},
		}
		for name, step := range steps {
			spent := 0
			update(t, s, "k", func(tx *Tx) error {
				for i := range n {
					step(tx, i)
				}
				spent = tx.Spent()
				return nil
			})
			bound := 16 * (m + n*bits.Len(uint(m)))
			require.Less(t, spent, bound, "%s: %d steps on %d fields", name, n, m)
			large(t, s, m)
		}
	}
}

// TestTransactionIsRunAgain: what came between a transaction's reads and its
// writes is not written over, and a transaction that only reads sees one
// moment.
func TestTransactionIsRunAgain(t *testing.T) {
	s, _ := testStore(t)
	update(t, s, "{a}1", func(tx *Tx) error { return tx.Put("{a}1", opaque("1"), nil) })
	text := func(tx *Tx, key string) string {
		if d, _ := tx.Get(key); d != nil {
			value, _ := d.Opaque()
			return value
		}
		return ""
	}
	runs := 0
	between := func(key string) {
		if runs++; runs == 1 {
			update(t, s, key, func(tx *Tx) error { return tx.Put(key, opaque("9"), nil) })
		}
	}
	update(t, s, "{a}1", func(tx *Tx) error {
		old := text(tx, "{a}1")
		tx.Spend(aloneWork + 1)
		between("{a}1")
		return tx.Put("{a}1", opaque(old+"0"), nil)
	})
	require.Equal(t, 2, runs)
	view := func() (got string) {
		require.NoError(t, s.View(s.cfg.PartitionOf("{a}1"), func(tx *Tx) error {
			got = text(tx, "{a}2")
			between("{a}2")
			got += text(tx, "{a}1")
			return nil
		}))
		return got
	}
	runs = 0
	require.Equal(t, "990", view())
	require.Equal(t, 2, runs)
	require.EqualValues(t, 2, s.Stats().Retried)
	checkInvariants(t, s)
}

// TestParallelTransactions: none of many that add to one session is lost, small
// ones and large ones.
func TestParallelTransactions(t *testing.T) {
	s, _ := testStore(t)
	large(t, s, 5_000)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				for {
					_, err := s.Update(s.cfg.PartitionOf("k"), func(tx *Tx) error {
						d, _ := tx.Get("k")
						value, _ := d.Value("n")
						if g == 0 {
							tx.Spend(aloneWork + 1)
						}
						return tx.Patch("k", []Field{{Name: "n", Value: value + "x"}, {Name: fmt.Sprint("g", g, i), Value: "v"}})
					})
					if !errors.Is(err, ErrBusy) { // which a large one may be told
						require.NoError(t, err)
						break
					}
				}
			}
		})
	}
	wg.Wait()
	value, _ := s.Peek("k").Value("n")
	require.Len(t, value, 200)
	checkInvariants(t, s)
}

// TestBusy: a transaction of much work that others come before each time is
// refused, and before one of little work nobody comes.
func TestBusy(t *testing.T) {
	s, c := testStore(t)
	put(t, s, "k")
	run := func(work int) (runs int, err error) {
		_, err = s.Update(s.cfg.PartitionOf("k"), func(tx *Tx) error {
			tx.Get("k")
			tx.Spend(work)
			if runs++; work > aloneWork {
				c.advance(time.Minute)
				do(t, s, Op{Kind: Touch, Key: "k"})
			}
			return tx.Patch("k", []Field{{Name: "a", Value: "1"}})
		})
		return runs, err
	}
	runs, err := run(aloneWork + 1)
	require.ErrorIs(t, err, ErrBusy)
	require.Equal(t, maxTries, runs)
	require.EqualValues(t, 1, s.Stats().Busy)
	runs, err = run(1)
	require.NoError(t, err)
	require.Equal(t, 1, runs)
	checkInvariants(t, s)
}

// TestPartitionIsFreeDuringWork: while a transaction computes, all others go
// on, and the partition can be closed. What the transaction wrote then is lost,
// not put in late.
func TestPartitionIsFreeDuringWork(t *testing.T) {
	s, _ := testStore(t)
	p := s.cfg.PartitionOf("k")
	_, err := s.Update(p, func(tx *Tx) error {
		require.NoError(t, tx.Put("k", opaque("late"), nil))
		tx.Spend(aloneWork + 1)
		put(t, s, "j") // this and what follows would wait for ever
		s.Digest(p)
		s.Close(p)
		return nil
	})
	require.ErrorIs(t, err, ErrNotServed)
	require.Nil(t, s.Peek("k"))
	checkInvariants(t, s)
}

// TestErrorWritesNothing: a transaction that fails leaves everything as it was.
func TestErrorWritesNothing(t *testing.T) {
	s, _ := testStore(t)
	put(t, s, "k", Field{Name: "a", Value: "1"})
	before, mine := s.Digest(s.cfg.PartitionOf("k")), errors.New("mine")
	changes, err := s.Update(s.cfg.PartitionOf("k"), func(tx *Tx) error {
		tx.Delete("k")
		return mine
	})
	require.Equal(t, mine, err)
	require.Empty(t, changes.Keys)
	require.Equal(t, before, s.Digest(s.cfg.PartitionOf("k")))
}

func TestFieldLimits(t *testing.T) {
	s, _ := testStore(t)
	s.cfg.MaxFields = 10
	many := func(n int, absent bool) (fields []Field) {
		for i := range n {
			fields = append(fields, Field{Name: fmt.Sprint("f", i), Value: "v", Absent: absent})
		}
		return fields
	}
	name := []Field{{Name: strings.Repeat("n", maxName+1)}}
	for _, kind := range []Kind{Put, Patch} {
		put(t, s, "k", many(9, false)...)
		_, err := s.Do(&Op{Kind: kind, Key: "k", Fields: many(11, false)})
		require.ErrorIs(t, err, ErrTooLarge)
		_, err = s.Do(&Op{Kind: kind, Key: "k", Fields: name})
		require.ErrorIs(t, err, ErrTooLarge)
	}
	patch := func(fields ...Field) (err error) {
		update(t, s, "k", func(tx *Tx) error {
			err = tx.Patch("k", fields)
			return nil
		})
		return err
	}
	require.ErrorIs(t, patch(name...), ErrTooLarge)
	require.NoError(t, patch(Field{Name: "g0"}))
	require.ErrorIs(t, patch(Field{Name: "g1"}), ErrTooLarge)
	require.NoError(t, patch(many(5, true)...), "removing is always possible")
	require.NoError(t, patch(Field{Name: "g1"}), "the removed give way")
	require.Equal(t, 6, shapeOf(s.Peek("k")).shown)
}

// TestOverlayIsAMapUpdate holds overlay against a plain map.
func TestOverlayIsAMapUpdate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string, stamp Stamp) []Field {
			fields := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Field {
				f := Field{Name: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name"), Stamp: stamp}
				if f.Absent = rapid.Bool().Draw(t, "absent"); !f.Absent {
					f.Value = rapid.StringN(0, 200, -1).Draw(t, "value")
				}
				return f
			}), 0, 6).Draw(t, label)
			return sortFields(fields)
		}
		old := newSession("k", 5, 5, Expiry{}, draw("old", 7))
		set := draw("set", 9)
		want := map[string]Field{}
		for _, fields := range [][]Field{slices.Collect(old.All()), set} {
			for _, f := range fields {
				want[f.Name] = f
			}
		}
		text, s := overlay(old, set)
		require.Equal(t, pack("k", sorted(want), 5), text)
		require.Equal(t, shapeOf(&Record{body: text[1:], base: 5}), s)
		index := old.appendIndex(nil)
		for _, name := range []string{"", "a", "b", "c", "d", "e", "z"} {
			f, ok := old.field(name)
			g, ok2 := old.fieldIn(index, name)
			require.Equal(t, []any{f, ok}, []any{g, ok2})
		}
	})
}

// over is a context that is over after so many looks.
type over struct {
	context.Context
	looks int
}

func (c *over) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestPatchThatNobodyWaitsForStops: at the next field, and nothing is changed.
func TestPatchThatNobodyWaitsForStops(t *testing.T) {
	s, _ := testStore(t)
	large(t, s, 10*stopEvery)
	fields := slices.Collect(s.Peek("k").All())
	for i := range fields {
		fields[i].Value = "1"
	}
	op := &Op{Kind: Patch, Key: "k", Fields: fields, Nested: true}
	before := s.Digest(s.cfg.PartitionOf("k"))
	_, err := s.DoAsOf(&over{t.Context(), 3}, op, s.Now())
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, s.Digest(s.cfg.PartitionOf("k")))
	_, err = s.DoAsOf(t.Context(), op, s.Now())
	require.NoError(t, err)
	require.NotEqual(t, before, s.Digest(s.cfg.PartitionOf("k")))
}

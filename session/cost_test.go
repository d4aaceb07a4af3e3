package session

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/costtest"
)

// costStore is a store whose limits are those of a node, with one partition.
func costStore(b *testing.B) *Store {
	return testStoreWith(b, Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: braceTag, MaxSession: 16 << 20,
	})
}

// costFields are n fields, each with a value of its own, in no order.
func costFields(n int, value string) []Field {
	fields := make([]Field, n)
	for i := range fields {
		fields[i] = Field{Name: fmt.Sprintf("f%06d", i), Value: value}
	}
	rand.Shuffle(n, func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return fields
}

// costRecords are two copies of a session of n fields, of which one has patched
// each other field and one has patched the rest.
func costRecords(b *testing.B, n int) (copies [2]*Record) {
	s := costStore(b)
	do(b, s, Op{Kind: Put, Key: "k", Fields: costFields(n, "v")})
	whole := s.Peek("k")
	for odd := range copies {
		to := costStore(b)
		_, err := to.Merge(whole)
		require.NoError(b, err)
		var patch []Field
		for i := odd; i < n; i += 2 {
			patch = append(patch, Field{Name: fmt.Sprintf("f%06d", i), Value: "w"})
		}
		do(b, to, Op{Kind: Patch, Key: "k", Fields: patch})
		copies[odd] = to.Peek("k")
	}
	return copies
}

// costKeys are n sessions in one partition, with one tag.
func costKeys(b *testing.B, n int) *Store {
	s := costStore(b)
	for i := range n {
		do(b, s, Op{Kind: Put, Key: fmt.Sprintf("{u}%06d", i), TTL: time.Hour})
	}
	return s
}

// BenchmarkCost measures every operation, and all that copies and the wire do
// with a session, by the field; and what goes over a partition by the key.
func BenchmarkCost(b *testing.B) {
	whole := func(n int) *Store {
		s := costStore(b)
		do(b, s, Op{Kind: Put, Key: "k", Fields: costFields(n, "v")})
		return s
	}
	op := func(o Op) func(s *Store) { return func(s *Store) { do(b, s, o) } }
	onSession := func(name string, run func(n int) func(s *Store)) {
		b.Run(name, func(b *testing.B) {
			costtest.Flat(b, costtest.All, func(n int) func() {
				s, run := whole(n), run(n)
				return func() { run(s) }
			})
		})
	}
	nested := func(n int, value string) []Field {
		var object strings.Builder
		for i := range n {
			fmt.Fprintf(&object, `,"f%06d":%s`, i, value)
		}
		return []Field{{Name: "object", Value: "{" + object.String()[1:] + "}"}}
	}
	onSession("get", func(int) func(*Store) { return op(Op{Kind: Get, Key: "k"}) })
	onSession("put", func(n int) func(*Store) { return op(Op{Kind: Put, Key: "k", Fields: costFields(n, "w")}) })
	onSession("patch all fields", func(n int) func(*Store) {
		return op(Op{Kind: Patch, Key: "k", Fields: costFields(n, "w"), Nested: false})
	})
	onSession("patch all fields as JSON", func(n int) func(*Store) {
		return op(Op{Kind: Patch, Key: "k", Fields: costFields(n, "1"), Nested: true})
	})
	onSession("patch one field", func(int) func(*Store) { return op(Op{Kind: Patch, Key: "k", Fields: costFields(1, "w")}) })
	onSession("remove all fields", func(n int) func(*Store) {
		fields := costFields(n, "")
		for i := range fields {
			fields[i].Absent = true
		}
		return op(Op{Kind: Patch, Key: "k", Fields: fields})
	})
	onSession("touch", func(int) func(*Store) { return op(Op{Kind: Touch, Key: "k", TTL: time.Minute}) })
	onSession("rotate", func(int) func(*Store) { return op(Op{Kind: Rotate, Key: "k", NewKey: "j"}) })
	onSession("delete", func(int) func(*Store) { return op(Op{Kind: Delete, Key: "k"}) })
	b.Run("patch an object in a field", func(b *testing.B) {
		costtest.Flat(b, costtest.All, func(n int) func() {
			s := costStore(b)
			do(b, s, Op{Kind: Put, Key: "k", Fields: nested(n, "1")})
			patch := nested(n, "2")
			return func() { do(b, s, Op{Kind: Patch, Key: "k", Fields: patch, Nested: true}) }
		})
	})
	b.Run("patch an object of objects", func(b *testing.B) {
		costtest.Flat(b, costtest.All, func(n int) func() {
			depth := min(n, 9_000) // JSON of Go ends at 10,000
			value := func(leaf int) string {
				return strings.Repeat(`{"a":`, depth) + strings.Repeat(fmt.Sprint(leaf), n) + strings.Repeat("}", depth)
			}
			s := costStore(b)
			do(b, s, Op{Kind: Put, Key: "k", Fields: []Field{{Name: "deep", Value: value(1)}}})
			patch := []Field{{Name: "deep", Value: value(2)}}
			return func() { do(b, s, Op{Kind: Patch, Key: "k", Fields: patch, Nested: true}) }
		})
	})
	onTx := func(name string, step func(tx *Tx, i int) error) {
		onSession("transaction: "+name, func(n int) func(s *Store) {
			return func(s *Store) {
				_, err := s.Update(0, func(tx *Tx) error {
					for i := range n {
						if err := step(tx, i); err != nil {
							return err
						}
					}
					return nil
				})
				require.NoError(b, err)
			}
		})
	}
	field := func(i int) string { return fmt.Sprintf("f%06d", i) }
	onTx("set each field", func(tx *Tx, i int) error { return tx.Patch("k", []Field{{Name: field(i), Value: "w"}}) })
	onTx("look at each field", func(tx *Tx, i int) error {
		d, _ := tx.Get("k")
		_, ok := d.Value(field(i))
		require.True(b, ok)
		return nil
	})
	onTx("expire and count", func(tx *Tx, i int) error {
		tx.Expire("k", Expiry{At: tx.Now() + int64(i) + 1000})
		d, _ := tx.Get("k")
		_ = d.Len()
		return nil
	})
	onTx("a key each", func(tx *Tx, i int) error { return tx.Put(field(i), opaque("v"), nil) })

	onRecords := func(name string, run func(a, c *Record)) {
		b.Run(name, func(b *testing.B) {
			costtest.Flat(b, costtest.All, func(n int) func() {
				copies := costRecords(b, n)
				return func() { run(copies[0], copies[1]) }
			})
		})
	}
	onRecords("merge", func(a, c *Record) { require.NotContains(b, []*Record{a, c}, Merge(a, c)) })
	onRecords("digest", func(a, _ *Record) { a.digest() })
	onRecords("version", func(a, _ *Record) { a.Version() })
	onRecords("encode", func(a, _ *Record) { a.Append(nil) })
	onRecords("encode and decode", func(a, _ *Record) {
		_, _, err := DecodeRecord(a.Append(nil))
		require.NoError(b, err)
	})
	onRecords("encode and decode an operation", func(a, _ *Record) {
		o := Op{Kind: Put, Key: "k"}
		for f := range a.Fields() {
			o.Fields = append(o.Fields, f)
		}
		_, _, err := DecodeOp(o.Append(nil))
		require.NoError(b, err)
	})

	onKeys := func(name string, run func(s *Store, n int)) {
		b.Run("keys: "+name, func(b *testing.B) {
			costtest.Flat(b, costtest.All, func(n int) func() {
				s := costKeys(b, n)
				return func() { run(s, n) }
			})
		})
	}
	onKeys("list of a tag", func(s *Store, n int) {
		require.Len(b, do(b, s, Op{Kind: List, Key: "{u}"}).Records, n)
	})
	onKeys("delete of a tag", func(s *Store, n int) {
		require.Len(b, do(b, s, Op{Kind: DeleteAll, Key: "{u}"}).Records, n)
	})
	onKeys("first page of a scan", func(s *Store, _ int) { do(b, s, Op{Kind: Scan, Key: "{u}"}) })
	onKeys("list of entries", func(s *Store, n int) { require.Len(b, s.List(0), n) })
	onKeys("select of all", func(s *Store, n int) {
		hashes := make([]uint64, n)
		for i, e := range s.List(0) {
			hashes[i] = e.KeyHash
		}
		require.Len(b, s.Select(0, hashes), n)
	})
	onKeys("merge of all", func(s *Store, _ int) {
		to := costStore(b)
		for _, rec := range s.Records(0) {
			_, err := to.Merge(rec)
			require.NoError(b, err)
		}
	})
	onKeys("drop", func(s *Store, n int) { require.Equal(b, n, s.Drop(0)) })
	onKeys("expire", func(s *Store, n int) {
		now := s.cfg.Now
		s.cfg.Now = func() time.Time { return now().Add(2 * time.Hour) }
		require.Equal(b, n, s.Expire())
	})
}

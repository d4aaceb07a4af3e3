package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// clock is a clock that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{t: time.UnixMilli(1_700_000_000_000)} }

// testConfig has 4 partitions: a key is placed by the last byte of its tag.
func testConfig(c *clock) Config {
	return Config{
		Partitions: 4,
		PartitionOf: func(key string) int {
			tag, _ := braceTag(key)
			if tag == "" {
				return 0
			}
			return int(tag[len(tag)-1]) % 4
		},
		TagOf:      braceTag,
		Now:        c.now,
		MaxSession: 1000,
	}
}

func testStoreWith(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := NewStore(cfg)
	require.NoError(t, err)
	for p := range cfg.Partitions {
		s.Open(p)
	}
	return s
}

func testStore(t testing.TB) (*Store, *clock) {
	c := newClock()
	return testStoreWith(t, testConfig(c)), c
}

func put(t testing.TB, s *Store, key string, fields ...Field) *Record {
	t.Helper()
	res, err := s.Do(&Op{Kind: Put, Key: key, Fields: fields})
	require.NoError(t, err)
	return res.Record
}

func do(t testing.TB, s *Store, op Op) Result {
	t.Helper()
	res, err := s.Do(&op)
	require.NoError(t, err)
	return res
}

func fieldsOf(rec *Record) map[string]string {
	m := map[string]string{}
	for f := range rec.Fields() {
		m[f.Name] = f.Value
	}
	return m
}

// TestOpOnPresence is the table of what each write answers, by what is there.
func TestOpOnPresence(t *testing.T) {
	setups := map[string]func(s *Store, c *clock){
		"missing": func(*Store, *clock) {},
		"live":    func(s *Store, _ *clock) { put(t, s, "k", Field{Name: "a", Value: "1"}) },
		"expired": func(s *Store, c *clock) { put(t, s, "k", Field{Name: "a", Value: "1"}); c.advance(31 * time.Minute) },
		"deleted": func(s *Store, _ *clock) {
			put(t, s, "k", Field{Name: "a", Value: "1"})
			do(t, s, Op{Kind: Delete, Key: "k"})
		},
	}
	type want struct {
		err              error
		created, changed bool
	}
	ok, created := want{changed: true}, want{created: true, changed: true}
	for _, c := range []struct {
		name                            string
		op                              Op
		missing, live, expired, deleted want
	}{
		{"get", Op{Kind: Get}, want{err: ErrNotFound}, want{}, want{err: ErrNotFound}, want{err: ErrDeleted}},
		{"put", Op{Kind: Put}, created, ok, created, want{err: ErrDeleted}},
		{"put create", Op{Kind: Put, Create: true}, created, want{err: ErrPrecondition}, created, created},
		{"put revive", Op{Kind: Put, Revive: true}, created, ok, created, created},
		{"put exists", Op{Kind: Put, Exists: true}, want{err: ErrPrecondition}, ok, want{err: ErrPrecondition}, want{err: ErrDeleted}},
		{"put exists revive", Op{Kind: Put, Exists: true, Revive: true}, want{err: ErrPrecondition}, ok, want{err: ErrPrecondition}, want{err: ErrPrecondition}},
		{"put if version", Op{Kind: Put, IfVersion: 9}, want{err: ErrPrecondition}, want{err: ErrPrecondition}, want{err: ErrPrecondition}, want{err: ErrDeleted}},
		{"patch", Op{Kind: Patch}, want{err: ErrNotFound}, ok, want{err: ErrNotFound}, want{err: ErrDeleted}},
		{"patch revive", Op{Kind: Patch, Revive: true}, created, ok, created, created},
		{"patch if version", Op{Kind: Patch, IfVersion: 9}, want{err: ErrNotFound}, want{err: ErrPrecondition}, want{err: ErrNotFound}, want{err: ErrDeleted}},
		{"touch", Op{Kind: Touch}, want{err: ErrNotFound}, want{}, want{err: ErrNotFound}, want{err: ErrDeleted}},
		{"touch revive", Op{Kind: Touch, Revive: true, Create: true}, want{err: ErrNotFound}, want{}, want{err: ErrNotFound}, want{err: ErrDeleted}},
		{"delete", Op{Kind: Delete}, ok, ok, ok, want{}},
		{"delete exists", Op{Kind: Delete, Exists: true}, want{err: ErrPrecondition}, ok, want{err: ErrPrecondition}, want{err: ErrPrecondition}},
		{"rotate", Op{Kind: Rotate, NewKey: "xk"}, want{err: ErrNotFound}, created, want{err: ErrNotFound}, want{err: ErrDeleted}},
	} {
		for setup, want := range map[string]want{"missing": c.missing, "live": c.live, "expired": c.expired, "deleted": c.deleted} {
			t.Run(c.name+"/"+setup, func(t *testing.T) {
				s, clock := testStore(t)
				setups[setup](s, clock)
				before := s.Digest(s.cfg.PartitionOf("k"))
				op := c.op
				op.Key = "k"
				if op.Kind == Put || op.Kind == Patch {
					op.Fields = []Field{{Name: "a", Value: "2"}}
				}
				res, err := s.Do(&op)
				require.ErrorIs(t, err, want.err)
				require.Equal(t, want.created, res.Created, "created")
				require.Equal(t, want.changed, res.Changed, "changed")
				require.Equal(t, want.changed, before != s.Digest(s.cfg.PartitionOf("k")), "digest")
				if err == nil {
					require.Equal(t, op.Kind == Delete, res.Record.Dead())
				}
			})
		}
	}
}

func TestCheck(t *testing.T) {
	s, _ := testStore(t)
	long := strings.Repeat("k", 513)
	opaque, field := Field{Value: "v"}, Field{Name: "a", Value: "v"}
	for _, c := range []struct {
		name string
		op   Op
		want error
	}{
		{"no kind", Op{Key: "k"}, ErrMalformed},
		{"unknown kind", Op{Kind: Scan + 1, Key: "k"}, ErrMalformed},
		{"no key", Op{Kind: Put}, ErrKey},
		{"long key", Op{Kind: Touch, Key: long}, ErrKey},
		{"no new key", Op{Kind: Rotate, Key: "k"}, ErrKey},
		{"long new key", Op{Kind: Rotate, Key: "k", NewKey: long}, ErrKey},
		{"new key is the old one", Op{Kind: Rotate, Key: "k", NewKey: "k"}, ErrKey},
		{"new key elsewhere", Op{Kind: Rotate, Key: "k", NewKey: "l"}, ErrKey},
		{"opaque and field", Op{Kind: Put, Key: "k", Fields: []Field{field, opaque}}, ErrType},
		{"patch of the opaque value", Op{Kind: Patch, Key: "k", Fields: []Field{opaque}}, ErrType},
		{"large value", Op{Kind: Put, Key: "k", Fields: []Field{{Name: "a", Value: strings.Repeat("v", 1000)}}}, ErrTooLarge},
		{"large reserved value", Op{Kind: Put, Key: "k", Fields: []Field{{Name: FieldType, Value: strings.Repeat("v", maxReserved)}}}, ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Do(&c.op)
			require.ErrorIs(t, err, c.want)
			require.Nil(t, s.Peek(c.op.Key))
		})
	}
	res := do(t, s, Op{Kind: Put, Key: "k", Fields: []Field{{Value: strings.Repeat("v", 1000)}, {Name: FieldType, Value: "text/plain"}}})
	value, ok := res.Record.Opaque()
	require.True(t, ok)
	require.Len(t, value, 1000, "reserved fields do not count")
	_, err := s.Do(&Op{Kind: Patch, Key: "k", Fields: []Field{field}})
	require.ErrorIs(t, err, ErrType)
}

func TestPutTakesFieldsAsTheyCome(t *testing.T) {
	s, _ := testStore(t)
	fields := []Field{{Name: "b", Value: "1"}, {Name: "a", Value: "2", Stamp: 99}, {Name: "b", Value: "3"}, {Name: "c", Absent: true}}
	rec := put(t, s, "k", fields...)
	require.Equal(t, map[string]string{"a": "2", "b": "3"}, fieldsOf(rec))
	require.Equal(t, "b", fields[0].Name, "the caller's fields stay in order")
	for f := range rec.All() {
		require.Equal(t, rec.Version(), f.Stamp)
		require.False(t, f.Absent)
	}
}

func TestPatchOfDifferentFieldsBothSurvive(t *testing.T) {
	here, c := testStore(t)
	there := testStoreWith(t, testConfig(c))
	_, err := there.Merge(put(t, here, "k", Field{Name: "a", Value: "0"}, Field{Name: "b", Value: "0"}, Field{Name: "c", Value: "0"}))
	require.NoError(t, err)
	do(t, here, Op{Kind: Patch, Key: "k", Fields: []Field{{Name: "a", Value: "1"}}})
	do(t, there, Op{Kind: Patch, Key: "k", Fields: []Field{{Name: "b", Value: "2"}, {Name: "c", Absent: true}}})

	merged := Merge(here.Peek("k"), there.Peek("k"))
	require.Equal(t, map[string]string{"a": "1", "b": "2"}, fieldsOf(merged))
}

func TestVersion(t *testing.T) {
	s, c := testStore(t)
	first := put(t, s, "k", Field{Name: "a", Value: "1"}).Version()
	c.advance(10 * time.Minute)
	res := do(t, s, Op{Kind: Touch, Key: "k"})
	require.True(t, res.Changed)
	require.Equal(t, first, res.Record.Version(), "a touch leaves the version alone")

	second := do(t, s, Op{Kind: Patch, Key: "k", IfVersion: first, Fields: []Field{{Name: "a", Value: "1"}}}).Record.Version()
	require.Greater(t, second, first)
	_, err := s.Do(&Op{Kind: Put, Key: "k", IfVersion: first})
	require.ErrorIs(t, err, ErrPrecondition)
	c.advance(-time.Hour) // clocks do go back
	require.Greater(t, do(t, s, Op{Kind: Put, Key: "k", IfVersion: second}).Record.Version(), second)
}

// TestRemovedFieldsGiveWay: names that come and go must not fill a session for
// good.
func TestRemovedFieldsGiveWay(t *testing.T) {
	s, _ := testStore(t)
	base := put(t, s, "k", Field{Name: "keep", Value: "1"}).Base()
	var rec *Record
	for i := range 1000 {
		name := fmt.Sprintf("flash-%d", i)
		do(t, s, Op{Kind: Patch, Key: "k", Fields: []Field{{Name: name, Value: "v"}}})
		rec = do(t, s, Op{Kind: Patch, Key: "k", Fields: []Field{{Name: name, Absent: true}}}).Record
		require.Less(t, len(rec.body), 3000)
	}
	require.Equal(t, map[string]string{"keep": "1"}, fieldsOf(rec))
	require.Greater(t, rec.Base(), base)
	_, err := s.Do(&Op{Kind: Patch, Key: "k", Fields: []Field{{Name: "big", Value: strings.Repeat("v", 1000)}}})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestRotate(t *testing.T) {
	s, c := testStore(t)
	put(t, s, "taken", Field{Name: "a", Value: "1"})
	old := do(t, s, Op{Kind: Put, Key: "{un}1", MaxAge: time.Hour, Fields: []Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}}).Record
	do(t, s, Op{Kind: Patch, Key: "{un}1", Fields: []Field{{Name: "b", Absent: true}}})
	c.advance(20 * time.Minute)

	_, err := s.Do(&Op{Kind: Rotate, Key: "{un}1", NewKey: "taken"})
	require.ErrorIs(t, err, ErrPrecondition)
	res := do(t, s, Op{Kind: Rotate, Key: "{un}1", NewKey: "{un}2"})
	require.Len(t, res.Records, 2)
	require.Same(t, res.Records[0], res.Record)
	require.Equal(t, "{un}2", res.Record.Key())
	require.Equal(t, map[string]string{"a": "1"}, fieldsOf(res.Record))
	require.Equal(t, old.Expiry().Deadline, res.Record.Expiry().Deadline, "a login does not lengthen a session's life")
	require.Equal(t, c.t.Add(30*time.Minute).UnixMilli(), res.Until)
	require.True(t, res.Records[1].Dead())
	require.Equal(t, "{un}1", res.Records[1].Key())

	_, err = s.Get("{un}1")
	require.ErrorIs(t, err, ErrDeleted)
	got, err := s.Get("{un}2")
	require.NoError(t, err)
	require.Same(t, res.Record, got)
	_, err = s.Do(&Op{Kind: Rotate, Key: "{un}2", NewKey: "{un}1"})
	require.ErrorIs(t, err, ErrPrecondition, "a deleted key is not free")
}

// TestRotateOntoAnExpiredKey: what expired there may have stamps of a clock
// that is ahead, and copies elsewhere; the session that moves in must beat it.
func TestRotateOntoAnExpiredKey(t *testing.T) {
	s, c := testStore(t)
	ahead := StampAt(c.t.Add(time.Second))
	over := newSession("xk", ahead, ahead, Expiry{At: c.t.UnixMilli() + 1, Stamp: ahead}, nil)
	_, err := s.Merge(over)
	require.NoError(t, err)
	c.advance(time.Millisecond)
	put(t, s, "k")
	moved := do(t, s, Op{Kind: Rotate, Key: "k", NewKey: "xk"}).Record
	require.Same(t, moved, Merge(over, moved))
}

// randomWrites does up to n writes of all kinds but creates to key and deletes
// never, at a clock that may be anywhere.
func randomWrites(t *rapid.T, s *Store, c *clock, key string, n int) {
	for range rapid.IntRange(0, n).Draw(t, "writes") {
		c.t = c.t.Add(time.Duration(rapid.IntRange(-2000, 2000).Draw(t, "ms")) * time.Millisecond)
		op := Op{Kind: rapid.SampledFrom([]Kind{Put, Patch, Touch}).Draw(t, "kind"), Key: key}
		if op.Kind != Touch {
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
			op.Fields = []Field{{Name: name, Value: "x", Absent: op.Kind == Patch && rapid.Bool().Draw(t, "absent")}}
		}
		_, err := s.Do(&op)
		require.NoError(t, err)
	}
}

// TestLogoutSticks: whatever is written to a session by nodes that do not know
// of its delete, at whatever time on their clocks, it stays deleted; but a new
// session of the same name lives.
func TestLogoutSticks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cHere, cThere := newClock(), newClock()
		here, there := propertyStore(t, cHere), propertyStore(t, cThere)
		_, err := here.Do(&Op{Kind: Put, Key: "k", TTL: -1})
		require.NoError(t, err)
		randomWrites(t, here, cHere, "k", 3)
		_, err = there.Merge(here.Peek("k"))
		if err != nil { // the clocks have drifted apart
			t.Skip(err)
		}
		randomWrites(t, here, cHere, "k", 3)
		randomWrites(t, there, cThere, "k", 6)

		gone, err := here.Do(&Op{Kind: Delete, Key: "k"})
		require.NoError(t, err)
		saved := there.Peek("k")
		require.Same(t, gone.Record, Merge(saved, gone.Record))
		require.Same(t, gone.Record, Merge(gone.Record, saved))

		_, err = here.Do(&Op{Kind: Put, Key: "k"})
		require.ErrorIs(t, err, ErrDeleted)
		again, err := here.Do(&Op{Kind: Put, Key: "k", Create: true})
		require.NoError(t, err)
		require.Same(t, again.Record, Merge(Merge(saved, again.Record), gone.Record))
	})
}

func propertyStore(t require.TestingT, c *clock) *Store {
	s, err := NewStore(testConfig(c))
	require.NoError(t, err)
	for p := range 4 {
		s.Open(p)
	}
	return s
}

func TestStamp(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	require.Equal(t, at, StampAt(at).Time())
	require.Equal(t, "1700000000123.0", StampAt(at).String())
	require.Equal(t, StampAt(at)+1, after(at.UnixMilli(), 5))
	require.Equal(t, StampAt(at)+8, after(at.UnixMilli(), StampAt(at)+7))
	require.Equal(t, StampAt(at.Add(time.Millisecond))+1, after(at.UnixMilli(), StampAt(at)|0xffff)+1, "a full counter runs over")
}

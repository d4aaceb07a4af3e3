package session

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	good := testConfig(newClock())
	for setting, spoil := range map[string]func(*Config){
		"partitions":     func(c *Config) { c.Partitions = 0 },
		"PartitionOf":    func(c *Config) { c.PartitionOf = nil },
		"TagOf":          func(c *Config) { c.TagOf = nil },
		"max session":    func(c *Config) { c.MaxSession = -1 },
		"max key":        func(c *Config) { c.MaxKey = -1 },
		"memory limit":   func(c *Config) { c.MemoryLimit = -1 },
		"tombstones for": func(c *Config) { c.TombstoneFor = -1 },
	} {
		bad := good
		spoil(&bad)
		_, err := NewStore(bad)
		require.ErrorContains(t, err, setting)
	}
	s, err := NewStore(Config{Partitions: 1, PartitionOf: good.PartitionOf, TagOf: good.TagOf})
	require.NoError(t, err)
	require.Equal(t, 30*time.Minute, s.cfg.TTL)
	require.Equal(t, 1<<20, s.cfg.MaxSession)
	require.Equal(t, 512, s.cfg.MaxKey)
	require.Equal(t, 24*time.Hour, s.cfg.TombstoneFor)
	require.WithinDuration(t, time.Now(), s.cfg.Now(), time.Minute)
}

// A write that was held up between the decision to make it and the store gives
// way to one that another node has made meanwhile.
func TestDoAsOf(t *testing.T) {
	here, c := testStore(t)
	there := testStoreWith(t, testConfig(c))
	_, err := there.Merge(put(t, here, "k", Field{Name: "a", Value: "first"}))
	require.NoError(t, err)
	decided := c.now().Add(time.Millisecond)
	c.advance(5 * time.Second)
	newer := put(t, there, "k", Field{Name: "a", Value: "newer"})
	c.advance(time.Second) // the write that was held up comes to the store last
	op := &Op{Kind: Put, Key: "k", Fields: []Field{{Name: "a", Value: "held up"}}}
	res, err := here.DoAsOf(context.Background(), op, decided)
	require.NoError(t, err)
	require.Equal(t, newer, Merge(newer, res.Record))

	res, err = here.DoAsOf(context.Background(), op, c.now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, c.now().UnixMilli(), res.Record.Version().Time().UnixMilli(), "no later than the clock")
}

// A read is of the present, whenever it was decided on: what has ended is not
// listed.
func TestListAsOf(t *testing.T) {
	s, c := testStore(t)
	_, err := s.Do(&Op{Kind: Put, Key: "{u}:short", Fields: []Field{{Name: "a", Value: "1"}}, TTL: time.Second})
	require.NoError(t, err)
	_, err = s.Do(&Op{Kind: Put, Key: "{u}:long", Fields: []Field{{Name: "a", Value: "1"}}, TTL: time.Hour})
	require.NoError(t, err)
	c.advance(time.Minute)
	res, err := s.DoAsOf(context.Background(), &Op{Kind: List, Key: "{u}:"}, time.Time{})
	require.NoError(t, err)
	require.Len(t, res.Records, 1)
	require.Equal(t, "{u}:long", res.Records[0].Key())
}

func TestClosedPartition(t *testing.T) {
	s, _ := testStore(t)
	rec := put(t, s, "k", Field{Name: "a", Value: "1"})
	p := s.cfg.PartitionOf("k")
	s.Close(p)
	require.False(t, s.IsOpen(p))
	require.Equal(t, 3, s.Stats().Open)
	_, err := s.Get("k")
	require.ErrorIs(t, err, ErrNotServed)
	for kind := Get; kind <= DeleteAll; kind++ {
		_, err := s.Do(&Op{Kind: kind, Key: "k", NewKey: "xk"})
		require.ErrorIs(t, err, ErrNotServed, kind)
	}
	require.Same(t, rec, s.Peek("k"))
	changed, err := s.Merge(newTombstone("k", rec.Version()+1, never))
	require.NoError(t, err)
	require.True(t, changed, "copies come in whether it is open or not")
	s.Open(p)
	_, err = s.Get("k")
	require.ErrorIs(t, err, ErrDeleted)
}

// TestGetAllocatesNothing, neither for what is there nor for what is not.
func TestGetAllocatesNothing(t *testing.T) {
	s, c := testStore(t)
	put(t, s, "live")
	put(t, s, "gone", Field{Name: "a"})
	do(t, s, Op{Kind: Delete, Key: "gone"})
	do(t, s, Op{Kind: Put, Key: "over", TTL: time.Second})
	c.advance(time.Second)
	for _, key := range []string{"live", "gone", "over", "none"} {
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = s.Get(key) }), key)
	}
	op := &Op{Kind: Get, Key: "live"}
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = s.Do(op) }))
}

// TestStoreKeepsNothingOfAnOp: keys and values often lie in a request's buffer,
// which a few bytes of them must not keep alive.
func TestStoreKeepsNothingOfAnOp(t *testing.T) {
	s, _ := testStore(t)
	request := "key new value" + strings.Repeat(" ", 1000)
	inside := func(part string) bool {
		start := uintptr(unsafe.Pointer(unsafe.StringData(request)))
		at := uintptr(unsafe.Pointer(unsafe.StringData(part)))
		return at >= start && at < start+uintptr(len(request))
	}
	key, value := request[:3], request[8:13]
	rec := do(t, s, Op{Kind: Put, Key: key, Fields: []Field{{Name: "a", Value: value}}}).Record
	require.False(t, inside(rec.Key()))
	got, _ := rec.Value("a")
	require.False(t, inside(got))
	require.False(t, inside(do(t, s, Op{Kind: Delete, Key: key}).Record.Key()))
	require.False(t, inside(do(t, s, Op{Kind: Delete, Key: request[4:7]}).Record.Key()))
}

func TestTags(t *testing.T) {
	s, c := testStore(t)
	for _, key := range []string{"{ann}2", "{ann}1", "ann", "{bob}1", "x{ann}3"} {
		put(t, s, key, Field{Name: "a", Value: key})
	}
	do(t, s, Op{Kind: Put, Key: "{ann}old", TTL: time.Second})
	do(t, s, Op{Kind: Delete, Key: "{ann}gone"})
	c.advance(time.Second)
	keys := func(records []*Record) (keys []string) {
		for _, rec := range records {
			keys = append(keys, rec.Key())
		}
		return keys
	}
	for _, key := range []string{"{ann}", "{ann}whatever", "ann"} {
		require.Equal(t, []string{"x{ann}3", "{ann}1", "{ann}2"}, keys(do(t, s, Op{Kind: List, Key: key}).Records))
	}
	res := do(t, s, Op{Kind: DeleteAll, Key: "{ann}"})
	require.True(t, res.Changed)
	require.Equal(t, []string{"x{ann}3", "{ann}1", "{ann}2", "{ann}old"}, keys(res.Records), "what expired here may live elsewhere")
	require.Equal(t, []string{"{ann}gone"}, res.Again, "its copies may be behind")
	for _, rec := range res.Records {
		require.True(t, rec.Dead())
	}
	require.Empty(t, do(t, s, Op{Kind: List, Key: "{ann}"}).Records)
	res = do(t, s, Op{Kind: DeleteAll, Key: "{ann}"})
	require.False(t, res.Changed)
	require.Equal(t, []string{"x{ann}3", "{ann}1", "{ann}2", "{ann}gone", "{ann}old"}, res.Again)
	_, err := s.Get("ann")
	require.NoError(t, err)
}

func TestMergeRefusesTheFuture(t *testing.T) {
	s, c := testStore(t)
	live := func(ahead time.Duration) *Record {
		stamp := StampAt(c.t.Add(ahead)) | 0xffff
		return newSession("k", 1, 1, Expiry{}, []Field{{Name: "a", Stamp: stamp}})
	}
	_, err := s.Merge(live(MaxAhead))
	require.NoError(t, err)
	for _, rec := range []*Record{
		live(MaxAhead + time.Millisecond),
		newTombstone("k", StampAt(c.t.Add(time.Hour)), 1),
		newSession("k", 1, 1, Expiry{Stamp: StampAt(c.t.Add(time.Hour))}, nil),
	} {
		before := s.Peek("k")
		changed, err := s.Merge(rec)
		require.ErrorIs(t, err, ErrFuture)
		require.False(t, changed)
		require.Same(t, before, s.Peek("k"))
	}
	require.Equal(t, uint64(3), s.Stats().RefusedFuture)
}

func TestCopies(t *testing.T) {
	s, _ := testStore(t)
	rec := put(t, s, "k", Field{Name: "a", Value: "1"})
	gone := do(t, s, Op{Kind: Delete, Key: "xk"}).Record
	put(t, s, "l")
	p := s.cfg.PartitionOf("k")

	require.Nil(t, s.Peek("none"))
	require.Same(t, rec, s.Peek("k"))
	require.Equal(t, gone, s.Peek("xk"))
	require.Equal(t, 2, s.Count(p))
	require.ElementsMatch(t, []*Record{rec, gone}, s.Records(p))
	require.ElementsMatch(t, []Entry{{KeyHash("k"), rec.Hash()}, {KeyHash("xk"), gone.Hash()}}, s.List(p))
	require.Equal(t, []*Record{gone}, s.Select(p, []uint64{KeyHash("xk"), 7}))
	require.Equal(t, rec.Hash()^gone.Hash(), s.Digest(p))

	require.False(t, s.DropIf(p, s.Digest(p)+1))
	require.Equal(t, 2, s.Drop(p))
	require.Zero(t, s.Count(p))
	require.Zero(t, s.Digest(p))
	require.True(t, s.IsOpen(p))
	require.Nil(t, s.Peek("k"))
	require.True(t, s.DropIf(p, 0))
	require.Equal(t, 1, s.Stats().Sessions, "other partitions are left alone")
	require.True(t, s.DropIf(s.cfg.PartitionOf("l"), s.Digest(s.cfg.PartitionOf("l"))))
	require.Zero(t, s.Stats().Bytes)
	checkInvariants(t, s)
}

// What was written or touched since stays, and so do ends, whenever they came.
func TestDropOld(t *testing.T) {
	s, c := testStore(t)
	for _, key := range []string{"old", "patched", "touched", "ended"} {
		put(t, s, key, Field{Name: "a", Value: "1"})
	}
	do(t, s, Op{Kind: Delete, Key: "ended"})
	c.advance(20 * time.Minute)
	before := s.Now()
	do(t, s, Op{Kind: Patch, Key: "patched", Fields: []Field{{Name: "b", Value: "1"}}})
	do(t, s, Op{Kind: Touch, Key: "touched"})
	put(t, s, "new")
	dropped := 0
	for p := range s.partitions {
		dropped += s.DropOld(p, before)
	}
	require.Equal(t, 1, dropped)
	require.Nil(t, s.Peek("old"))
	for _, key := range []string{"patched", "touched", "new", "ended"} {
		require.NotNil(t, s.Peek(key), key)
	}
	require.Equal(t, 3, s.Stats().Sessions)
	checkInvariants(t, s)
}

// TestCloseIsFinal: no operation may be done on a partition after Close has
// returned, or a write would be lost in the hand-over that follows it.
func TestCloseIsFinal(t *testing.T) {
	s, _ := testStore(t)
	p := s.cfg.PartitionOf("k")
	for range 200 {
		s.Open(p)
		var workers sync.WaitGroup
		for range 3 {
			workers.Go(func() {
				for {
					if _, err := s.Do(&Op{Kind: Put, Key: "k"}); err != nil {
						return
					}
				}
			})
		}
		s.Close(p)
		before := s.Digest(p)
		workers.Wait()
		require.Equal(t, before, s.Digest(p))
	}
}

// TestConcurrentUse runs everything at once. The race detector watches; at the
// end what is kept up to date must be what it is from scratch.
func TestConcurrentUse(t *testing.T) {
	var ms atomic.Int64
	ms.Store(newClock().t.UnixMilli())
	cfg := testConfig(newClock())
	cfg.Now = func() time.Time { return time.UnixMilli(ms.Add(1)) }
	cfg.TTL = 2 * time.Second
	s, other := testStoreWith(t, cfg), testStoreWith(t, cfg)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 1000 {
				key := modelKeys[(i*7+w)%len(modelKeys)]
				op := &Op{Kind: Kind(1 + (i+w)%int(Scan)), Key: key, NewKey: modelKeys[i%len(modelKeys)], Revive: true}
				if op.Kind == Put || op.Kind == Patch {
					op.Fields = []Field{{Name: fmt.Sprint(i % 3), Value: "v", Absent: i%5 == 0}}
				}
				if res, err := s.Do(op); err == nil && res.Record != nil {
					_, _ = other.Merge(res.Record)
				}
				if rec, err := s.Get(key); err == nil {
					for f := range rec.Fields() {
						_ = f.Value
					}
				}
			}
		})
	}
	workers.Go(func() {
		for i := range 200 {
			p := i % 4
			s.Close(p)
			for _, rec := range other.Records(p) {
				_, _ = s.Merge(rec)
			}
			s.Open(p)
			s.Expire()
			s.Stats()
			for _, e := range s.List(p) {
				s.Select(p, []uint64{e.KeyHash})
			}
			if i%50 == 0 {
				s.Drop(p)
			}
		}
	})
	workers.Wait()
	checkInvariants(t, s)
	checkInvariants(t, other)
}

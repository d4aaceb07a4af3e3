package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// modelSession is what the model knows of a key that was ever written.
type modelSession struct {
	fields       map[string]string
	version      Stamp
	born         int64 // unix ms
	idle         int64 // ms
	deadline     int64 // unix ms, 0 none
	until        int64 // unix ms, never
	deleted      bool
	deletedUntil int64
	to           string // of a deleted one: where a rotation has moved it
}

// model is a store as a client sees it: a plain map, and no stamps.
type model struct {
	*rapid.T
	store    *Store
	clock    *clock
	sessions map[string]*modelSession
}

var modelKeys = []string{"{a}1", "{a}2", "{a}3", "a", "e", "b", "{b}1", "c"}

func (m *model) now() int64 { return m.clock.t.UnixMilli() }

func (m *model) presence(key string) presence {
	switch s := m.sessions[key]; {
	case s == nil:
		return missing
	case s.deleted && m.now() < s.deletedUntil:
		return deleted
	case s.deleted || m.now() >= s.until:
		return missing
	}
	return live
}

// TestStoreAgainstModel runs random operations on a store and on a plain map
// and compares all that a client can see, and after each one the invariants of
// the store's insides.
func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		m := &model{T: t, store: propertyStore(t, c), clock: c, sessions: map[string]*modelSession{}}
		t.Repeat(map[string]func(*rapid.T){
			"":           func(*rapid.T) { checkInvariants(t, m.store) },
			"put":        m.put,
			"patch":      m.patch,
			"touch":      m.touch,
			"touch more": m.touch,
			"delete":     m.delete,
			"delete all": m.deleteAll,
			"rotate":     m.rotate,
			"get":        m.get,
			"list":       m.list,
			"expire":     func(*rapid.T) { m.store.Expire() },
			"advance":    m.advance,
			"own copies": m.mergeBack,
			"compact":    func(t *rapid.T) { compactOne(m.store, rapid.IntRange(0, 3).Draw(t, "partition")) },
		})
	})
}

func (m *model) key(t *rapid.T) string { return rapid.SampledFrom(modelKeys).Draw(t, "key") }

func (m *model) advance(t *rapid.T) {
	m.clock.advance(rapid.SampledFrom([]time.Duration{time.Millisecond, 50 * time.Millisecond,
		time.Second, time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "by"))
}

func times(t *rapid.T, op *Op) {
	op.TTL = rapid.SampledFrom([]time.Duration{0, 0, 0, -1, time.Second, time.Minute, time.Hour}).Draw(t, "ttl")
	op.MaxAge = rapid.SampledFrom([]time.Duration{0, 0, 0, -1, 90 * time.Second, 2 * time.Hour}).Draw(t, "max age")
}

// conditions draws some for op and returns the error that they lead to.
func (m *model) conditions(t *rapid.T, op *Op) error {
	found := m.presence(op.Key)
	switch rapid.IntRange(0, 7).Draw(t, "condition") {
	case 0:
		op.Exists = true
	case 1:
		op.Create = op.Kind == Put
	case 2:
		op.Revive = true
	case 3:
		op.IfVersion = 1
	case 4:
		if s := m.sessions[op.Key]; s != nil {
			op.IfVersion = s.version
		}
	}
	creates := op.Kind == Put && (op.Create || op.Revive) || op.Kind == Patch && op.Revive
	switch {
	case op.Kind == Delete && found != live && (op.Exists || op.IfVersion != 0):
		return ErrPrecondition
	case op.Kind == Delete && found != live:
		return nil
	case found == deleted && !creates:
		return ErrDeleted
	case found == missing && op.Kind != Put && !creates:
		return ErrNotFound
	case found != live && (op.Exists || op.IfVersion != 0),
		found == live && op.Create,
		found == live && op.IfVersion != 0 && op.IfVersion != m.sessions[op.Key].version:
		return ErrPrecondition
	}
	return nil
}

// run runs op, of which want is to come, and reports whether it was done.
func (m *model) run(op *Op, want error) (Result, bool) {
	res, err := m.store.Do(op)
	if want != nil {
		require.ErrorIs(m, err, want)
		if want == ErrDeleted {
			require.Equal(m, m.leads(op.Key), leadOf(err))
		}
		return res, false
	}
	require.NoError(m, err)
	return res, true
}

// leads returns where a deleted session's key leads: for ten seconds to its new
// key, unless memory was short.
func (m *model) leads(key string) string {
	s := m.sessions[key]
	if _, whole := m.store.partition(key).dead[key]; !whole || m.now() >= s.version.millis()+10_000 {
		return ""
	}
	return s.to
}

// leadOf returns the key that an error leads to, "" for none.
func leadOf(err error) string {
	if moved, ok := errors.AsType[*MovedError](err); ok {
		return moved.To
	}
	return ""
}

// slide moves the session's end as a write does.
func (m *model) slide(s *modelSession, op *Op) {
	switch {
	case op.TTL > 0:
		s.idle = op.TTL.Milliseconds()
	case op.TTL < 0:
		s.idle = 0
	}
	switch {
	case op.MaxAge > 0:
		s.deadline = s.born + op.MaxAge.Milliseconds()
	case op.MaxAge < 0:
		s.deadline = 0
	}
	s.until = never
	if s.idle > 0 {
		s.until = m.now() + s.idle
	}
	if s.deadline > 0 {
		s.until = min(s.until, s.deadline)
	}
}

// written compares the result of a write of content with what the model has.
func (m *model) written(key string, res Result, created bool) {
	s := m.sessions[key]
	require.Equal(m, created, res.Created)
	require.True(m, res.Changed)
	require.Greater(m, res.Record.Version(), s.version)
	s.version = res.Record.Version()
	m.compare(key, res.Record, res.Until)
}

func (m *model) compare(key string, rec *Record, until int64) {
	s := m.sessions[key]
	require.Equal(m, key, rec.Key())
	require.Equal(m, s.fields, fieldsOf(rec))
	require.Equal(m, s.version, rec.Version())
	if s.until == never {
		require.Zero(m, until)
	} else {
		require.Equal(m, s.until, until)
	}
}

// fresh makes the model's session anew if it is not live. Its rank is after all
// there was, so its birth can be a little ahead of the clock.
func (m *model) fresh(key string, rec *Record) (created bool) {
	if created = m.presence(key) != live; created {
		var version Stamp
		if old := m.sessions[key]; old != nil {
			version = old.version
		}
		m.sessions[key] = &modelSession{fields: map[string]string{}, version: version,
			born: rec.Rank().millis(), idle: m.store.cfg.TTL.Milliseconds()}
	}
	return created
}

func (m *model) put(t *rapid.T) {
	op := &Op{Kind: Put, Key: m.key(t)}
	times(t, op)
	want := m.conditions(t, op)
	fields := map[string]string{}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), rapid.ID).Draw(t, "names") {
		fields[name] = rapid.SampledFrom([]string{"", "1", "22"}).Draw(t, "value")
		op.Fields = append(op.Fields, Field{Name: name, Value: fields[name]})
	}
	if res, ok := m.run(op, want); ok {
		created := m.fresh(op.Key, res.Record)
		s := m.sessions[op.Key]
		s.fields = fields
		m.slide(s, op)
		m.written(op.Key, res, created)
	}
}

func (m *model) patch(t *rapid.T) {
	op := &Op{Kind: Patch, Key: m.key(t)}
	times(t, op)
	want := m.conditions(t, op)
	f := Field{Name: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"), Value: "patched"}
	f.Absent = rapid.Bool().Draw(t, "absent")
	op.Fields = []Field{f}
	if res, ok := m.run(op, want); ok {
		created := m.fresh(op.Key, res.Record)
		s := m.sessions[op.Key]
		if s.fields[f.Name] = f.Value; f.Absent {
			delete(s.fields, f.Name)
		}
		m.slide(s, op)
		m.written(op.Key, res, created)
	}
}

func (m *model) touch(t *rapid.T) {
	op := &Op{Kind: Touch, Key: m.key(t)}
	if rapid.Bool().Draw(t, "with times") {
		times(t, op)
	}
	if res, ok := m.run(op, m.conditions(t, op)); ok {
		m.slide(m.sessions[op.Key], op)
		m.compare(op.Key, res.Record, res.Until)
	}
}

// buried makes the model's session a deleted one.
func (m *model) buried(key string, tombstone *Record) {
	require.True(m, tombstone.Dead())
	s := m.sessions[key]
	if s == nil {
		s = &modelSession{}
		m.sessions[key] = s
	}
	require.Greater(m, tombstone.Rank(), s.version)
	end := max(m.now()+(24*time.Hour).Milliseconds(), s.deadline)
	s.deleted, s.deadline, s.version, s.to = true, 0, tombstone.Rank(), ""
	s.deletedUntil = m.store.Peek(key).Expiry().At
	floor := m.store.Floor(m.store.cfg.PartitionOf(key))
	require.Equal(m, max(end+tombstoneSlack, floor+1), s.deletedUntil)
}

func (m *model) delete(t *rapid.T) {
	op := &Op{Kind: Delete, Key: m.key(t)}
	found := m.presence(op.Key)
	if res, ok := m.run(op, m.conditions(t, op)); ok {
		require.Equal(m, found != deleted, res.Changed)
		require.Equal(m, found == deleted, slices.Equal(res.Again, []string{op.Key}), res.Again)
		if found == deleted {
			require.Equal(m, m.leads(op.Key), res.Moved)
		}
		if res.Changed {
			m.buried(op.Key, res.Record)
		}
	}
}

func (m *model) deleteAll(t *rapid.T) {
	key := m.key(t)
	want := m.tagged(key)
	res, ok := m.run(&Op{Kind: DeleteAll, Key: key}, nil)
	require.True(m, ok)
	var got []string
	for _, rec := range res.Records {
		if m.presence(rec.Key()) == live { // else it had expired
			got = append(got, rec.Key())
		}
		m.buried(rec.Key(), rec)
	}
	require.Equal(m, want, got)
}

func (m *model) rotate(t *rapid.T) {
	op := &Op{Kind: Rotate, Key: m.key(t), NewKey: m.key(t)}
	times(t, op)
	want := m.conditions(t, op)
	switch {
	case op.Key == op.NewKey, m.store.cfg.PartitionOf(op.Key) != m.store.cfg.PartitionOf(op.NewKey):
		want = ErrKey
	case want == nil && m.presence(op.NewKey) != missing:
		want = ErrPrecondition
	}
	if res, ok := m.run(op, want); ok {
		s := *m.sessions[op.Key]
		s.born = res.Record.Rank().millis()
		m.sessions[op.NewKey] = &s
		m.slide(&s, op)
		m.written(op.NewKey, res, true)
		m.buried(op.Key, res.Records[1])
		m.sessions[op.Key].to = op.NewKey
	}
}

func (m *model) get(t *rapid.T) {
	key := m.key(t)
	want := map[presence]error{missing: ErrNotFound, deleted: ErrDeleted}[m.presence(key)]
	res, ok := m.run(&Op{Kind: Get, Key: key}, want)
	rec, err := m.store.Get(key)
	require.ErrorIs(m, err, want)
	if ok {
		require.Same(m, res.Record, rec)
		m.compare(key, rec, res.Until)
	}
}

// tagged returns the live keys written with key's tag in braces, in order.
func (m *model) tagged(key string) (keys []string) {
	for _, other := range modelKeys {
		if strings.HasPrefix(other, "{") && other[1] == strings.Trim(key, "{")[0] && m.presence(other) == live {
			keys = append(keys, other)
		}
	}
	return keys
}

func (m *model) list(t *rapid.T) {
	key := m.key(t)
	res, _ := m.run(&Op{Kind: List, Key: key}, nil)
	var got []string
	for _, rec := range res.Records {
		require.Equal(m, m.sessions[rec.Key()].fields, fieldsOf(rec))
		got = append(got, rec.Key())
	}
	require.Equal(m, m.tagged(key), got)
}

// mergeBack gives the store what it holds, as a peer would: nothing changes.
func (m *model) mergeBack(t *rapid.T) {
	p := rapid.IntRange(0, 3).Draw(t, "partition")
	for _, rec := range m.store.Records(p) {
		for _, b := range [][]byte{rec.Append(nil), rec.AppendMoved(nil)} {
			twin, _, err := DecodeRecord(b)
			require.NoError(m, err)
			changed, err := m.store.Merge(twin)
			if !errors.Is(err, ErrFuture) && !errors.Is(err, ErrPast) {
				require.NoError(m, err)
			}
			require.False(m, changed)
		}
	}
}

// checkInvariants recomputes from scratch what a store keeps up to date.
func checkInvariants(t require.TestingT, s *Store) {
	var total, buried, withDead int64
	for i := range s.partitions {
		p := &s.partitions[i]
		var digest uint64
		var bytes, dead int64
		for _, rec := range p.recordsLocked() {
			digest ^= rec.digest()
			bytes += cost(rec)
			if rec.dead {
				dead += cost(rec)
			}
			require.Equal(t, i, s.cfg.PartitionOf(rec.key))
			earliest := int64(never)
			for _, d := range p.liveDue {
				if !rec.dead && d.key == tagOf(rec.key) {
					earliest = min(earliest, d.at)
				}
			}
			for _, d := range p.deadDue {
				if rec.dead && d.key == rec.key {
					earliest = min(earliest, d.at)
				}
			}
			require.LessOrEqual(t, earliest, rec.keptUntil(), "nobody will look at this key in time")
		}
		for key, to := range p.moved {
			require.Contains(t, p.dead, key)
			bytes += movedCost(to)
			dead += movedCost(to)
			require.True(t, slices.ContainsFunc(p.movedDue, func(d due[string]) bool {
				return d.key == key && d.at <= p.dead[key].rank.millis()+movedFor
			}), "it would lead on for ever")
		}
		bytes += p.compactBytes()
		dead += p.compactBytes()
		for key := range p.dead {
			_, both := p.compact.find(key)
			require.False(t, both)
		}
		for hash := range p.compact.tombs {
			require.Contains(t, p.compact.order, hash)
		}
		require.LessOrEqual(t, len(p.compact.order), 2*len(p.compact.tombs)+minTrim)
		for h := range p.live.all() {
			_, both := p.compact.find(h.rec.key)
			require.False(t, both)
			require.NotContains(t, p.dead, h.rec.key)
			require.LessOrEqual(t, h.rec.expiry.end(), h.until)
			require.LessOrEqual(t, h.until, h.rec.expiry.grace(), "copies would forget it before the owner")
		}
		for i := 1; i < len(p.liveDue); i++ {
			require.LessOrEqual(t, p.liveDue[(i-1)/2].at, p.liveDue[i].at, "heap order")
		}
		for i := 1; i < len(p.deadDue); i++ {
			require.LessOrEqual(t, p.deadDue[(i-1)/2].at, p.deadDue[i].at, "heap order")
		}
		require.LessOrEqual(t, len(p.liveDue), 2*s.Count(i)+minTrim)
		require.LessOrEqual(t, len(p.deadDue), 2*s.Count(i)+minTrim)
		require.Equal(t, digest, s.Digest(i))
		require.Equal(t, bytes, p.bytes)
		require.Equal(t, dead, p.deadBytes)
		if dead > 0 {
			withDead++
		}
		total += bytes
		buried += dead
	}
	require.Equal(t, total, s.Stats().Bytes)
	require.Equal(t, buried, s.Stats().Dead)
	require.Equal(t, withDead, s.deadParts.Load())
}

// TestConvergence: stores that take different writes, at clocks that differ,
// and exchange records in any order and more than once, are equal after all has
// been exchanged.
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stores []*Store
		base := newClock().t
		for i := range 3 {
			c := &clock{t: base.Add(time.Duration(i) * 300 * time.Millisecond)}
			stores = append(stores, propertyStore(t, c))
		}
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 0))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			s := stores[rng.IntN(3)]
			if rng.IntN(6) == 0 {
				compactOne(s, rng.IntN(4))
				continue
			}
			if rng.IntN(3) == 0 {
				copyAll(t, s, stores[rng.IntN(3)], rng)
				continue
			}
			op := Op{Kind: []Kind{Put, Patch, Patch, Touch, Delete, Rotate}[rng.IntN(6)],
				Key: modelKeys[rng.IntN(3)], NewKey: modelKeys[rng.IntN(3)], TTL: time.Duration(rng.IntN(3)) * time.Minute,
				Create: rng.IntN(4) == 0,
				Fields: []Field{{Name: fmt.Sprint(rng.IntN(3)), Value: fmt.Sprint(rng.IntN(3))}}}
			_, _ = s.Do(&op) // refusals are as good as writes here
		}
		for range 3 {
			for _, from := range stores {
				for _, to := range stores {
					for p := range 4 {
						require.NoError(t, to.RaiseFloor(p, from.Floor(p)))
					}
					to.Expire() // as once a second, of what a floor has passed
					copyAll(t, from, to, rng)
				}
			}
		}
		for p := range 4 {
			require.Equal(t, stores[0].Digest(p), stores[1].Digest(p))
			require.Equal(t, stores[0].Digest(p), stores[2].Digest(p))
			list := stores[0].List(p)
			require.ElementsMatch(t, list, stores[1].List(p))
		}
		for _, s := range stores {
			checkInvariants(t, s)
		}
	})
}

// compactOne does to one tombstone of a partition what short memory does.
func compactOne(s *Store, partition int) {
	p := &s.partitions[partition]
	defer p.mu.unlock(p.mu.lock())
	if len(p.dead) > 0 {
		bytes, dead := p.bytes, p.deadBytes
		p.compactNearestLocked()
		s.accountLocked(p, bytes, dead)
	}
}

func copyAll(t *rapid.T, from, to *Store, rng *rand.Rand) {
	for p := range 4 {
		records := from.Records(p)
		slices.SortFunc(records, func(a, b *Record) int { return strings.Compare(a.key, b.key) })
		rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		for _, rec := range records {
			_, err := to.Merge(rec)
			require.NoError(t, err)
		}
	}
}

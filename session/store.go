package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// TombstoneFor is for how long the end of a session is remembered at least,
// where nothing else is configured.
const TombstoneFor = 24 * time.Hour

// MaxKey bounds a session's key, in bytes, where nothing else is configured.
const MaxKey = 512

// Config sets up a [Store].
type Config struct {
	// Partitions is how many there are. PartitionOf gives a key's, 0 to
	// Partitions-1, and TagOf the part of a key by which it is placed, and
	// whether that was written as {tag}. Both must be pure; they are called
	// with a partition's lock held.
	Partitions  int
	PartitionOf func(key string) int
	TagOf       func(key string) (tag string, braced bool)

	Now func() time.Time // the clock; default time.Now

	// Idle time of a session that sets none; default 30 min, below 0 no end.
	TTL        time.Duration
	MaxSession int // bytes of the names and values of one session; default 1 MiB
	MaxFields  int // fields of one session, removed ones too; default 131,072
	MaxKey     int // bytes of a key; default MaxKey
	// Bytes, about, above which no session is created or grows; 0 = no limit.
	MemoryLimit int64
	// Life of a tombstone whose session had no later deadline; default 24 h.
	TombstoneFor time.Duration
}

func (c *Config) validate() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TTL == 0 {
		c.TTL = 30 * time.Minute
	}
	if c.MaxSession == 0 {
		c.MaxSession = 1 << 20
	}
	if c.MaxFields == 0 {
		c.MaxFields = 1 << 17
	}
	if c.MaxKey == 0 {
		c.MaxKey = MaxKey
	}
	if c.TombstoneFor == 0 {
		c.TombstoneFor = TombstoneFor
	}
	switch {
	case c.Partitions < 1:
		return fmt.Errorf("session: partitions %d: not 1 or more", c.Partitions)
	case c.PartitionOf == nil || c.TagOf == nil:
		return errors.New("session: PartitionOf and TagOf must be set")
	case c.MaxSession < 0:
		return fmt.Errorf("session: max session %d bytes: not 0 (1 MiB) or more", c.MaxSession)
	case c.MaxFields < 0:
		return fmt.Errorf("session: max fields %d: not 0 (131,072) or more", c.MaxFields)
	case c.MaxKey < 0:
		return fmt.Errorf("session: max key %d bytes: not 0 (the default) or more", c.MaxKey)
	case c.MemoryLimit < 0:
		return fmt.Errorf("session: memory limit %d bytes: not 0 (none) or more", c.MemoryLimit)
	case c.TombstoneFor < 0:
		return fmt.Errorf("session: tombstones for %v: not 0 (24h) or more", c.TombstoneFor)
	}
	return nil
}

// Store holds the sessions of a node, its own and copies of others', in
// partitions that each have one lock. All methods may be called at any time
// from any goroutine; none starts one, and none waits for anything but locks.
// A partition number out of range panics.
type Store struct {
	cfg        Config
	partitions []partition

	bytes         atomic.Int64 // sum of the partitions' bytes
	deadBytes     atomic.Int64 // and of their deadBytes
	deadParts     atomic.Int64 // partitions that have any
	expired       atomic.Uint64
	forgotten     atomic.Uint64
	refusedFuture atomic.Uint64
	refusedFull   atomic.Uint64
	retried       atomic.Uint64
	busy          atomic.Uint64
	refusedCopies atomic.Uint64
	dropped       atomic.Uint64
	holds         holds

	dropping sync.Mutex // held while tombstones are dropped
	dropNext int        // the partition to go on with; guarded by dropping
}

// NewStore returns an empty store with all partitions closed, or an error that
// names the setting that is wrong.
func NewStore(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, partitions: make([]partition, cfg.Partitions)}
	for i := range s.partitions {
		s.partitions[i].mu.holds = &s.holds
		s.partitions[i].clearLocked() // not shared yet
	}
	return s, nil
}

func (s *Store) partition(key string) *partition {
	return &s.partitions[s.cfg.PartitionOf(key)]
}

// Now is the time by the store's clock.
func (s *Store) Now() time.Time { return s.cfg.Now() }

// Bounds returns how many bytes and how many fields a session may have: see
// [Config].
func (s *Store) Bounds() (bytes, fields int) { return s.cfg.MaxSession, s.cfg.MaxFields }

func (s *Store) nowMillis() int64 { return s.cfg.Now().UnixMilli() }

// Get returns the live session under key: [ErrNotFound] if there is none or it
// has expired, [ErrDeleted] if it was deleted, [ErrNotServed] if the partition
// is closed. It allocates nothing, and takes no lock for a session that is
// there. Of one that a rotation has just moved the error is a [MovedError].
func (s *Store) Get(key string) (*Record, error) {
	h, err := s.get(key)
	return h.rec, err
}

func (s *Store) get(key string) (held, error) {
	now := s.nowMillis()
	p := s.partition(key)
	if p.open.Load() {
		if h, ok := p.live.find(key); ok && now < h.until {
			return h, nil
		}
	}
	defer p.mu.runlock(p.mu.rlock())
	if !p.open.Load() {
		return held{}, ErrNotServed
	}
	if h, ok := p.live.find(key); ok {
		if now >= h.until {
			return held{}, ErrNotFound
		}
		return h, nil
	}
	t, ok := p.dead[key]
	if !ok {
		t, ok = p.compact.find(key)
	}
	switch {
	case !ok || t.presence(now) != deleted:
		return held{}, ErrNotFound
	case p.moved[key] == "":
		return held{}, ErrDeleted
	}
	return held{}, p.tombstoneLocked(key, t).gone(now)
}

// Do runs one operation, atomically, if the key's partition is open. On an
// error nothing was changed. It does not keep op or anything that it holds.
func (s *Store) Do(op *Op) (Result, error) { return s.DoAsOf(context.Background(), op, s.cfg.Now()) }

// DoAsOf is Do for a caller that was sure at the time given that this node owns
// the key, and may have been held up since. A write is stamped as of then, so
// that a later owner's writes are later. A read is of the present. When ctx is
// over, a patch of many fields ends at the next field, and a write that lost a
// race with others is not tried again; nothing is changed then.
func (s *Store) DoAsOf(ctx context.Context, op *Op, at time.Time) (Result, error) {
	if op.Kind == Get {
		h, err := s.get(op.Key)
		if err != nil {
			return Result{}, err
		}
		return resultOf(h), nil
	}
	checked, err := s.cfg.check(op)
	if err != nil {
		return Result{}, err
	}
	op = &checked
	op.ctx = ctx
	now := s.nowMillis()
	if op.Kind.Writes() {
		now = min(now, at.UnixMilli())
	}
	p := s.partition(op.Key)
	switch op.Kind {
	case List:
		return s.list(p, op, now)
	case Scan:
		return s.scan(p, op, now)
	case DeleteAll:
		return s.deleteAll(p, op, now)
	}
	var res Result
	_, err = s.transact(ctx, p, now, true, func(tx *Tx) (err error) {
		tx.silent = true
		if op.Kind == Rotate {
			res, err = tx.rotate(op)
		} else {
			res, err = tx.do(op)
		}
		return err
	})
	if err != nil {
		return Result{}, err
	}
	if planted.Is(planted.NoTombstone) && res.Record != nil && res.Record.dead {
		s.forget(p, res.Record)
	}
	return res, nil
}

// forget is what only a planted bug does.
func (s *Store) forget(p *partition, rec *Record) {
	defer p.mu.unlock(p.mu.lock())
	bytes, dead := p.bytes, p.deadBytes
	p.forgetLocked(rec)
	s.accountLocked(p, bytes, dead)
}

func resultOf(h held) Result {
	res := Result{Record: h.rec}
	if h.until != never {
		res.Until = h.until
	}
	return res
}

// do runs a Put, Patch, Touch or Delete.
func (tx *Tx) do(op *Op) (Result, error) {
	d := tx.draft(op.Key)
	cur := d.cur
	op.least = tx.part.leastStamp()
	tx.Spend(op.work(cur.rec))
	next, err := tx.store.cfg.apply(op, cur, tx.now)
	if err != nil {
		return Result{}, err
	}
	if next.rec == nil {
		return Result{}, nil // there was nothing to delete
	}
	res := resultOf(next)
	res.Changed = next.rec != cur.rec
	res.Created = !next.rec.dead && cur.presence(tx.now) != live
	if op.Kind == Delete && !res.Changed {
		res.Again = []string{op.Key}
		res.Moved = cur.rec.moved(tx.now)
	}
	if err := tx.admit(growth(cur, next), func() int { return lostFields(cur.rec, next.rec) }); err != nil {
		return Result{}, fmt.Errorf("%s: %w", op.Kind, err)
	}
	if next != cur {
		tx.put(d, next)
	}
	return res, nil
}

func (tx *Tx) rotate(op *Op) (Result, error) {
	d, free := tx.draft(op.Key), tx.draft(op.NewKey)
	op.least = tx.part.leastStamp()
	tx.Spend(4 * d.cur.rec.walk())
	moved, old, err := tx.store.cfg.rotate(op, d.cur, free.cur, tx.now)
	if err != nil {
		return Result{}, err
	}
	if err := tx.admit(growth(free.cur, moved)+growth(d.cur, old), func() int { return 0 }); err != nil {
		return Result{}, fmt.Errorf("rotate: %w", err)
	}
	tx.put(free, moved)
	tx.put(d, old)
	res := resultOf(moved)
	res.Records = []*Record{moved.rec, old.rec}
	res.Created, res.Changed = true, true
	return res, nil
}

// sameTag picks the keys that were written with the {tag} of key.
func (s *Store) sameTag(key string) func(string) bool {
	want, _ := s.cfg.TagOf(key)
	return func(key string) bool {
		tag, braced := s.cfg.TagOf(key)
		return braced && tag == want
	}
}

func (s *Store) list(p *partition, op *Op, now int64) (res Result, err error) {
	if op.NewKey != "" {
		res.Records, err = p.page(op.NewKey, now, s.sameTag(op.Key), listRecords, listBytes)
		return res, err
	}
	all, err := p.tagged(s.sameTag(op.Key))
	if err != nil {
		return res, err
	}
	for _, h := range all {
		if h.presence(now) == live {
			res.Records = append(res.Records, h.rec)
		}
	}
	return res, nil
}

// deleteAll also deletes what has expired here: a copy elsewhere may know of a
// later touch. It lets go of the lock after every few hundred sessions: one
// that is created meanwhile may be deleted or not, as if it had come before or
// after.
func (s *Store) deleteAll(p *partition, op *Op, now int64) (res Result, err error) {
	same := s.sameTag(op.Key)
	var all []held
	if op.NewKey == "" {
		all, err = p.tagged(same)
	} else {
		all, err = p.someTagged(same, deletePage)
	}
	if err != nil {
		return res, err
	}
	if more := op.NewKey != "" && len(all) == deletePage; more {
		last := all[len(all)-1].rec
		res.Record = newTombstone(last.key, last.rank, now)
	} else { // the last page copies again what has been ended before
		for _, g := range p.graves() {
			if same(g.key) {
				res.Again = append(res.Again, g.key)
			}
		}
		slices.Sort(res.Again)
	}
	for some := range slices.Chunk(all, reapBatch) {
		if err := s.deleteSome(p, some, now, &res); err != nil {
			return res, err
		}
	}
	s.dropTombstones(p)
	res.Changed = len(res.Records) > 0
	return res, nil
}

func (s *Store) deleteSome(p *partition, some []held, now int64, res *Result) error {
	defer p.mu.unlock(p.mu.lock())
	if !p.open.Load() {
		return ErrNotServed
	}
	for _, h := range some {
		cur := p.heldLocked(h.rec.key)
		if cur.rec == nil || cur.rec.dead {
			continue
		}
		next := p.liftedLocked(s.cfg.entomb(cur.rec.key, cur.rec, p.leastStamp(), now))
		s.setLocked(p, cur, next)
		res.Records = append(res.Records, next.rec)
	}
	return nil
}

// prefetchBatch is how many keys are looked at side by side: about as many
// misses as a core can wait for at a time.
const prefetchBatch = 32

const (
	cacheLine    = 64
	prefetchBody = 512 // bytes of the fields: the processor expects the rest itself
)

// Prefetch brings the sessions of keys that are about to be asked for into the
// cache, as far as a look at each does. These looks depend on nothing but the
// one before at the same key, so the processor waits for all of them at once.
// It finds nothing out, and changes nothing.
func (s *Store) Prefetch(keys []string) {
	var slots [prefetchBatch]*slot
	for len(keys) > 0 {
		n := min(len(keys), prefetchBatch)
		for i, key := range keys[:n] {
			slots[i] = s.partition(key).live.home(key)
		}
		var sum uint64
		for _, slot := range slots[:n] {
			sum += slot.tag.Load()
		}
		for _, slot := range slots[:n] {
			if first := slot.key.Load(); first != nil {
				sum += uint64(*first)
			}
			if rec := slot.rec.Load(); rec != nil {
				sum += rec.hash + uint64(rec.rank) // it is longer than a cache line
				for at := cacheLine; at < min(len(rec.body), prefetchBody); at += cacheLine {
					sum += uint64(rec.body[at])
				}
			}
		}
		if sum == 0 { // which it hardly ever is, so that cores do not write to one place
			prefetched.Add(1)
		}
		keys = keys[n:]
	}
}

// prefetched keeps the compiler from leaving the looks out.
var prefetched atomic.Uint64

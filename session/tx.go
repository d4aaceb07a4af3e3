package session

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Tx is the hold of one partition. Between its reads and its writes nothing
// else happens to the partition's sessions, so a read-modify-write is one step.
// It is valid while the function runs that was given it.
//
// It is how commands that are not an [Op] are written, those of the Redis
// protocol. They differ from an Op in two ways: a write creates whatever is or
// was there, and a session that it creates has no end unless one is given.
//
// Keys and fields given to it are not kept, they may lie in a buffer.
type Tx struct {
	store   *Store
	part    *partition
	now     int64
	changed []string
	lapsed  []string
	unheld  bool // the partition's lock is not held yet
	closed  bool // it was closed when the lock was taken
}

// txs saves the allocation of a Tx, which every function that is given one
// would cause.
var txs = sync.Pool{New: func() any { return new(Tx) }}

// Changes are the keys that a Tx has written.
type Changes struct {
	Keys   []string // those whose records have to be copied, maybe more than once or again
	Lapsed []string // those under which a session was overwritten that had ended
}

// View runs f with partition p held for reading: f must not write. It returns
// f's error, or [ErrNotServed] if the partition is closed.
func (s *Store) View(p int, f func(tx *Tx) error) error {
	part := s.rlock(p)
	defer part.mu.RUnlock()
	if !part.open.Load() {
		return ErrNotServed
	}
	tx := txs.Get().(*Tx)
	defer txs.Put(tx)
	*tx = Tx{store: s, part: part, now: s.nowMillis()}
	return f(tx)
}

// ViewKey is [Store.View] for an f that asks for one key only. Where its session
// is there, no lock is taken: see table.
func (s *Store) ViewKey(p int, f func(tx *Tx) error) error {
	part := &s.partitions[p]
	if !part.open.Load() {
		return ErrNotServed
	}
	tx := txs.Get().(*Tx)
	defer txs.Put(tx)
	*tx = Tx{store: s, part: part, now: s.nowMillis(), unheld: true}
	defer func() {
		if !tx.unheld {
			part.mu.RUnlock()
		}
	}()
	err := f(tx)
	if tx.closed {
		return ErrNotServed
	}
	return err
}

// hold takes the partition's lock for the rest of a Tx that has gone without.
func (tx *Tx) hold() {
	if tx.unheld {
		tx.part.mu.RLock()
		tx.unheld = false
		tx.closed = !tx.part.open.Load()
	}
}

// Update runs f with partition p held for writing, and returns f's error, or
// [ErrNotServed] if the partition is closed. What f wrote before it returned an
// error stays written, and is in the changes.
func (s *Store) Update(p int, f func(tx *Tx) error) (Changes, error) {
	return s.UpdateAsOf(p, s.cfg.Now(), f)
}

// UpdateAsOf is Update as of an earlier time: see [Store.DoAsOf].
func (s *Store) UpdateAsOf(p int, at time.Time, f func(tx *Tx) error) (Changes, error) {
	part := &s.partitions[p]
	part.mu.Lock()
	defer part.mu.Unlock()
	if !part.open.Load() {
		return Changes{}, ErrNotServed
	}
	tx := txs.Get().(*Tx)
	defer txs.Put(tx)
	*tx = Tx{store: s, part: part, now: at.UnixMilli()}
	err := f(tx)
	return Changes{Keys: tx.changed, Lapsed: tx.lapsed}, err
}

// ListChanges has the keys that will be written appended to keys, which saves an
// allocation. It comes before the first write.
func (tx *Tx) ListChanges(keys []string) { tx.changed = keys }

// Holds reports whether key is one of the partition's. Others must not be given
// to the Tx.
func (tx *Tx) Holds(key string) bool { return tx.store.partition(key) == tx.part }

// Now is the time of the whole Tx, unix ms.
func (tx *Tx) Now() int64 { return tx.now }

// Get returns the live session under key, nil if there is none, and when it
// ends, unix ms, 0 if never. It allocates nothing.
func (tx *Tx) Get(key string) (rec *Record, until int64) {
	h, ok := tx.part.live.find(key)
	if tx.unheld && (!ok || tx.now >= h.until) {
		tx.hold()
		h, ok = tx.part.live.find(key)
	}
	switch {
	case !ok || tx.now >= h.until:
		return nil, 0
	case h.until == never:
		return h.rec, 0
	}
	return h.rec, h.until
}

// DeletedAt returns when the session that was under key was deleted, unix ms by
// the clock of its owner then, and false if no tombstone says so.
func (tx *Tx) DeletedAt(key string) (at int64, ok bool) {
	tx.hold()
	t, ok := tx.part.dead[key]
	if !ok || t.presence(tx.now) != deleted {
		return 0, false
	}
	return t.rank.millis(), true
}

// Each calls f with every live session of the partition, in no order, until it
// returns false.
func (tx *Tx) Each(f func(rec *Record) bool) {
	tx.hold()
	for h := range tx.part.live.all() {
		if tx.now < h.until && !f(h.rec) {
			return
		}
	}
}

// Put writes a whole value. end is when it ends; nil keeps the end of the
// session that is replaced, and a sliding one slides. The stamp of end is
// ignored.
func (tx *Tx) Put(key string, fields []Field, end *Expiry) error {
	op := Op{Kind: Put, Fields: fields}
	if err := tx.store.cfg.checkPut(&op); err != nil {
		return err
	}
	cur, old, err := tx.open(key)
	if err != nil {
		return err
	}
	stamp := after(tx.now, cur.rec.newest())
	rank := stamp
	if old != nil {
		rank = old.rank
	}
	expiry, until := tx.end(cur, old, end, stamp)
	var array [16]Field
	rec := newSession(key, rank, stamp, expiry, stamped(array[:0], op.Fields, stamp))
	return tx.write(cur, held{rec, until})
}

// Patch sets and removes fields and leaves the others alone, each with a stamp
// of its own. It creates a missing session, without an end. An error wraps
// [ErrType] where the session holds an opaque value.
func (tx *Tx) Patch(key string, fields []Field) error {
	cur, old, err := tx.open(key)
	if err != nil {
		return err
	}
	if old == nil {
		return tx.Put(key, present(fields), nil)
	}
	if _, opaque := old.Opaque(); opaque {
		return fmt.Errorf("patch: %w: put the whole value", ErrType)
	}
	stamp := after(tx.now, old.newest())
	all, base, err := tx.store.cfg.overlaid(old, sortFields(fields), stamp)
	if err != nil {
		return err
	}
	expiry, until := tx.end(cur, old, nil, stamp)
	return tx.write(cur, held{newSession(key, old.rank, base, expiry, all), until})
}

// Expire gives a live session another end and reports whether there is one.
// The version stays, as with a touch.
func (tx *Tx) Expire(key string, end Expiry) bool {
	cur, ok := tx.part.live.find(key)
	if !ok || tx.now >= cur.until {
		return false
	}
	end.Stamp = after(tx.now, cur.rec.newest())
	rec := *cur.rec
	rec.expiry = end
	rec.hash = rec.digest()
	tx.set(cur, fresh(&rec))
	return true
}

// Delete leaves a tombstone, as a logout does, and reports whether there was a
// live session. It leaves one too where nothing is known of the key, for a copy
// may be on its way; only where memory is short it does not. A tombstone that is
// there already has to be copied again: whoever made it may still wait for that.
func (tx *Tx) Delete(key string) bool {
	cur := tx.part.heldLocked(key)
	found := cur.presence(tx.now)
	if found == deleted {
		tx.changed = append(tx.changed, strings.Clone(key)) // it may lie in a buffer
		return false
	}
	next := tx.store.cfg.entomb(key, cur.rec, tx.now)
	if cur.rec == nil && tx.store.full(next.rec) {
		return false
	}
	tx.set(cur, next)
	return found == live
}

// Rename moves a live session to another key of the partition, over whatever is
// there, and leaves a tombstone under its own. It keeps the end. It reports
// whether there was a session to move. An error wraps [ErrKey] or [ErrFull].
func (tx *Tx) Rename(from, to string) (bool, error) {
	cur, ok := tx.part.live.find(from)
	if !ok || tx.now >= cur.until {
		return false, nil
	}
	if from == to {
		return true, nil
	}
	over, _, err := tx.open(to)
	if err != nil {
		return true, err
	}
	stamp := after(tx.now, max(cur.rec.newest(), over.rec.newest()))
	var fields []Field
	for f := range cur.rec.Fields() {
		fields = append(fields, f)
	}
	expiry := cur.rec.expiry
	expiry.Stamp = stamp
	// The session is a new incarnation under the new key, above what was there.
	moved := held{newSession(to, stamp, stamp, expiry, stamped(nil, fields, stamp)), cur.until}
	if err := tx.write(over, moved); err != nil {
		return true, err
	}
	tx.set(cur, tx.store.cfg.entomb(from, cur.rec, tx.now))
	return true, nil
}

// open returns what is held under key, and the live session there, nil if
// there is none.
func (tx *Tx) open(key string) (cur held, old *Record, err error) {
	if limit := tx.store.cfg.MaxKey; key == "" || len(key) > limit {
		return cur, nil, fmt.Errorf("%w: %d bytes, not 1 to %d", ErrKey, len(key), limit)
	}
	cur = tx.part.heldLocked(key)
	if cur.presence(tx.now) == live {
		old = cur.rec
	}
	return cur, old, nil
}

// end returns the expiry register after a write, and when the session ends.
// What a write does not move it leaves as it is, stamp and all, so that the
// write does not win over an end that was given elsewhere at the same time.
func (tx *Tx) end(cur held, old *Record, end *Expiry, stamp Stamp) (e Expiry, until int64) {
	switch {
	case end != nil:
		e = *end
	case old == nil:
	case old.expiry.Idle == 0:
		return old.expiry, cur.until
	default:
		e = tx.store.cfg.slide(&Op{}, old, old.rank, stamp, tx.now)
	}
	e.Stamp = stamp
	return e, e.end()
}

// write puts next in the place of cur if there is room for it.
func (tx *Tx) write(cur, next held) error {
	if cur.presence(tx.now) != live && tx.store.full(next.rec) {
		return fmt.Errorf("%w: %d of %d bytes used", ErrFull, tx.store.bytes.Load(), tx.store.cfg.MemoryLimit)
	}
	if cur.rec != nil && !cur.rec.dead && tx.now >= cur.until {
		tx.lapsed = append(tx.lapsed, cur.rec.key)
	}
	tx.set(cur, next)
	return nil
}

func (tx *Tx) set(cur, next held) {
	tx.store.setLocked(tx.part, cur, next)
	tx.changed = append(tx.changed, next.rec.key)
}

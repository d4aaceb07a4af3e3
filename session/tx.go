package session

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Tx is a transaction on the sessions of one partition: what its function has
// read and written is of one moment, as if nothing else had been done to the
// partition meanwhile. It is valid while its function runs.
//
// The function works on drafts. A function that writes begins under the
// partition's lock. Most end under it: the lock is given back only when a
// function has done some work, a tenth of a millisecond about, and it goes on
// without. Its writes are then put in when it has returned, all at once, if
// what it had read is still there; if not, it is run again. So the lock is held
// for as long as it takes to put records in their places, however large the
// sessions are and however much the function does with them (optimistic
// concurrency control: Kung and Robinson, 1981), and small writes, however many
// there are of one key, all come to their end the first time.
//
// It is how commands that are not an [Op] are written, those of the Redis
// protocol. They differ from an Op in two ways: a write creates whatever is or
// was there, and a session that it creates has no end unless one is given.
//
// Keys and fields given to it must stay as they are until the function has
// returned. They are not kept for longer, so they may lie in a buffer.
type Tx struct {
	store   *Store
	part    *partition
	now     int64
	alone   bool          // the partition's lock is held
	since   time.Duration // of alone, if it is measured
	uses    int           // over all transactions
	closed  bool          // it was closed when a look at it needed the lock
	spent   int
	first   Draft // the only one that most transactions need
	used    bool  // first is
	more    []*Draft
	byKey   map[string]*Draft // of more, if there are many
	changed []string
	lapsed  []string
	grown   int64 // bytes of sessions that its writes add
	silent  bool  // nobody asks for changed
	nowhere bool  // see NothingElsewhere
	blind   bool  // see Blind
}

// txs saves the allocation of a Tx, which every function that is given one
// would cause.
var txs = sync.Pool{New: func() any { return new(Tx) }}

// A unit of work is about 10 ns: a step to the next field of a session, or the
// copy of 64 bytes.
const (
	// aloneWork is how much is done under a partition's lock, about 0.1 ms.
	aloneWork = 10_000
	// draftWork is about what it takes to find a session and to put it back.
	draftWork = 16
	// maxTries is how often a function that does more is run before its caller
	// is told that others are faster.
	maxTries = 8
	// measureEvery says of how many short holds one is measured: to look at the
	// clock twice takes a tenth of what a small write does.
	measureEvery = 16
	unmeasured   = time.Duration(-1)
	// keepDrafts and keepIndex bound what is kept for the next transaction.
	keepDrafts = 64
	keepIndex  = 1 << 10
	// fewDrafts is up to how many are looked through one by one.
	fewDrafts = 8
)

// Changes are the keys that a Tx has written.
type Changes struct {
	Keys   []string // those whose records have to be copied, maybe more than once or again
	Lapsed []string // those under which a session was overwritten that had ended
}

// View runs f on partition p: f must not write. It returns f's error,
// [ErrNotServed] if the partition is closed, or [ErrBusy]. Where f asks for one
// key only and its session is there, no lock is taken: see table.
func (s *Store) View(p int, f func(tx *Tx) error) error {
	_, err := s.transact(context.Background(), &s.partitions[p], s.nowMillis(), false, f)
	return err
}

// Update runs f on partition p and puts in what it has written. It returns f's
// error, [ErrNotServed] if the partition is closed, or [ErrBusy]; nothing was
// written then.
func (s *Store) Update(p int, f func(tx *Tx) error) (Changes, error) {
	return s.UpdateAsOf(context.Background(), p, s.cfg.Now(), f)
}

// UpdateAsOf is Update as of an earlier time: see [Store.DoAsOf].
func (s *Store) UpdateAsOf(ctx context.Context, p int, at time.Time, f func(tx *Tx) error) (Changes, error) {
	return s.transact(ctx, &s.partitions[p], at.UnixMilli(), true, f)
}

// transact runs f until no other write has come between what it read and what
// it wrote. writes says whether it may write.
func (s *Store) transact(ctx context.Context, p *partition, now int64, writes bool, f func(tx *Tx) error) (Changes, error) {
	if !p.open.Load() {
		return Changes{}, ErrNotServed
	}
	tx := txs.Get().(*Tx)
	defer tx.release()
	tx.store, tx.part, tx.now = s, p, now
	for try := range maxTries {
		if try > 0 {
			s.retried.Add(1)
			if ctx.Err() != nil {
				return Changes{}, fmt.Errorf("transaction: %w", ctx.Err())
			}
			tx.reset()
		}
		done, err := tx.run(f, writes || try > 0)
		if done {
			s.dropTombstones(p)
			return Changes{Keys: tx.changed, Lapsed: tx.lapsed}, err
		}
	}
	s.busy.Add(1)
	return Changes{}, fmt.Errorf("transaction: %w: others wrote first %d times", ErrBusy, maxTries)
}

// run runs f once, to begin with under the lock if alone says so, and reports
// whether that is all: what f has written is in its place then, unless there is
// an error.
func (tx *Tx) run(f func(tx *Tx) error, alone bool) (done bool, err error) {
	if alone {
		tx.since = unmeasured
		if tx.uses++; tx.uses%measureEvery == 0 {
			tx.since = tx.part.mu.lock()
		} else {
			tx.part.mu.Lock()
		}
		tx.alone = true
		defer tx.letGo()
		tx.closed = !tx.part.open.Load()
	}
	if !tx.closed {
		err = f(tx)
	}
	if tx.closed {
		return true, ErrNotServed
	}
	if err != nil {
		return true, err
	}
	writes := false
	for d := range tx.drafts {
		d.pack()
		writes = writes || d.stored
	}
	switch {
	case tx.alone:
		tx.commitLocked()
		return true, nil
	case writes:
		return tx.commit()
	case len(tx.more) == 0:
		return true, nil // what was read is of the moment when it was read
	}
	defer tx.part.mu.runlock(tx.part.mu.rlock())
	return tx.currentLocked(), nil
}

// letGo gives the partition's lock back, if it is held.
func (tx *Tx) letGo() {
	if tx.alone {
		tx.alone = false
		if tx.since == unmeasured {
			tx.part.mu.Unlock()
		} else {
			tx.part.mu.unlock(tx.since)
		}
	}
}

func (tx *Tx) commit() (done bool, err error) {
	defer tx.part.mu.unlock(tx.part.mu.lock())
	if !tx.part.open.Load() {
		return true, ErrNotServed
	}
	if !tx.currentLocked() {
		return false, nil
	}
	tx.commitLocked()
	return true, nil
}

// currentLocked reports whether the store holds what it held when the drafts
// were made.
func (tx *Tx) currentLocked() bool {
	for d := range tx.drafts {
		if !tx.part.heldLocked(d.key).same(d.cur) {
			return false
		}
	}
	return true
}

func (tx *Tx) commitLocked() {
	for d := range tx.drafts {
		if !d.stored {
			continue
		}
		next := d.held()
		if next.rec.dead {
			next = tx.part.liftedLocked(next)
		}
		if next != d.cur {
			tx.store.setLocked(tx.part, d.cur, next)
		}
		if !tx.silent {
			tx.changed = append(tx.changed, d.rec.key)
		}
	}
}

// same reports whether two looks at a key have found one thing. The record of a
// tombstone is made anew for each.
func (h held) same(g held) bool {
	if h.until != g.until || h.compact != g.compact {
		return false
	}
	return h.rec == g.rec || h.rec != nil && g.rec != nil && h.rec.dead && g.rec.dead && h.rec.hash == g.rec.hash
}

// drafts yields the drafts in the order in which the keys were asked for.
func (tx *Tx) drafts(yield func(d *Draft) bool) {
	if !tx.used || !yield(&tx.first) {
		return
	}
	for _, d := range tx.more {
		if !yield(d) {
			return
		}
	}
}

// reset makes tx ready for another run of its function.
func (tx *Tx) reset() {
	index := tx.first.index
	if cap(index) > keepIndex {
		index = nil
	}
	clear(tx.more)
	more := tx.more[:0]
	if cap(more) > keepDrafts {
		more = nil
	}
	*tx = Tx{store: tx.store, part: tx.part, now: tx.now, uses: tx.uses, more: more, first: Draft{index: index[:0]}}
}

func (tx *Tx) release() {
	tx.reset()
	tx.store, tx.part = nil, nil
	txs.Put(tx)
}

// draft returns the draft of what is under key.
func (tx *Tx) draft(key string) *Draft {
	switch {
	case !tx.used:
		tx.spent += draftWork
		tx.used = true
		tx.first.reset(tx, key, tx.look(key))
		return &tx.first
	case tx.first.key == key:
		return &tx.first
	case tx.byKey != nil:
		if d := tx.byKey[key]; d != nil {
			return d
		}
	default:
		for _, d := range tx.more {
			if d.key == key {
				return d
			}
		}
	}
	tx.Spend(draftWork)
	d := new(Draft)
	d.reset(tx, key, tx.look(key))
	tx.more = append(tx.more, d)
	if len(tx.more) == fewDrafts {
		tx.byKey = make(map[string]*Draft)
		for _, d := range tx.more {
			tx.byKey[d.key] = d
		}
	} else if tx.byKey != nil {
		tx.byKey[key] = d
	}
	return d
}

// look returns what the store holds under key. A session that is there is found
// without the lock; that there is none is only sure with it.
func (tx *Tx) look(key string) held {
	if h, ok := tx.part.live.find(key); ok && tx.now < h.until {
		return h
	}
	if tx.alone {
		return tx.part.heldLocked(key)
	}
	defer tx.part.mu.runlock(tx.part.mu.rlock())
	tx.closed = tx.closed || !tx.part.open.Load()
	return tx.part.heldLocked(key)
}

// ListChanges has the keys that will be written appended to keys, which saves
// an allocation. It comes before the first write.
func (tx *Tx) ListChanges(keys []string) { tx.changed = keys }

// Spend says that the function has done so much work, in units of about 10 ns,
// beside what the methods count themselves: a step to the next field, the copy
// of 64 bytes. It comes before the work.
func (tx *Tx) Spend(units int) {
	if tx.spent += units; tx.alone && tx.spent > aloneWork {
		tx.letGo()
	}
}

// Keys returns how many keys have been asked for.
func (tx *Tx) Keys() int {
	if !tx.used {
		return 0
	}
	return 1 + len(tx.more)
}

// Spent returns the work that was done since the function began.
func (tx *Tx) Spent() int { return tx.spent }

// Holds reports whether key is one of the partition's. Others must not be given
// to the Tx.
func (tx *Tx) Holds(key string) bool { return tx.store.partition(key) == tx.part }

// Bounds returns how many bytes and how many fields a session may have: see
// [Config].
func (tx *Tx) Bounds() (bytes, fields int) { return tx.store.cfg.MaxSession, tx.store.cfg.MaxFields }

// Now is the time of the whole Tx, unix ms.
func (tx *Tx) Now() int64 { return tx.now }

// Get returns the live session under key, nil if there is none, and when it
// ends, unix ms, 0 if never. For the first key it allocates nothing.
func (tx *Tx) Get(key string) (d *Draft, until int64) {
	d = tx.draft(key)
	switch {
	case d.presence() != live:
		return nil, 0
	case d.until == never:
		return d, 0
	}
	return d, d.until
}

// DeletedAt returns when the session that was under key was deleted, unix ms by
// the clock of its owner then, and false if no tombstone says so.
func (tx *Tx) DeletedAt(key string) (at int64, ok bool) {
	d := tx.draft(key)
	if d.presence() != deleted {
		return 0, false
	}
	return d.rec.rank.millis(), true
}

// Knows reports whether the store held anything under key: a live session, one
// that has ended and is not forgotten yet, or a tombstone.
func (tx *Tx) Knows(key string) bool { return tx.draft(key).cur.rec != nil }

// Each calls f with every live session of the partition as the store holds it,
// in no order, until it returns false.
func (tx *Tx) Each(f func(rec *Record) bool) {
	if tx.alone {
		for _, rec := range tx.all() {
			if !f(rec) {
				return
			}
		}
		return
	}
	err := tx.part.walk(func(some []held) bool {
		tx.spent += len(some)
		for _, h := range some {
			if tx.now < h.until && !f(h.rec) {
				return false
			}
		}
		return true
	})
	tx.closed = tx.closed || err != nil
}

// Page returns about most live sessions, those whose keys have the lowest places
// of those not below from, in their order. next is the place to go on from, if
// there is more. Sessions of one place are on one page. As each page costs a
// look at the whole partition, one of a large partition has more than was asked
// for: a hundredth, about.
func (tx *Tx) Page(from uint64, most int, place func(key string) uint64) (records []*Record, next uint64, more bool) {
	most = max(most, min(len(*tx.part.live.array.Load())/walkPages, pageRecords))
	type placed struct {
		rec   *Record
		place uint64
	}
	page := lowest[placed]{most: most, place: func(p placed) uint64 { return p.place }}
	for rec := range tx.Each {
		if at := place(rec.key); at >= from && page.takes(at) {
			page.add(placed{rec, at})
		}
	}
	page.cut()
	for _, p := range page.kept {
		records = append(records, p.rec)
	}
	return records, page.next, page.full
}

// all is for a Tx that has the lock.
func (tx *Tx) all() []*Record {
	tx.spent += tx.part.live.size
	records := make([]*Record, 0, tx.part.live.size)
	for h := range tx.part.live.all() {
		if tx.now < h.until {
			records = append(records, h.rec)
		}
	}
	return records
}

// Put writes a whole value. end is when it ends; nil keeps the end of the
// session that is replaced, and a sliding one slides. The stamp of end is
// ignored.
func (tx *Tx) Put(key string, fields []Field, end *Expiry) error {
	op := Op{Kind: Put, Fields: fields}
	if err := tx.store.cfg.checkPut(&op); err != nil {
		return err
	}
	d, err := tx.open(key)
	if err != nil {
		return err
	}
	work := 4 * len(op.Fields)
	for i := range op.Fields {
		work += len(op.Fields[i].Value) / 64
	}
	tx.Spend(work)
	stamp := tx.after(d.newest())
	rank := rankOf(stamp, d.rec, d.presence(), tx.blind)
	expiry, until := tx.end(d, end, stamp)
	var array [16]Field
	rec := newSession(key, rank, stamp, expiry, stamped(array[:0], op.Fields, stamp))
	tx.Spend(len(op.Fields) + len(rec.body)/64)
	return tx.write(d, held{rec: rec, until: until})
}

// Patch sets and removes fields and leaves the others alone, each with a stamp
// of its own. It creates a missing session, without an end. An error wraps
// [ErrType] where the session holds an opaque value.
func (tx *Tx) Patch(key string, fields []Field) error {
	d, err := tx.open(key)
	if err != nil {
		return err
	}
	if d.presence() != live {
		return tx.Put(key, present(fields), nil)
	}
	if _, opaque := d.Opaque(); opaque {
		return fmt.Errorf("patch: %w: put the whole value", ErrType)
	}
	if err := tx.store.cfg.checkNames(Patch, fields); err != nil {
		return err
	}
	stamp := tx.after(d.newest())
	expiry, until := tx.end(d, nil, stamp)
	if err := d.patch(stamped(nil, sortFields(fields), stamp), stamp); err != nil {
		return err
	}
	d.expiry, d.until = expiry, until
	return nil
}

// Expire gives a live session another end and reports whether there is one.
// The version stays, as with a touch.
func (tx *Tx) Expire(key string, end Expiry) bool {
	d := tx.draft(key)
	if d.presence() != live {
		return false
	}
	end.Stamp = tx.after(d.newest())
	d.expiry, d.until, d.stored = end, end.end(), true
	return true
}

// Delete leaves a tombstone, as a logout does, and reports whether there was a
// live session. It leaves one too where nothing is known of the key, for a copy
// may be on its way, unless NothingElsewhere was called. A tombstone that is
// there already has to be copied again: the delete that made it may still wait
// for that.
func (tx *Tx) Delete(key string) bool {
	d := tx.draft(key)
	found := d.presence()
	if found == deleted {
		tx.changed = append(tx.changed, strings.Clone(key)) // it may lie in a buffer
		return false
	}
	if d.rec == nil && tx.nowhere {
		return false
	}
	tx.put(d, tx.store.cfg.entomb(key, d.Record(), tx.part.leastStamp(), tx.now))
	return found == live
}

// Rename moves a live session to another key of the partition, over whatever is
// there, and leaves a tombstone under its own. It keeps the end. It reports
// whether there was a session to move. An error wraps [ErrKey] or [ErrFull].
func (tx *Tx) Rename(from, to string) (bool, error) {
	d := tx.draft(from)
	if d.presence() != live {
		return false, nil
	}
	if from == to {
		return true, nil
	}
	over, err := tx.open(to)
	if err != nil {
		return true, err
	}
	tx.Spend(4 * d.rec.walk())
	stamp := tx.after(max(d.newest(), over.newest()))
	var fields []Field
	for f := range d.Fields() {
		fields = append(fields, f)
	}
	expiry := d.expiry
	expiry.Stamp = stamp
	// The session is a new incarnation under the new key, above what was there.
	moved := held{rec: newSession(to, stamp, stamp, expiry, stamped(nil, fields, stamp)), until: d.until}
	buried := tx.store.cfg.entomb(from, d.Record(), tx.part.leastStamp(), tx.now)
	if err := tx.admit(liveCost(moved.rec)-over.cost()-d.cost(), func() int { return 0 }); err != nil {
		return true, err
	}
	tx.put(over, moved)
	tx.put(d, buried)
	return true, nil
}

// open returns the draft of a key that may be written.
func (tx *Tx) open(key string) (*Draft, error) {
	if limit := tx.store.cfg.MaxKey; key == "" || len(key) > limit {
		return nil, fmt.Errorf("%w: %d bytes, not 1 to %d", ErrKey, len(key), limit)
	}
	return tx.draft(key), nil
}

// after returns the stamp of a write by one that has seen seen.
func (tx *Tx) after(seen Stamp) Stamp { return after(tx.now, max(seen, tx.part.leastStamp())) }

// end returns the expiry register after a write, and when the session ends.
// What a write does not move it leaves as it is, stamp and all, so that the
// write does not win over an end that was given elsewhere at the same time.
func (tx *Tx) end(d *Draft, end *Expiry, stamp Stamp) (e Expiry, until int64) {
	switch {
	case end != nil:
		e = *end
	case d.presence() != live:
	case d.expiry.Idle == 0:
		return d.expiry, d.until
	default:
		e = tx.store.cfg.slide(&Op{}, d.expiry, d.rec.rank, stamp, tx.now)
	}
	e.Stamp = stamp
	return e, e.end()
}

// write puts next in the place of what is in the draft if there is room for it.
func (tx *Tx) write(d *Draft, next held) error {
	grown := liveCost(next.rec) - d.cost()
	if err := tx.admit(grown, func() int { return d.lost(shapeOf(next.rec)) }); err != nil {
		return err
	}
	if d.rec != nil && !d.rec.dead && d.presence() != live {
		tx.lapsed = append(tx.lapsed, d.rec.key)
	}
	tx.put(d, next)
	return nil
}

// put puts next in the place of what is in the draft.
func (tx *Tx) put(d *Draft, next held) {
	tx.grown += sessionCost(next.rec) - d.cost()
	d.store(next)
}

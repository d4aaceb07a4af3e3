package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/session"
)

// This file takes sessions over from where they were before, one by one, when
// they are first asked for here: see package upstream.
//
// It is done by the owner, before it runs the work that needs the session, and
// only where it is certain that no other member knows better: the partition is
// verified, and no node is missing that may come back with a tombstone. What is
// brought is written as any new session is, in the place of nothing: whatever
// this node knows of the key by then, a session that has just ended included,
// stays.

// Upstream is where sessions may be that have never been here. Its methods may
// be called at any time.
type Upstream interface {
	// TakeOver asks for keys of which nothing is known here, and calls put for
	// each that is there: with its value, as DUMP writes it, and its end, unix
	// ms, 0 for never. It returns when that is done for all of them, by this
	// call or by others that have come before it, or ctx ends. What cannot be
	// had is missed, and no error. Errors of put are those of package session
	// and of package rdb: session.ErrPrecondition where something is known of
	// the key by then, and session.ErrNotServed where its partition has changed
	// hands. That one is returned, for the request may do better elsewhere.
	TakeOver(ctx context.Context, keys []string, put func(key, payload string, end int64) error) error
	// Hold says whether a key that is being taken over may be put in its place:
	// not if it has ended here meanwhile. If it may, nothing that is here is
	// forgotten until Release.
	Hold(key string) bool
	Release()
	// Withheld counts keys that were not asked for, as copies of them may be
	// out of reach.
	Withheld(keys int)
	// Ended says that the session under key has ended here, and so has to end
	// there. It does not block.
	Ended(key string)
}

var (
	// errKnown is why a session is not taken over of which something is known
	// here by now.
	errKnown = fmt.Errorf("take over: %w: the key is known here by now", session.ErrPrecondition)
	// errMoved is why a session is not taken over whose partition has changed
	// hands, or lost touch with its copies, since it was asked for.
	errMoved = fmt.Errorf("take over: %w: the copies may know more by now", session.ErrNotServed)
)

// takeOver has the sessions brought that w looks at and that are not known
// here. An error says that somebody else may serve the partition by now.
func (d *Dispatcher) takeOver(ctx context.Context, p int, w work) error {
	if d.cfg.Upstream == nil {
		return nil
	}
	keys := d.unknown(w)
	if len(keys) == 0 {
		return nil
	}
	epoch, certain := d.certain(p)
	if !certain {
		d.cfg.Upstream.Withheld(len(keys))
		return nil
	}
	// What has been found is put in its place, though its client may have left.
	put := context.WithoutCancel(ctx)
	return d.cfg.Upstream.TakeOver(ctx, keys, func(key, payload string, end int64) error {
		return d.put(put, &bringWork{key: key, part: p, epoch: epoch}, payload, end)
	})
}

// unknown returns the keys that w looks at and of which nothing is held here.
func (d *Dispatcher) unknown(w work) (keys []string) {
	w.looks(func(key string) {
		if d.cfg.Store.Peek(key) == nil && key != "" && len(key) <= session.MaxKey {
			keys = append(keys, strings.Clone(key)) // it may lie in a buffer
		}
	})
	return keys
}

// certain says whether what is not known of partition p here is known nowhere,
// and the epoch by which it is served. A node that is missing, and may be
// alive, may have ended a session that was never copied to this one.
func (d *Dispatcher) certain(p int) (epoch uint64, certain bool) {
	v := d.cfg.Owner.Decide(p)
	certain = v.Here() && v.Leased && !v.Unverified && !d.cfg.View().Misses(d.cfg.Self) && !d.cfg.Absent(keepAbsent)
	return v.Epoch, certain
}

// put writes a session that was brought. An error wraps one of package rdb
// where the value is nothing that can be held here.
func (d *Dispatcher) put(ctx context.Context, w *bringWork, payload string, end int64) (err error) {
	bytes, fields := d.cfg.Store.Bounds()
	if w.fields, w.end, err = command.Restored(payload, end, bytes, fields); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	_, err = d.serveKnown(ctx, w.part, w, session.AckDefault)
	if errors.Is(err, session.ErrUncertain) {
		return nil // it is here, and copies will follow
	}
	return err
}

// bringWork writes one session that was taken over. It is run by the node that
// has asked for it, and travels nowhere.
type bringWork struct {
	key    string
	part   int
	epoch  uint64 // by which it was asked for
	fields []session.Field
	end    *session.Expiry
}

func (w *bringWork) name() string                { return "take over" }
func (w *bringWork) partition() int              { return w.part }
func (w *bringWork) writes() bool                { return true }
func (w *bringWork) deletes() bool               { return false }
func (w *bringWork) repeatable() bool            { return false }
func (w *bringWork) unmarked() bool              { return false }
func (w *bringWork) mayWait() bool               { return false }
func (w *bringWork) renews(*session.Store) bool  { return false }
func (w *bringWork) creates(*session.Store) bool { return true }
func (w *bringWork) looks(func(string))          {}
func (w *bringWork) buries(func(string))         {}
func (w *bringWork) encode(b []byte) []byte      { return b }

func (w *bringWork) keys(f func(string)) (whole bool) {
	f(w.key)
	return false
}

func (w *bringWork) run(ctx context.Context, d *Dispatcher, at time.Time, _ sight) (r reply, err error) {
	if epoch, certain := d.certain(w.part); !certain || epoch != w.epoch {
		return r, errMoved
	}
	if !d.cfg.Upstream.Hold(w.key) {
		return r, errKnown
	}
	defer d.cfg.Upstream.Release()
	changes, err := d.cfg.Store.UpdateAsOf(ctx, w.part, at, func(tx *session.Tx) error {
		if tx.Knows(w.key) {
			return errKnown
		}
		return tx.Put(w.key, w.fields, w.end)
	})
	r.changed = changes.Keys
	return r, err
}

// ended tells the upstream which sessions some work has ended.
func (d *Dispatcher) ended(r *reply) {
	if d.cfg.Upstream == nil || !r.deleted {
		return
	}
	for _, key := range r.changed {
		if rec := d.cfg.Store.Peek(key); rec != nil && rec.Dead() {
			d.cfg.Upstream.Ended(key)
		}
	}
}

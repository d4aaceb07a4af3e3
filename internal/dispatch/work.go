package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// work is what a request wants done where its partition is owned: an operation
// of package session, or a batch of Redis commands. Who owns the partition,
// whether this member may serve it, who gets copies and what a failure means is
// the same for both, and is written once, in terms of these questions.
type work interface {
	name() string // for errors
	partition() int
	writes() bool
	deletes() bool              // it does nothing but delete, and must always pass
	repeatable() bool           // run twice it ends as run once
	unmarked() bool             // its answer cannot say that there may be newer
	mayWait() bool              // for copies, however its writer wants its writes acknowledged
	renews(*session.Store) bool // a lock, and so waits for copies too
	// creates says whether it would add a session to those of the store.
	creates(*session.Store) bool
	// keys calls f with those that it looks at. whole says that it looks at
	// everything in its partition instead.
	keys(f func(key string)) (whole bool)
	// looks calls f with those of which it matters what is there.
	looks(f func(key string))
	// buries calls f with the keys that it deletes whatever is there.
	buries(f func(key string))
	// run runs it, with stamps as of at, when this member was sure that it may.
	// What has many fields to look at stops when ctx is over.
	run(ctx context.Context, d *Dispatcher, at time.Time, s sight) (reply, error)
	// encode appends what the owner needs to run it.
	encode(b []byte) []byte
}

// sight is what is known of copies elsewhere when work is run.
type sight struct {
	unverified bool // copies are out of reach that may know more
	nowhere    bool // nobody has what the work deletes and is not here
}

// blind says whether what is written yields to what other members have, where
// nothing is found here: see session.Op.Blind. In mode Majority it does not: the
// others acknowledge nothing meanwhile.
func (d *Dispatcher) blind(s sight) bool {
	return s.unverified && d.cfg.Mode != ownership.Majority
}

// reply is what became of one request, and who says so.
type reply struct {
	session.Reply
	answers  []byte   // of a batch
	commands bool     // it is a batch's
	changed  []string // keys whose copies are behind
	deleted  bool     // a delete was among the changes
	exact    bool     // a change was made only because there was nothing before

	forwarded bool // another member did it
	// made says that an attempt before this one may have been made, which has no
	// answer of its own: whoever tries again repeats it.
	made bool
}

// opWork is an operation of package session.
type opWork struct{ *session.Op }

func (w opWork) name() string           { return w.Kind.String() }
func (w opWork) partition() int         { return ring.Partition(w.Key) }
func (w opWork) writes() bool           { return w.Kind.Writes() }
func (w opWork) encode(b []byte) []byte { return w.Append(b) }
func (w opWork) deletes() bool          { return w.Kind == session.Delete || w.Kind == session.DeleteAll }
func (w opWork) mayWait() bool          { return w.deletes() || w.Kind == session.Rotate }
func (w opWork) repeatable() bool       { return repeatable(w.Op) }
func (w opWork) unmarked() bool         { return false }

func (w opWork) renews(*session.Store) bool { return false }

func (w opWork) keys(f func(string)) (whole bool) {
	if w.Kind == session.List || w.Kind == session.DeleteAll || w.Kind == session.Scan {
		return true
	}
	f(w.Key)
	return false
}

func (w opWork) looks(f func(string)) {
	switch w.Kind {
	case session.Get, session.Patch, session.Touch, session.Rotate:
		f(w.Key)
	case session.Put:
		if conditional(w.Op) {
			f(w.Key)
		}
	}
}

func (w opWork) creates(store *session.Store) bool {
	return w.Kind == session.Put && missing(store, w.Key)
}

func missing(store *session.Store, key string) bool {
	rec := store.Peek(key)
	return rec == nil || rec.Dead()
}

// repeatable says whether running op twice ends as running it once does. A
// condition may be true the first time and false the second.
func repeatable(op *session.Op) bool {
	return op.Kind != session.Rotate && !conditional(op)
}

func (w opWork) buries(f func(string)) {
	if w.Kind == session.Delete {
		f(w.Key)
	}
}

func (w opWork) run(ctx context.Context, d *Dispatcher, at time.Time, s sight) (r reply, err error) {
	unverified := s.unverified
	if blind := d.blind(s); s.nowhere || blind {
		op := *w.Op // the caller's
		op.Nowhere, op.Blind = s.nowhere, blind
		w.Op = &op
	}
	if unverified && conditional(w.Op) && d.cfg.Store.Peek(w.Key) == nil {
		return r, errUnverified
	}
	r.Result, err = d.cfg.Store.DoAsOf(ctx, w.Op, at)
	if err == nil && r.Changed {
		r.changed = changedKeys(w.Op, r.Result)
		if w.deletes() && d.cfg.Events.Wanted() {
			for _, key := range r.changed {
				d.cfg.Events.Event("del", key)
			}
		}
	}
	if !planted.Is(planted.AskedAgain) {
		again := r.Again
		if w.Kind == session.DeleteAll {
			again, r.Unconfirmed = d.behind(w.partition(), again)
		}
		r.changed = append(r.changed, again...)
	}
	if w.Kind == session.DeleteAll {
		r.Records = nil // nobody reads them, and they may be more than a frame holds
	}
	r.deleted = w.mayWait() && len(r.changed) > 0
	// Of all of a user's sessions, those that are not known here are missed.
	if all := w.Kind == session.List || w.Kind == session.DeleteAll; unverified && (errors.Is(err, session.ErrNotFound) || err == nil && all) {
		err = errUnverified
	}
	return r, err
}

// conditional says whether op does something else where there is no session.
func conditional(op *session.Op) bool { return op.IfVersion != 0 || op.Exists || op.Create }

func changedKeys(op *session.Op, res session.Result) []string {
	if len(res.Records) == 0 {
		return []string{op.Key}
	}
	keys := make([]string, len(res.Records))
	for i, rec := range res.Records {
		keys[i] = rec.Key()
	}
	return keys
}

// batchWork is a batch of commands. Their answers are appended to dst.
type batchWork struct {
	*command.Batch
	dst  []byte
	part int
	one  [1]string // room for the key that it changes
}

func partitionOf(b *command.Batch) int {
	if b.Key == "" {
		return b.Partition
	}
	return ring.Partition(b.Key)
}

func (w *batchWork) name() string           { return w.Name() }
func (w *batchWork) writes() bool           { return w.Writes() }
func (w *batchWork) deletes() bool          { return w.Deletes() }
func (w *batchWork) repeatable() bool       { return w.Repeatable() }
func (w *batchWork) unmarked() bool         { return true }
func (w *batchWork) mayWait() bool          { return w.MayWait() }
func (w *batchWork) encode(b []byte) []byte { return w.Append(b) }
func (w *batchWork) partition() int         { return w.part }

func (w *batchWork) renews(store *session.Store) bool { return w.Renews(store) }

func (w *batchWork) keys(f func(string)) (whole bool) {
	w.Keys(f)
	return w.Key == ""
}

func (w *batchWork) creates(store *session.Store) (creates bool) {
	if w.NeedsMemory() {
		w.Keys(func(key string) { creates = creates || missing(store, key) })
	}
	return creates
}

func (w *batchWork) looks(f func(string))  { w.Looks(f) }
func (w *batchWork) buries(f func(string)) { w.Buries(f) }

func (w *batchWork) run(ctx context.Context, d *Dispatcher, at time.Time, s sight) (r reply, err error) {
	unverified := s.unverified
	env := command.Env{Context: ctx, At: at, RefuseRevive: d.cfg.RefuseRevive.Milliseconds(), Unverified: unverified, Blind: d.blind(s), Nowhere: s.nowhere, Events: d.cfg.Events.Wanted(), Changed: w.one[:0]}
	out, err := w.Run(d.cfg.Store, w.part, env, w.dst)
	r.answers, r.commands = out.Reply, true
	r.changed, r.deleted, r.exact = out.Changed, out.Deleted, out.Exact
	for _, e := range out.Events {
		d.cfg.Events.Event(e.Name, e.Key)
	}
	if unverified && errors.Is(err, session.ErrNotFound) {
		err = errUnverified
	}
	return r, err
}

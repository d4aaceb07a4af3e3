package command

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// Env is what a batch's run depends on beside the store.
type Env struct {
	// Context ends when the client waits for the answers no more, or may not:
	// commands that have not begun by then are refused, and one that reads or
	// writes many fields ends at the next. Nil never ends.
	Context context.Context
	// At is the time that writes are stamped with if it is earlier than that of
	// the store's clock: see [session.Store.DoAsOf]. Zero means the clock.
	At time.Time
	// RefuseRevive refuses writes of strings and hashes to a key that was
	// deleted less than so many ms ago, except those that create on purpose
	// (NX). 0 refuses none.
	RefuseRevive int64
	// Unverified says that copies are out of reach that may know more. A batch
	// that would have to answer that a key is not there fails with
	// [session.ErrNotFound], and nothing is changed.
	Unverified bool
	// Blind says that what is written yields to those copies: see
	// session.Op.Blind.
	Blind bool
	// Nowhere says that no other member has anything of the keys that the batch
	// deletes (Buries) and that are not in the store: nothing is left of them.
	Nowhere bool
	// Events asks for the events of the keys.
	Events bool
	// Changed is what Outcome.Changed is appended to.
	Changed []string
}

// Outcome is what a batch did.
type Outcome struct {
	Reply   []byte // what was given, with the answers appended
	Changed []string
	Events  []Event
	Work    int  // what it took, in units of [session.Tx.Spend], about 10 ns
	Deleted bool // there are tombstones among the changed
	// Exact says that a write decides which client holds a lock, or for how
	// long, and so should not be lost: it was made only because there was
	// nothing before (NX), or renewed what was made so.
	Exact bool
}

// Event says what happened to a key, in the words of Redis's keyspace
// notifications.
type Event struct{ Name, Key string }

// failure is an error that is an answer, as Redis words it.
type failure string

func (f failure) Error() string { return string(f) }

const (
	errWrongType  failure = "WRONGTYPE Operation against a key holding the wrong kind of value"
	errSyntax     failure = "ERR syntax error"
	errNoKey      failure = "ERR no such key"
	errInteger    failure = "ERR value is not an integer or out of range"
	errFloat      failure = "ERR value is not a valid float"
	errNotFloat   failure = "ERR min or max is not a float"
	errOOM        failure = "OOM command not allowed when used memory > 'maxmemory'."
	errTooLarge   failure = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	errBadKey     failure = "ERR key is empty or longer than 512 bytes"
	errRevive     failure = "ERR key was deleted a moment ago: create it with NX, or set -resp-refuse-revive 0"
	errDeleted    failure = "DELETEDKEY Target key was deleted here; without NOREVIVE it is brought back"
	errOverflow   failure = "ERR increment or decrement would overflow"
	errUnderLimit failure = "ERR value is out of range, must be positive"
	errAnswer     failure = "ERR the answer would be larger than 32 MiB"
	errCrossSlot  failure = "CROSSSLOT Keys in request don't hash to the same slot"
	errLate       failure = "TRYAGAIN the time for this command was over before it was run; nothing was changed"
	errBusy       failure = "TRYAGAIN others wrote to the same keys first, again and again; nothing was changed"
	errManyKeys   failure = "ERR a command or a transaction names at most 16384 keys; nothing was changed"
	errLong       failure = "EXECABORT the transaction costs more than one may, about half a second; nothing was changed"
)

// names is a set of names. A map is made for many only.
type names struct {
	few  [8]string
	n    int
	many map[string]bool
}

// add reports whether name was not in the set yet.
func (s *names) add(name string) bool {
	switch {
	case s.many != nil:
	case slices.Contains(s.few[:s.n], name):
		return false
	case s.n < len(s.few):
		s.few[s.n] = name
		s.n++
		return true
	default:
		s.many = make(map[string]bool)
		for _, f := range s.few {
			s.many[f] = true
		}
	}
	if s.many[name] {
		return false
	}
	s.many[name] = true
	return true
}

// call is a batch that runs, and its command that does.
type call struct {
	*session.Tx
	resp.Reply
	batch *Batch
	env   Env
	out   Outcome
	begin int // of the answers in B
	mark  mark
	spent int // by the last run of a transaction
	next  int // of the batch's commands
	args  [][]byte
	spec  *Spec // of args
	// scratch holds values that are made on the way, until all is written.
	scratch []byte
	fields  []session.Field
}

// calls saves the allocation of a call, which every command would cause.
var calls = sync.Pool{New: func() any { return new(call) }}

const (
	keepScratch = 16 << 10
	// maxAnswer bounds the answers of one batch, which a client could make of
	// any size by naming a large value many times.
	maxAnswer = 32 << 20
	// maxSlice is the work, in units of [session.Tx.Spend], after which
	// commands that are independent of each other go on in another transaction,
	// about 2 ms, and maxWork that which one transaction may cost.
	maxSlice = 200_000
	maxWork  = 50_000_000
	// maxKeys bounds the keys that are put in their places under one hold of a
	// partition, and sliceKeys those of commands that are independent.
	maxKeys   = 16384
	sliceKeys = 1024
	// stopEvery is how many fields one command looks at between two looks at
	// the context.
	stopEvery = 256
)

// Run runs the batch on partition p of store and appends the answers to dst.
// One command runs at one moment, and so do all those of an EXEC. An error is
// session.ErrNotServed, or, of an unverified run, session.ErrNotFound; nothing
// was changed then.
func (b *Batch) Run(store *session.Store, p int, env Env, dst []byte) (Outcome, error) {
	c := calls.Get().(*call)
	defer c.release()
	if env.Context == nil {
		env.Context = context.Background()
	}
	c.batch, c.env, c.B, c.Proto, c.begin = b, env, dst, b.Proto, len(dst)
	writes := b.Writes()
	for first := true; first || c.next < len(b.Commands); first = false {
		if err := c.runSlice(store, p, writes); err != nil {
			// What an earlier slice has done stays, so all have to be answered.
			unrun := errors.Is(err, session.ErrNotServed) || errors.Is(err, session.ErrNotFound)
			if first && unrun {
				return Outcome{Reply: c.B}, err
			}
			c.refuse(textOf(err))
		}
	}
	c.out.Reply = c.B
	return c.out, nil
}

// runSlice runs the commands from next on in one transaction: all of an EXEC,
// else as many as take a while.
func (c *call) runSlice(store *session.Store, p int, writes bool) (err error) {
	c.mark = mark{reply: len(c.B), next: c.next, events: len(c.out.Events), out: c.out}
	defer func() { c.out.Work += c.spent }()
	if !writes {
		err = store.View(p, c.runSome)
	} else {
		at := c.env.At
		if at.IsZero() {
			at = store.Now()
		}
		var changes session.Changes
		changes, err = store.UpdateAsOf(c.env.Context, p, at, c.runSome)
		c.out.Changed = changes.Keys
		for _, key := range changes.Lapsed {
			c.event("expired", key)
		}
	}
	if err != nil {
		c.rewind()
	}
	return err
}

// mark is where a transaction began, to which it goes back if it has to be run
// again.
type mark struct {
	reply, next, events int
	out                 Outcome
}

func (c *call) rewind() {
	c.B, c.next, c.out = c.B[:c.mark.reply], c.mark.next, c.mark.out
	c.out.Events = c.out.Events[:c.mark.events]
	c.scratch = c.scratch[:0]
}

// refuse answers all that have no answer yet.
func (c *call) refuse(text string) {
	if c.batch.Multi {
		c.Error(text)
		c.next = len(c.batch.Commands)
	}
	for ; c.next < len(c.batch.Commands); c.next++ {
		c.Error(text)
	}
}

func (c *call) release() {
	clear(c.fields)
	scratch := c.scratch[:0]
	if cap(scratch) > keepScratch {
		scratch = nil
	}
	*c = call{scratch: scratch, fields: c.fields[:0]}
	calls.Put(c)
}

func (c *call) runSome(tx *session.Tx) error {
	c.rewind()
	defer func() { c.spent = tx.Spent() }()
	c.Tx = tx
	if c.out.Changed == nil {
		c.out.Changed = c.env.Changed
	}
	tx.ListChanges(c.out.Changed)
	if c.env.Nowhere {
		tx.NothingElsewhere()
	}
	if c.env.Blind {
		tx.Blind()
	}
	if c.over() {
		c.refuse(string(errLate))
		return nil
	}
	if c.env.Unverified && c.misses() {
		return session.ErrNotFound
	}
	if c.batch.Multi {
		return c.exec()
	}
	for begin := c.next; c.next < len(c.batch.Commands) && !c.over(); c.next++ {
		if c.next > begin && (tx.Spent() > maxSlice || c.Keys() > sliceKeys) {
			break
		}
		c.runOne(c.batch.spec(c.next), c.batch.Commands[c.next])
	}
	if c.over() {
		c.refuse(string(errLate))
	}
	return nil
}

// exec runs a transaction, all of it or nothing.
func (c *call) exec() error {
	for _, w := range c.batch.Watches {
		if !c.Holds(w.Key) {
			c.refuse(string(errCrossSlot))
			return nil
		}
		if c.tokenOf(w.Key) != w.Token {
			c.NullArray()
			c.next = len(c.batch.Commands)
			return nil
		}
	}
	c.Array(len(c.batch.Commands))
	for ; c.next < len(c.batch.Commands); c.next++ {
		c.runOne(c.batch.spec(c.next), c.batch.Commands[c.next])
		switch {
		case c.over():
			return errLate
		case c.Spent() > maxWork:
			return errLong
		case c.Keys() > maxKeys && c.batch.Writes():
			return errManyKeys
		}
	}
	return nil
}

// over reports whether the client waits for the answers no more.
func (c *call) over() bool { return c.env.Context.Err() != nil }

// stops is over for the loops of a command over its arguments, of which i is
// one.
func (c *call) stops(i int) bool { return i%stopEvery == stopEvery-1 && c.over() }

// runOne appends the answer of one command, an error if it failed. Commands
// append nothing before they can fail no more.
func (c *call) runOne(s *Spec, args [][]byte) {
	switch {
	case s == nil:
		c.Error("ERR unknown command")
		return
	case !s.Fits(len(args)):
		c.Error(string(s.wrongArity()))
		return
	}
	if len(c.B)-c.begin > maxAnswer && s.Flags.Has(ReadOnly) {
		c.Error(string(errAnswer))
		return
	}
	keys, _ := s.Keys(args)
	if len(keys) > maxKeys && s.Flags.Has(Write) {
		c.Error(string(errManyKeys))
		return
	}
	for _, key := range keys {
		if k := view(key); k != c.batch.Key && !c.Holds(k) {
			c.Error(string(errCrossSlot))
			return
		}
	}
	c.spec, c.args, c.fields = s, args, c.fields[:0]
	begin := len(c.B)
	c.Spend(4 * len(args))
	if err := s.run(c); err != nil {
		c.B = c.B[:begin]
		c.Error(textOf(err))
	}
}

func (s *Spec) wrongArity() failure {
	return failure("ERR wrong number of arguments for '" + s.Name + "' command")
}

func (c *call) wrongArity() error { return c.spec.wrongArity() }

// textOf is an error as Redis would say it.
func textOf(err error) string {
	if f, ok := err.(failure); ok {
		return string(f)
	}
	for _, t := range []struct{ is, as error }{
		{session.ErrBusy, errBusy}, {context.DeadlineExceeded, errLate}, {context.Canceled, errLate},
		{session.ErrFull, errOOM}, {session.ErrTooLarge, errTooLarge}, {session.ErrKey, errBadKey}, {session.ErrType, errWrongType},
	} {
		if errors.Is(err, t.is) {
			return t.as.Error()
		}
	}
	return "ERR " + err.Error()
}

// misses says whether a command depends on a key of which nothing is known.
func (c *call) misses() (missing bool) {
	for i, args := range c.batch.Commands {
		s := c.batch.spec(i)
		if s == nil || s.Flags.Has(overwrites) && s.repeatable(args) {
			continue
		}
		keys, _ := s.Keys(args)
		for _, key := range keys {
			rec, _ := c.Get(view(key))
			_, deleted := c.DeletedAt(view(key))
			missing = missing || rec == nil && !deleted
		}
	}
	return missing
}

// event notes what happened to a key. name is a constant.
func (c *call) event(name, key string) {
	if c.env.Events {
		c.out.Events = append(c.out.Events, Event{name, strings.Clone(key)})
	}
}

// view is b as a string without a copy, for look-ups and for writes, which copy
// what they keep. It is good as long as b is not written to.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// key is the first argument.
func (c *call) key() string { return view(c.args[1]) }

// raw is a field's value as it is stored.
func (c *call) raw(b []byte) string {
	start := len(c.scratch)
	c.scratch = append(append(c.scratch, 0), b...)
	return view(c.scratch[start:])
}

// name is a field's name as it is stored.
func (c *call) name(b []byte) string {
	if len(b) > 0 && b[0] > 1 {
		return view(b)
	}
	return session.EscapeName(string(b))
}

// field notes one that is to be written or, if absent, removed.
func (c *call) field(name, value string, absent bool) {
	c.fields = append(c.fields, session.Field{Name: name, Value: value, Absent: absent})
}

// kind is what a key holds.
type kind string

const (
	aString    kind = "string"
	aHash      kind = "hash"
	aSet       kind = session.KindSet
	aSortedSet kind = session.KindSortedSet
)

func kindOf(rec interface {
	Opaque() (string, bool)
	Kind() string
}) kind {
	if _, ok := rec.Opaque(); ok {
		return aString
	}
	if k := rec.Kind(); k != "" {
		return kind(k)
	}
	return aHash
}

// find returns the live session under key, nil if there is none, and an error
// if it is of another kind.
func (c *call) find(key string, want kind) (*session.Draft, error) {
	rec, _ := c.Get(key)
	if rec != nil && kindOf(rec) != want {
		return nil, errWrongType
	}
	return rec, nil
}

// str returns the string under key.
func (c *call) str(key string) (value string, ok bool, err error) {
	rec, _ := c.Get(key)
	if rec == nil {
		return "", false, nil
	}
	if value, ok = rec.Opaque(); !ok {
		return "", false, errWrongType
	}
	return value, true, nil
}

// blindly refuses a write that would bring back what was deleted a moment ago.
func (c *call) blindly(key string) error {
	if c.env.RefuseRevive == 0 {
		return nil
	}
	if at, ok := c.DeletedAt(key); ok && c.Now()-at < c.env.RefuseRevive {
		return errRevive
	}
	return nil
}

// setString writes a string. end is as for [session.Tx.Put].
func (c *call) setString(key, value string, end *session.Expiry) error {
	c.fields = append(c.fields[:0], session.Field{Value: value})
	return c.Put(key, c.fields, end)
}

// remove deletes a key, reports whether there was one, and says so.
func (c *call) remove(key string) bool {
	was := c.Delete(key)
	c.out.Deleted = true
	if was {
		c.event("del", key)
	}
	return was
}

// ok answers with the status OK.
func (c *call) ok() error {
	c.OK()
	return nil
}

// num answers with an integer.
func (c *call) num(n int64) error {
	c.Int(n)
	return nil
}

// yes answers with 1 or 0.
func (c *call) yes(b bool) error {
	if b {
		return c.num(1)
	}
	return c.num(0)
}

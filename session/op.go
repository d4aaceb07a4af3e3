package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what an [Op] does. Its numbers are part of the wire format.
type Kind byte

const (
	Get       Kind = iota + 1 // read
	Put                       // write the whole value; creates a missing session
	Patch                     // set and remove single fields
	Touch                     // slide the expiry
	Delete                    // log out: leave a tombstone
	Rotate                    // move to NewKey and delete Key, in one step (login)
	List                      // read live sessions whose key was written with Key's {tag}: all, or those after NewKey, a page at a time
	DeleteAll                 // delete these: all, or some of them, a page at a time
	// Read live sessions of Key's partition, in order of key, those after
	// NewKey; a page at a time.
	Scan
)

var kindNames = [...]string{
	Get: "get", Put: "put", Patch: "patch", Touch: "touch", Delete: "delete",
	Rotate: "rotate", List: "list", DeleteAll: "delete all", Scan: "scan",
}

func (k Kind) valid() bool { return k >= Get && k <= Scan }

// Writes reports whether the kind can change a session.
func (k Kind) Writes() bool { return k.valid() && k != Get && k != List && k != Scan }

// String returns the kind in lower case words.
func (k Kind) String() string {
	if !k.valid() {
		return fmt.Sprintf("kind(%d)", byte(k))
	}
	return kindNames[k]
}

// Op is one operation on one session, or on all sessions of one tag. Kinds
// ignore what is not theirs.
type Op struct {
	Kind Kind
	Key  string // List, DeleteAll: any key with the tag
	// Rotate: a free key of the same partition; Scan: where the page before
	// ended, "" to begin; List: the same, FirstPage to begin, "" for all at
	// once, which may be too much for one answer; DeleteAll: FirstPage or
	// LaterPage, "" for all at once, which may take too long.
	NewKey string

	// Fields are the whole value (Put; absent ones are left out), or what to
	// set and, where Absent, to remove (Patch). Their stamps are ignored. Of
	// two with one name the last counts. A field "" is an opaque value, beside
	// which only reserved fields may stand.
	Fields []Field
	// Nested makes a Patch treat values as JSON: an object is merged into the
	// field's present value by RFC 7396, and null removes the field.
	Nested bool

	// TTL is the idle time after which the session ends. 0 keeps the session's
	// own, or for a new one takes Config.TTL; below 0 it never ends. Put,
	// Patch, Touch and Rotate all start it anew.
	TTL time.Duration
	// MaxAge ends the session this long after its creation however busy it is:
	// after the time of its rank, or from now while that is still to come.
	// 0 keeps what was set before; below 0 takes it off.
	MaxAge time.Duration

	IfVersion Stamp // only if this is its version (If-Match); 0 = any
	Exists    bool  // only if it exists (If-Match: *)
	// Put: only if it does not exist (If-None-Match: *); a deleted one may be
	// created.
	Create bool
	Revive bool // Put, Patch: create whatever is or was there (RESP SET, HSET)

	// Nowhere says of a Delete that no other member has the session: where
	// nothing is held here, nothing is left. Else there is a tombstone, for a
	// copy may be on its way. It is the owner's to know, and is not encoded.
	Nowhere bool
	// Blind says of a Put that others may have the session where nothing is
	// held here, and cannot be asked: theirs wins when the two meet. It is the
	// owner's to know, and is not encoded.
	Blind bool

	ctx   context.Context // in the store: over when its caller waits no more; nil for never
	least Stamp           // in the store: what the write's stamp is later than; see Store.Admit
}

// stopEvery is how many fields are dealt with between two looks at whether the
// caller still waits.
const stopEvery = 256

// work is about what the op takes on a record, in the units of [Tx.Spend].
// Values that are JSON are read byte by byte.
func (op *Op) work(rec *Record) int {
	work := 4 * len(op.Fields)
	for i := range op.Fields {
		if n := len(op.Fields[i].Value); op.Nested {
			work += n
		} else {
			work += n / 64
		}
	}
	switch op.Kind {
	case Patch:
		if work += 2 * rec.walk(); op.Nested && rec != nil {
			work += len(rec.body)
		}
	case Touch:
		work += rec.walk()
	}
	return work
}

// Result is what an [Op] did.
type Result struct {
	// Record is the session after the op, a tombstone after Delete, or nil
	// where that found nothing (Op.Nowhere); after Rotate, the session under
	// its new key; of a page of DeleteAll, a tombstone if there may be more to
	// delete.
	Record *Record
	// Records are: of List and Scan, the sessions; of DeleteAll, the
	// tombstones; of Rotate, the new session and the tombstone. List and
	// DeleteAll sort by key.
	Records []*Record
	// Until is when Record ends, unix ms, 0 if never. It can be later than
	// Record.Expiry().At by a touch that was not worth copying.
	Until   int64
	Created bool // there was no such session before
	Changed bool // a record changed and has to be copied
	// Again are the keys of a Delete or DeleteAll whose tombstones were there
	// before. The deletes that made them may still wait for their copies, so
	// they are copied as if they were new. It is not encoded.
	Again []string
	// Moved is of a Delete that found what a rotation had moved less than
	// MovedFor before: the new key, under which the session goes on. It is not
	// encoded.
	Moved string
}

// check refuses an op that no session could take, and returns it with its
// fields in order. It does all of the work that does not need the session, so
// that this is not done under a lock.
func (c *Config) check(op *Op) (Op, error) {
	o := *op
	switch {
	case !o.Kind.valid():
		return o, fmt.Errorf("%s: %w op: not one of get to scan (1 to 9)", o.Kind, ErrMalformed)
	case o.Key == "" || len(o.Key) > c.MaxKey:
		return o, fmt.Errorf("%s: %w: %d bytes, not 1 to %d", o.Kind, ErrKey, len(o.Key), c.MaxKey)
	}
	switch o.Kind {
	case Put:
		return o, c.checkPut(&o)
	case Patch:
		if err := c.checkNames(Patch, o.Fields); err != nil {
			return o, err
		}
		o.Fields = sortFields(o.Fields)
		if len(o.Fields) > 0 && o.Fields[0].Name == "" {
			return o, fmt.Errorf("patch: %w: put the whole value", ErrType)
		}
	case Rotate:
		return o, c.checkRotate(&o)
	}
	return o, nil
}

// maxName bounds the name of a field, bytes: names are compared at each look
// for a field, so long names make every look dear.
const maxName = 64 << 10

// checkNames refuses more fields than a session may have, and names that no
// field may have, before any work is done on them.
func (c *Config) checkNames(kind Kind, fields []Field) error {
	if len(fields) > c.MaxFields {
		return fmt.Errorf("%s: %w: %d fields named, at most %d", kind, ErrTooLarge, len(fields), c.MaxFields)
	}
	for i := range fields {
		if n := len(fields[i].Name); n > maxName {
			return fmt.Errorf("%s: %w: a field's name of %d bytes, at most %d", kind, ErrTooLarge, n, maxName)
		}
	}
	return nil
}

func (c *Config) checkPut(o *Op) error {
	if err := c.checkNames(Put, o.Fields); err != nil {
		return err
	}
	o.Fields = sortFields(o.Fields)
	if slices.ContainsFunc(o.Fields, func(f Field) bool { return f.Absent }) {
		o.Fields = slices.DeleteFunc(slices.Clone(o.Fields), func(f Field) bool { return f.Absent })
	}
	if len(o.Fields) > 1 && o.Fields[0].Name == "" && !Reserved(o.Fields[len(o.Fields)-1].Name) {
		return fmt.Errorf("put: %w: not both in one value", ErrType)
	}
	return c.checkSize(Put, o.Fields)
}

func (c *Config) checkRotate(o *Op) error {
	switch {
	case o.NewKey == "" || len(o.NewKey) > c.MaxKey:
		return fmt.Errorf("rotate: new key: %w: %d bytes, not 1 to %d", ErrKey, len(o.NewKey), c.MaxKey)
	case o.NewKey == o.Key:
		return fmt.Errorf("rotate: new key: %w: is the old one", ErrKey)
	case c.PartitionOf(o.NewKey) != c.PartitionOf(o.Key):
		return fmt.Errorf("rotate: new key: %w: in another partition than the old one; give both one {tag}", ErrKey)
	}
	return nil
}

// sortFields returns fields in order of name, the last of each name. It leaves
// its argument alone, for the op is the caller's.
func sortFields(fields []Field) []Field {
	sorted := true
	for i := 1; i < len(fields); i++ {
		sorted = sorted && fields[i-1].Name < fields[i].Name
	}
	if sorted {
		return fields
	}
	fields = slices.Clone(fields)
	slices.SortStableFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	last := fields[:0]
	for i, f := range fields {
		if i+1 == len(fields) || fields[i+1].Name != f.Name {
			last = append(last, f)
		}
	}
	return last
}

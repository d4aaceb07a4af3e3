package session

import (
	"cmp"
	"iter"
	"strings"
	"time"
)

// FieldType is the reserved field that keeps the content type of an opaque
// value.
const FieldType = "\x00type"

// Reserved reports whether name is one that clients must not use: those that
// begin with a zero byte are ours.
func Reserved(name string) bool { return len(name) > 0 && name[0] == 0 }

// Field is one named value of a session. The field "" is an opaque value, which
// makes the whole session opaque.
type Field struct {
	Name, Value string
	Stamp       Stamp // of the write that set or removed it
	Absent      bool  // removed; kept with its stamp until Base passes it
}

// compare orders two versions of one field: by stamp, then absent before
// present, then by bytes. It is a total order, so the later of two is the same
// on every node.
func (f Field) compare(g Field) int {
	if c := cmp.Compare(f.Stamp, g.Stamp); c != 0 {
		return c
	}
	if f.Absent != g.Absent {
		if f.Absent {
			return -1
		}
		return 1
	}
	return strings.Compare(f.Value, g.Value)
}

// Expiry says when a session ends. It is one register: a later one replaces it
// whole. With a Deadline, At is set and not after it.
type Expiry struct {
	At       int64 // unix ms; 0 = never
	Idle     int64 // ms that a write or a touch moves At ahead of it; 0 = not sliding
	Deadline int64 // unix ms that At cannot be moved past; 0 = none
	Stamp    Stamp // of the write or the touch that set it
}

func (e Expiry) compare(f Expiry) int {
	return cmp.Or(
		cmp.Compare(e.Stamp, f.Stamp),
		cmp.Compare(e.At, f.At),
		cmp.Compare(e.Idle, f.Idle),
		cmp.Compare(e.Deadline, f.Deadline),
	)
}

// grace is when a session has ended for a copy too: as late as a touch that was
// not worth copying can have moved its end (see slack).
func (e Expiry) grace() int64 {
	if e.At == 0 {
		return never
	}
	end := e.At + slack(e.Idle)
	if e.Deadline > 0 {
		end = min(end, e.Deadline)
	}
	return end
}

// Record is one version of one session, or the tombstone of a deleted one. It
// never changes: a write makes a new Record and readers keep the one they have.
// Strings taken from it share its memory.
//
// The fields lie in one string, sorted by name (see codec.go), right behind the
// key: a key that was compared has brought the first of them into the cache. So
// code that keeps a key for long keeps a copy of it, or it would keep the
// session. The hash is kept because every change of a partition's digest needs
// it twice. whole spares the next write a look at the old fields, which are in
// no cache by then. With that the struct fills its 96-byte size class.
type Record struct {
	key    string
	body   string // packed fields; of a tombstone, the key that a rotation moved the session to
	rank   Stamp
	base   Stamp
	expiry Expiry
	hash   uint64
	dead   bool
	whole  bool // every field has the stamp base: nothing was patched since
}

// newSession packs a record with a copy of key and fields.
func newSession(key string, rank, base Stamp, expiry Expiry, fields []Field) *Record {
	newest := base
	for i := range fields {
		newest = max(newest, fields[i].Stamp)
	}
	return newRecord(pack(key, fields, base), len(key), rank, base, expiry, newest)
}

// newRecord makes one of the text that pack wrote, where newest is the newest
// stamp of the fields.
func newRecord(text string, keyLen int, rank, base Stamp, expiry Expiry, newest Stamp) *Record {
	r := &Record{key: text[:keyLen], body: text[keyLen:], rank: rank, base: base, expiry: expiry, whole: newest <= base}
	r.hash = r.digest()
	return r
}

// newTombstone makes the tombstone of a delete with stamp rank that may be
// forgotten at at, unix ms.
func newTombstone(key string, rank Stamp, at int64) *Record {
	r := &Record{key: key, rank: rank, base: rank, expiry: Expiry{At: at, Stamp: rank}, dead: true, whole: true}
	r.hash = r.digest()
	return r
}

// ledTo is the tombstone r with the key that a rotation moved its session to.
func (r *Record) ledTo(key string) *Record {
	led := *r
	led.body = key
	return &led
}

// moved returns the key that a rotation has moved the session to of which r is
// the tombstone, as long as that is told: "" otherwise. now is unix ms.
func (r *Record) moved(now int64) string {
	if !r.dead || now >= r.rank.millis()+movedFor {
		return ""
	}
	return r.body
}

// Leads reports whether r is a tombstone that says where a rotation has moved
// its session.
func (r *Record) Leads() bool { return r.dead && r.body != "" }

// Key returns the session's key.
func (r *Record) Key() string { return r.key }

// Dead reports whether r is a tombstone.
func (r *Record) Dead() bool { return r.dead }

// Rank returns the stamp that the session was created with, less than any stamp
// if that was without knowing of others (Op.Blind), or the stamp of the delete if r
// is a tombstone. Of two records the higher rank wins whole.
func (r *Record) Rank() Stamp { return r.rank }

// Began returns when the session was created, by the clock of its owner then.
func (r *Record) Began() time.Time { return time.UnixMilli(began(r.rank)) }

// Base returns the stamp of the last write of the whole value. No field is
// older.
func (r *Record) Base() Stamp { return r.base }

// Expiry returns when the session ends; for a tombstone, when it is forgotten.
// The owner may know of a touch that moves the end by less than a tenth of
// Idle: see [Result.Until].
func (r *Record) Expiry() Expiry { return r.expiry }

// Hash returns the xxhash of the record's encoding ([Record.Append]). So equal
// hashes mean copies that are equal in all that lasts: where a rotation has
// moved a session is told for seconds, and not by all wire versions.
func (r *Record) Hash() uint64 { return r.hash }

// Version returns the newest stamp of the content. It is the ETag. A touch
// leaves it alone, so that it does not break a client's If-Match.
func (r *Record) Version() Stamp {
	if r.whole {
		return max(r.rank, r.base)
	}
	return max(r.rank, r.base, r.newestField())
}

func (r *Record) newestField() (newest Stamp) {
	for f := range r.All() {
		newest = max(newest, f.Stamp)
	}
	return newest
}

// keptUntil is when a copy may forget it: when it has ended, and the clock has
// passed its newest stamp, or a second write could be given that stamp. It
// depends on the record alone, so that all copies forget at the same time and
// their digests agree.
func (r *Record) keptUntil() int64 { return max(r.expiry.grace(), r.newest().millis()+1) }

// newest is the newest stamp of all: the next write must be later.
func (r *Record) newest() Stamp {
	if r == nil {
		return 0
	}
	return max(r.Version(), r.expiry.Stamp)
}

// All yields every field in order of name, removed ones too.
func (r *Record) All() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		if r.dead {
			return
		}
		for body := r.body; body != ""; {
			var f Field
			f, body, _ = splitField(body, r.base)
			if !yield(f) {
				return
			}
		}
	}
}

// Fields yields the present fields in order of name, reserved ones too.
func (r *Record) Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for f := range r.All() {
			if !f.Absent && !yield(f) {
				return
			}
		}
	}
}

// Value returns the named field's value, and whether it is present.
func (r *Record) Value(name string) (value string, ok bool) {
	f, ok := r.field(name)
	return f.Value, ok && !f.Absent
}

// Opaque returns the opaque value, and whether the session is one. Should a
// merge have brought both together, the opaque value hides the fields.
func (r *Record) Opaque() (string, bool) { return r.Value("") }

// bytes is the length of the key and of the packed fields.
func (r *Record) bytes() int64 { return int64(len(r.key) + len(r.body)) }

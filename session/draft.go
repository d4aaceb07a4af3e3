package session

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Draft is a session as a [Tx] sees it: the record that the store holds, and on
// top of it what the Tx has changed. It is good while the Tx's function runs.
//
// A transaction may name one large session in each of its commands. So a draft
// packs no record for each command. The first patch makes one, which is all
// that most transactions need. Those that follow are kept apart, by name, and
// packed when a command reads every field, or at the end. The first look for
// one field scans the session; the second makes an index of it. So n commands
// on a session of m fields cost O(n log m + m) together.
type Draft struct {
	tx     *Tx
	key    string // as it was asked for, maybe in a buffer
	cur    held   // what the store held when the Tx first asked
	rec    *Record
	expiry Expiry // of rec, with what the Tx has done to it
	until  int64
	stored bool // something was written, though it may be what was there

	set    map[string]Field // set or removed since rec was packed
	extra  int64            // by how many bytes set makes rec larger
	shape  shape            // of rec with set, if shaped
	shaped bool
	packed bool     // rec is the work of this Tx
	looks  int      // for a field
	index  []uint32 // where each field of rec begins in its body, if made
}

// reset makes d the draft of what the store holds.
func (d *Draft) reset(tx *Tx, key string, cur held) {
	*d = Draft{tx: tx, key: key, cur: cur, index: d.index[:0]}
	d.become(cur)
	d.packed = false
}

// become puts next in the place of what is under the key.
func (d *Draft) become(next held) {
	d.rec, d.until = next.rec, next.until
	if next.rec != nil {
		d.expiry = next.rec.expiry
	}
	d.set, d.extra, d.shaped, d.packed, d.looks, d.index = nil, 0, false, true, 0, d.index[:0]
}

// store is become for a write.
func (d *Draft) store(next held) {
	d.become(next)
	d.stored = true
}

// held returns what is under the key now, packed.
func (d *Draft) held() held {
	d.pack()
	return held{rec: d.rec, until: d.until}
}

func (d *Draft) presence() presence { return held{rec: d.rec, until: d.until}.presence(d.tx.now) }

// Key returns the session's key.
func (d *Draft) Key() string { return d.rec.key }

// Record returns the session as one record.
func (d *Draft) Record() *Record { return d.held().rec }

// Expiry returns when the session ends: see [Record.Expiry].
func (d *Draft) Expiry() Expiry { return d.expiry }

// Hash is [Record.Hash].
func (d *Draft) Hash() uint64 { return d.Record().hash }

// Opaque is [Record.Opaque].
func (d *Draft) Opaque() (string, bool) { return d.rec.Opaque() } // which no patch changes

// Kind is [Record.Kind].
func (d *Draft) Kind() string {
	kind, _ := d.present(FieldKind)
	return kind
}

// Value returns the named field's value, and whether it is present.
func (d *Draft) Value(name string) (value string, ok bool) {
	if len(d.rec.body) >= indexFrom {
		d.looks++
	}
	return d.present(name)
}

func (d *Draft) present(name string) (value string, ok bool) {
	f, ok := d.field(name)
	return f.Value, ok && !f.Absent
}

// Fields yields the present fields in order of name, reserved ones too.
func (d *Draft) Fields() iter.Seq[Field] {
	d.pack()
	d.tx.Spend(d.rec.walk())
	return d.rec.Fields()
}

// Len returns how many present fields there are that are not reserved.
func (d *Draft) Len() int { return d.shapeOf().shown }

// indexFrom is the size of a body, bytes, under which a scan is as good as an
// index.
const indexFrom = 512

// field returns the named field, maybe a removed one.
func (d *Draft) field(name string) (f Field, ok bool) {
	if f, ok = d.set[name]; ok {
		return f, true
	}
	if len(d.index) == 0 && d.looks < 2 {
		if len(d.rec.body) >= indexFrom {
			d.tx.Spend(d.rec.walk())
		}
		return d.rec.field(name)
	}
	if len(d.index) == 0 {
		d.tx.Spend(d.rec.walk())
		d.index = d.rec.appendIndex(d.index)
	}
	return d.rec.fieldIn(d.index, name)
}

// shapeOf returns the shape of the session, all changes included.
func (d *Draft) shapeOf() shape {
	if !d.shaped {
		d.tx.Spend(d.rec.walk())
		d.shape, d.shaped = shapeOf(d.rec), true // set is empty, or it would be known
	}
	return d.shape
}

// patch puts fields, which are in order of name and have the stamp of this
// write, over those that are there.
func (d *Draft) patch(fields []Field, stamp Stamp) error {
	if !d.packed {
		return d.repack(fields, stamp)
	}
	d.looks = 2 // an index is worth its while
	next, grown := d.shapeOf(), int64(0)
	for i := range fields {
		if old, ok := d.field(fields[i].Name); ok {
			next.add(&old, -1)
			grown -= int64(packedLen(&old, d.rec.base))
		}
		next.add(&fields[i], 1)
		grown += int64(packedLen(&fields[i], d.rec.base))
	}
	if d.tx.store.cfg.checkShape(Patch, next) != nil {
		all := maps.Clone(d.set)
		setIn(&all, fields)
		return d.repack(sorted(all), stamp)
	}
	if err := d.tx.admit(grown, func() int { return d.lost(next) }); err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	setIn(&d.set, fields)
	d.shape, d.stored = next, true
	d.extra += grown
	d.tx.grown += grown
	return nil
}

// repack makes another record of rec and set, which is in order of name.
func (d *Draft) repack(set []Field, stamp Stamp) error {
	d.tx.Spend(2*d.rec.walk() + 4*len(set))
	rec, s, err := d.tx.store.cfg.overlay(d.rec, set, stamp, d.expiry)
	if err != nil {
		return err
	}
	if err := d.tx.admit(liveCost(rec)-d.cost(), func() int { return d.lost(s) }); err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	d.tx.put(d, held{rec: rec, until: d.until})
	d.shape, d.shaped = s, true
	return nil
}

// cost is what the session counts with as it is in the draft, bytes.
func (d *Draft) cost() int64 {
	if d.rec == nil || d.rec.dead {
		return 0
	}
	return liveCost(d.rec) + d.extra
}

// lost is how many fewer fields are shown in what is to take its place.
func (d *Draft) lost(next shape) int {
	if d.presence() != live {
		return 0
	}
	return max(0, d.shapeOf().shown-next.shown)
}

func setIn(set *map[string]Field, fields []Field) {
	if *set == nil {
		*set = make(map[string]Field, 2*len(fields))
	}
	for _, f := range fields {
		(*set)[f.Name] = f
	}
}

// sorted returns the fields of a set in order of name.
func sorted(set map[string]Field) []Field {
	return slices.SortedFunc(maps.Values(set), func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
}

// pack makes one record of rec and what was changed since it was packed.
func (d *Draft) pack() {
	switch {
	case d.rec == nil || d.rec.dead:
	case len(d.set) > 0:
		d.tx.Spend(2*d.rec.walk() + 4*len(d.set))
		text, s := overlay(d.rec, sorted(d.set))
		d.rec = newRecord(text, len(d.rec.key), d.rec.rank, d.rec.base, d.expiry, s.newest)
		d.set, d.extra, d.index, d.shape, d.shaped = nil, 0, d.index[:0], s, true
	case d.expiry != d.rec.expiry:
		d.rec = d.rec.ending(d.expiry)
	}
}

// newest is the newest stamp of all: the next write must be later.
func (d *Draft) newest() Stamp {
	switch {
	case d.rec == nil:
		return 0
	case d.rec.dead || !d.shaped && d.rec.whole:
		return max(d.rec.newest(), d.expiry.Stamp)
	}
	return max(d.rec.rank, d.rec.base, d.shapeOf().newest, d.expiry.Stamp)
}

package session

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// held is what a store has under one key: a record, nil for none, and until
// when (unix ms, never for no end) a live one is found. The owner moves until
// with every touch; the record follows in steps of slack.
type held struct {
	rec   *Record
	until int64
	// compact says that rec is a compacted tombstone, of which a record was
	// made for this look.
	compact bool
}

// presence is what a client is told about a held record.
type presence int

const (
	missing presence = iota // nothing, or expired
	live
	deleted
)

func (h held) presence(now int64) presence {
	switch {
	case h.rec == nil:
		return missing
	case h.rec.dead:
		return tomb{at: h.rec.expiry.At}.presence(now)
	case now >= h.until:
		return missing
	}
	return live
}

// apply does what a Put, Patch, Touch or Delete does to what is held. It is a
// pure function: it looks at no clock but now, unix ms, and leaves cur alone.
// If nothing changes, the record it returns is cur's own. The op is checked.
func (c *Config) apply(op *Op, cur held, now int64) (held, error) {
	found := cur.presence(now)
	if err := op.allowed(cur.rec, found, now); err != nil {
		return cur, err
	}
	switch op.Kind {
	case Put:
		return c.put(op, cur, found, now), nil
	case Patch:
		return c.patch(op, cur, found, now)
	case Touch:
		return c.touch(op, cur, now), nil
	case Delete:
		if found == deleted || cur.rec == nil && op.Nowhere {
			return cur, nil
		}
		return c.entomb(op.Key, cur.rec, op.least, now), nil
	}
	panic("session: apply of " + op.Kind.String())
}

// allowed holds the op's conditions against what was found. The bare sentinels
// are common answers, so they cost no allocation.
func (op *Op) allowed(rec *Record, found presence, now int64) error {
	creates := op.Kind == Put && (op.Create || op.Revive) || op.Kind == Patch && op.Revive
	switch {
	case found == deleted && op.Kind != Delete && !creates:
		return rec.gone(now)
	case found == missing && op.Kind != Delete && op.Kind != Put && !creates:
		return ErrNotFound
	case found != live && (op.Exists || op.IfVersion != 0):
		return fmt.Errorf("%s: %w: there is no such session", op.Kind, ErrPrecondition)
	case found == live && op.Create && op.Kind == Put:
		return fmt.Errorf("%s: %w: the session exists", op.Kind, ErrPrecondition)
	case found == live && op.IfVersion != 0 && op.IfVersion != rec.Version():
		return fmt.Errorf("%s: %w: the session's version is %d, not %d", op.Kind, ErrPrecondition, rec.Version(), op.IfVersion)
	}
	return nil
}

// gone is what is said of a session of which r is the tombstone.
func (r *Record) gone(now int64) error {
	if to := r.moved(now); to != "" {
		return &MovedError{To: to}
	}
	return ErrDeleted
}

// firstStamp is the least rank that is a stamp; one of 1970 would be less. Below it
// ranks are blind: the time of a stamp in milliseconds, where others have the
// stamp, which is 2^16 times as much. Such is the rank of a session that was
// written where nothing was found of it, while copies were out of reach that may
// have it. One that is there wins over it, with all that was written to it
// since, and so does its logout. With the rank of a create it would win, and undo
// what was acknowledged on the other side after that.
const firstStamp Stamp = 1 << 48

// began is when the session of a rank was created, unix ms.
func began(rank Stamp) int64 {
	if rank < firstStamp {
		return int64(rank)
	}
	return rank.millis()
}

// rankOf is the rank of a session after a write of the whole value, where rec was
// found.
func rankOf(stamp Stamp, rec *Record, found presence, blind bool) Stamp {
	switch {
	case found == live:
		return rec.rank
	case !blind || found == deleted:
		return stamp
	case rec != nil: // expired here, and elsewhere maybe not
		return rec.rank
	default:
		return Stamp(stamp.millis())
	}
}

// put writes a whole value: all fields and base get the write's stamp. If the
// session is not live, the stamp is also its rank, above whatever was there, but
// for a blind one.
func (c *Config) put(op *Op, cur held, found presence, now int64) held {
	stamp := after(now, max(op.least, cur.rec.newest()))
	rank := rankOf(stamp, cur.rec, found, op.Blind)
	old := c.unset()
	if found == live {
		old = cur.rec.expiry
	}
	expiry := c.slide(op, old, rank, stamp, now)
	var array [16]Field // most sessions have fewer fields, and allocate none
	return fresh(newSession(op.Key, rank, stamp, expiry, stamped(array[:0], op.Fields, stamp)))
}

// patch gives each field that op names the write's stamp and leaves the others
// theirs, so that parallel patches of different fields both survive a merge.
func (c *Config) patch(op *Op, cur held, found presence, now int64) (held, error) {
	var old *Record
	if found == live {
		old = cur.rec
		if !old.plain() {
			return cur, fmt.Errorf("patch: %w: put the whole value", ErrType)
		}
	}
	fields, err := op.patched(old)
	if err != nil {
		return cur, err
	}
	if old == nil {
		whole := *op
		whole.Fields = present(fields)
		if err := c.checkSize(Patch, whole.Fields); err != nil {
			return cur, err
		}
		return c.put(&whole, cur, found, now), nil
	}
	stamp := after(now, max(op.least, old.newest()))
	rec, _, err := c.overlay(old, stamped(nil, fields, stamp), stamp, c.slide(op, old.expiry, old.rank, stamp, now))
	if err != nil {
		return cur, err
	}
	return fresh(rec), nil
}

// touch slides the expiry. Copies learn of it when it moved by slack or more;
// until then it is the owner's own knowledge, and costs it no new record.
func (c *Config) touch(op *Op, cur held, now int64) held {
	old := cur.rec.expiry
	stamp := after(now, max(op.least, cur.rec.newest()))
	expiry := c.slide(op, old, cur.rec.rank, stamp, now)
	if expiry.Idle == old.Idle && expiry.Deadline == old.Deadline {
		moved := expiry.At - old.At
		if moved <= 0 || moved < slack(old.Idle) {
			return held{rec: cur.rec, until: max(cur.until, expiry.end())}
		}
	}
	return fresh(cur.rec.ending(expiry))
}

// entomb makes the tombstone of rec, which may be nil: a copy may be on its way
// from elsewhere, and must not live. It is kept for TombstoneFor, or longer
// where the deadline is later. An earlier deadline does not shorten that: on
// the other side of a cut it may have been moved.
func (c *Config) entomb(key string, rec *Record, least Stamp, now int64) held {
	at := now + c.TombstoneFor.Milliseconds()
	if rec != nil {
		at = max(at, rec.expiry.Deadline)
	}
	if planted.Is(planted.EarlyForget) {
		at = now + 1000 - tombstoneSlack
	}
	return fresh(newTombstone(strings.Clone(key), after(now, max(least, rec.newest())), at+tombstoneSlack))
}

// rotate moves a live session to op.NewKey, under which free is held, and makes
// the tombstone of its old key, which leads to the new one for a while. It
// keeps the deadline: a login does not lengthen a session's life.
func (c *Config) rotate(op *Op, cur, free held, now int64) (moved, old held, err error) {
	found := cur.presence(now)
	if err := op.allowed(cur.rec, found, now); err != nil {
		return cur, cur, err
	}
	if free.presence(now) != missing {
		return cur, cur, fmt.Errorf("rotate: %w: there is or was a session with the new key", ErrPrecondition)
	}
	stamp := after(now, max(op.least, cur.rec.newest(), free.rec.newest()))
	var fields []Field
	for f := range cur.rec.Fields() {
		fields = append(fields, f)
	}
	expiry := c.slide(op, cur.rec.expiry, stamp, stamp, now)
	moved = fresh(newSession(op.NewKey, stamp, stamp, expiry, stamped(nil, fields, stamp)))
	old = c.entomb(op.Key, cur.rec, op.least, now)
	old.rec = old.rec.ledTo(strings.Clone(op.NewKey)) // the caller's may lie in a buffer
	return moved, old, nil
}

// slide returns the expiry register after a write at now, unix ms, to a session
// with old, which for a new session is unset.
func (c *Config) slide(op *Op, old Expiry, rank, stamp Stamp, now int64) Expiry {
	e := Expiry{Idle: old.Idle, Deadline: old.Deadline, Stamp: stamp}
	if op.TTL != 0 {
		e.Idle = idleMillis(op.TTL)
	}
	switch {
	case op.MaxAge > 0: // since it began, of which the stamp may be ahead: see Lead
		e.Deadline = min(now, began(rank)) + ceilMillis(op.MaxAge)
	case op.MaxAge < 0:
		e.Deadline = 0
	}
	if e.Idle > 0 {
		e.At = now + e.Idle
	}
	if e.Deadline > 0 && (e.At == 0 || e.At > e.Deadline) {
		e.At = e.Deadline
	}
	return e
}

// unset is the expiry of a session for which none was given.
func (c *Config) unset() Expiry { return Expiry{Idle: idleMillis(c.TTL)} }

// idleMillis is ttl in ms, 0 for one below 0, which means no end.
func idleMillis(ttl time.Duration) int64 { return max(0, ceilMillis(ttl)) }

// ceilMillis rounds up, so that no positive time becomes 0, which means none.
func ceilMillis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
}

// fresh is a record right after the write that made it, when until is exact.
func fresh(rec *Record) held { return held{rec: rec, until: rec.expiry.end()} }

// stamped appends fields to dst with the stamp of the write that sets them.
func stamped(dst, fields []Field, stamp Stamp) []Field {
	for _, f := range fields {
		f.Stamp = stamp
		if f.Absent {
			f.Value = ""
		}
		dst = append(dst, f)
	}
	return dst
}

func present(fields []Field) []Field {
	var out []Field
	for _, f := range fields {
		if !f.Absent {
			out = append(out, f)
		}
	}
	return out
}

package command

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	errPayload failure = "ERR DUMP payload version or checksum are wrong"
	errFormat  failure = "ERR Bad data format"
)

// dump is a client's DUMP. It answers with a key's value as a redis-server
// would: see package rdb. The payload has no end, and nothing of how the
// session slides, of the stamps of its fields or of the mark of a lock.
func (c *call) dump() error {
	rec, _ := c.Get(c.key())
	if rec == nil {
		c.Null()
		return nil
	}
	v := c.valueOf(rec)
	b := v.Append(nil)
	c.Spend(len(b) / 16) // of the checksum
	c.Bulk(b)
	return nil
}

// valueOf is what a client sees of a session.
func (c *call) valueOf(rec *session.Draft) (v rdb.Value) {
	k := kindOf(rec)
	if k == aString {
		v.Text, _ = rec.Opaque()
		return v
	}
	v.Kind = map[kind]rdb.Kind{aHash: rdb.Hash, aSet: rdb.Set, aSortedSet: rdb.SortedSet}[k]
	c.Spend(4 * count(rec))
	v.Entries = make([]rdb.Entry, 0, count(rec))
	for name, value := range entries(rec) {
		e := rdb.Entry{Name: name}
		switch k {
		case aHash:
			e.Value = session.ValueBytes(value)
		case aSortedSet:
			e.Score = scoreOf(value)
		}
		v.Entries = append(v.Entries, e)
	}
	return v
}

// restoreOptions are those of RESTORE.
type restoreOptions struct{ replace, absolute, noRevive bool }

// readRestoreOptions reads them. How long a key was not used, and how often it
// was, is checked and means nothing here: nothing is evicted.
func readRestoreOptions(args [][]byte) (o restoreOptions, err error) {
	idle, often := false, false
	for i := 0; i < len(args); i++ {
		more := i+1 < len(args)
		switch arg := args[i]; {
		case is(arg, "replace"):
			o.replace = true
		case is(arg, "absttl"):
			o.absolute = true
		case is(arg, "norevive"): // Holdfast's own
			o.noRevive = true
		case is(arg, "idletime") && more && !often:
			i++
			n, ok := resp.ParseInt(args[i])
			switch {
			case !ok:
				return o, errInteger
			case n < 0:
				return o, failure("ERR Invalid IDLETIME value, must be >= 0")
			}
			idle = true
		case is(arg, "freq") && more && !idle:
			i++
			n, ok := resp.ParseInt(args[i])
			switch {
			case !ok:
				return o, errInteger
			case n < 0 || n > 255:
				return o, failure("ERR Invalid FREQ value, must be >= 0 and <= 255")
			}
			often = true
		default:
			return o, errSyntax
		}
	}
	return o, nil
}

// restore writes the value of a payload, as SET writes a string: it looks at
// nothing but whether there is a live session, and refuses to bring back what
// was deleted a moment ago. With NOREVIVE it refuses that for as long as a
// tombstone says so: whoever copies keys a second time must undo no logout.
func (c *call) restore() error {
	key := c.key()
	o, err := readRestoreOptions(c.args[4:])
	if err != nil {
		return err
	}
	if old, _ := c.Get(key); old != nil && !o.replace {
		return failure("BUSYKEY Target key name already exists.")
	}
	if _, deleted := c.DeletedAt(key); deleted && o.noRevive {
		return errDeleted
	}
	ttl, ok := resp.ParseInt(c.args[2])
	switch {
	case !ok:
		return errInteger
	case ttl < 0:
		return failure("ERR Invalid TTL value, must be >= 0")
	}
	end := new(session.Expiry)
	if ttl > 0 {
		at := min(ttl, maxMillis)
		if !o.absolute {
			if at, err = c.moment(ttl, "px"); err != nil {
				return err
			}
		}
		end = fixed(at)
	}
	if rec, ok := readCopy(c.args[3]); ok {
		end = slideAs(rec, end)
		for f := range rec.Fields() {
			c.fields = append(c.fields, f)
		}
	} else if err := c.unpack(); err != nil {
		return err
	}
	if err := c.Put(key, c.fields, end); err != nil {
		return err
	}
	c.event("restore", key)
	return c.ok()
}

// unpack notes the fields of a RESTORE's payload.
func (c *call) unpack() error {
	size, fields := c.Bounds()
	c.Spend(len(c.args[3]) / 16) // of the checksum
	v, err := rdb.Decode(view(c.args[3]), payloadLimits(size, fields))
	if err != nil {
		return restoreFailure(err)
	}
	c.Spend(4 * len(v.Entries) * bits.Len(uint(len(v.Entries)))) // they were put in order
	if v.Kind == rdb.String || v.Kind == rdb.Hash {              // sets are not refused, as SADD is not
		if err := c.blindly(c.key()); err != nil {
			return err
		}
	}
	if head, ok := headOf(&v); ok {
		c.fields = append(c.fields, head)
	}
	for i := range v.Entries {
		if c.stops(i) {
			return errLate
		}
		c.fields = append(c.fields, fieldOf(v.Kind, &v.Entries[i]))
	}
	return nil
}

// headOf is the field of a session that its entries do not make, if there is
// one: the text of a string, and what a set is.
func headOf(v *rdb.Value) (head session.Field, ok bool) {
	switch v.Kind {
	case rdb.String:
		return session.Field{Value: v.Text}, true
	case rdb.Set:
		return session.Field{Name: session.FieldKind, Value: string(aSet)}, true
	case rdb.SortedSet:
		return session.Field{Name: session.FieldKind, Value: string(aSortedSet)}, true
	}
	return session.Field{}, false
}

// fieldOf is the field that an entry of a value makes.
func fieldOf(kind rdb.Kind, e *rdb.Entry) session.Field {
	f := session.Field{Name: session.EscapeName(e.Name)}
	switch kind {
	case rdb.Hash:
		f.Value = "\x00" + e.Value
	case rdb.SortedSet:
		f.Value = scoreText(e.Score)
	}
	return f
}

// Restored returns the session that RESTORE makes of a payload: its fields, and
// its end, where end is unix ms, 0 for never. It may have so many bytes and
// fields. An error wraps one of package rdb.
func Restored(payload string, end int64, maxBytes, maxFields int) ([]session.Field, *session.Expiry, error) {
	v, err := rdb.Decode(payload, payloadLimits(maxBytes, maxFields))
	if err != nil {
		return nil, nil, err
	}
	fields := make([]session.Field, 0, 1+len(v.Entries))
	if head, ok := headOf(&v); ok {
		fields = append(fields, head)
	}
	for i := range v.Entries {
		fields = append(fields, fieldOf(v.Kind, &v.Entries[i]))
	}
	if end == 0 {
		return fields, new(session.Expiry), nil
	}
	return fields, fixed(min(end, maxMillis)), nil
}

// payloadLimits are those of the payload of a session. Packed values have some
// bytes of their own around each element.
func payloadLimits(bytes, fields int) rdb.Limits {
	return rdb.Limits{Bytes: 2 * bytes, Entries: fields}
}

// restoreFailure is what Redis says of a payload that cannot be read, and more
// where what it says would leave a migration at a loss.
func restoreFailure(err error) failure {
	switch {
	case errors.Is(err, rdb.ErrChecksum):
		return errPayload
	case errors.Is(err, rdb.ErrKind):
		return errFormat + failure(": "+err.Error())
	case errors.Is(err, rdb.ErrLarge):
		return errTooLarge
	default:
		return errFormat
	}
}

// A copy is
//
//	copyVersion | xxhash of the rest u64 | record
//
// with the record as package session encodes it. It is how a key moves to
// another partition, and keeps what a client's DUMP has no place for. Between
// nodes it is DUMP that answers with one, and RESTORE takes either, for so did
// v0.2.0. In Redis's format a copy would be a list, with that hash by chance.
const copyVersion = 1

// copyKey answers with a copy of a key.
func (c *call) copyKey() error {
	rec, _ := c.Get(c.key())
	if rec == nil {
		c.Null()
		return nil
	}
	b := rec.Record().Append(make([]byte, 9, 64))
	b[0] = copyVersion
	binary.BigEndian.PutUint64(b[1:], session.KeyHash(view(b[9:])))
	c.Bulk(b)
	return nil
}

func readCopy(b []byte) (rec *session.Record, ok bool) {
	if len(b) < 9 || b[0] != copyVersion || binary.BigEndian.Uint64(b[1:]) != session.KeyHash(view(b[9:])) {
		return nil, false
	}
	rec, n, err := session.DecodeRecord(b[9:])
	return rec, err == nil && n == len(b)-9 && !rec.Dead()
}

// slideAs is end for a copy of rec: it slides if rec does.
func slideAs(rec *session.Record, end *session.Expiry) *session.Expiry {
	old := rec.Expiry()
	if end.At == 0 || old.Idle == 0 {
		return end
	}
	slid := &session.Expiry{At: end.At, Idle: old.Idle, Deadline: old.Deadline}
	if slid.Deadline > 0 {
		slid.At = min(slid.At, slid.Deadline)
	}
	return slid
}

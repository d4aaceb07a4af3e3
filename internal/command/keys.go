package command

import (
	"encoding/binary"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

func (c *call) del() error {
	var n int64
	for _, key := range c.args[1:] {
		if c.remove(view(key)) {
			n++
		}
	}
	return c.num(n)
}

// leave is the last step of a RENAME to another partition. Subscribers must not
// take it for the end of a session.
func (c *call) leave() error {
	was := c.Delete(c.key())
	c.out.Deleted = true
	if was {
		c.event("rename_from", c.key())
	}
	return c.yes(was)
}

func (c *call) exists() error {
	var n int64
	for _, key := range c.args[1:] {
		if rec, _ := c.Get(view(key)); rec != nil {
			n++
		}
	}
	return c.num(n)
}

func (c *call) typeOf() error {
	name := "none"
	if rec, _ := c.Get(c.key()); rec != nil {
		name = string(kindOf(rec))
	}
	c.Simple(name)
	return nil
}

// object answers what little of OBJECT has a meaning here.
func (c *call) object() error {
	if !is(c.args[1], "encoding") || len(c.args) != 3 {
		return failure("ERR unknown subcommand or wrong number of arguments for '" + string(c.args[1]) + "'. Try OBJECT HELP.")
	}
	rec, _ := c.Get(view(c.args[2]))
	if rec == nil {
		c.Null()
		return nil
	}
	c.BulkString(encodingOf(rec))
	return nil
}

// encodingOf is what Redis would say of a small value.
func encodingOf(rec *session.Draft) string {
	value, ok := rec.Opaque()
	if !ok && kindOf(rec) == aSet {
		return "hashtable"
	}
	if !ok {
		return "listpack"
	}
	if _, ok := resp.ParseInt([]byte(value)); ok {
		return "int"
	}
	if len(value) <= 44 {
		return "embstr"
	}
	return "raw"
}

func (c *call) rename() error {
	if err := c.move(); err != nil {
		return err
	}
	return c.ok()
}

func (c *call) renamenx() error {
	from, _ := c.Get(c.key())
	to, _ := c.Get(view(c.args[2]))
	if from != nil && to != nil {
		return c.num(0)
	}
	if err := c.move(); err != nil {
		return err
	}
	c.out.Exact = true
	to, _ = c.Get(view(c.args[2]))
	if value, ok := to.Opaque(); ok && !isLock(to) {
		if err := c.setAs(true, to.Key(), value, nil); err != nil {
			return err
		}
	}
	return c.num(1)
}

func (c *call) move() error {
	from, to := c.key(), view(c.args[2])
	was, err := c.Rename(from, to)
	switch {
	case err != nil:
		return err
	case !was:
		return errNoKey
	}
	c.out.Deleted = c.out.Deleted || from != to
	c.event("rename_from", from)
	c.event("rename_to", to)
	return nil
}

// A dump is
//
//	dumpVersion | xxhash of the rest u64 | record
//
// with the record as package session encodes it.
const dumpVersion = 1

// dump answers with a key's value and how it slides, for RESTORE to make
// another key of. It is how a key moves to another partition.
func (c *call) dump() error {
	rec, _ := c.Get(c.key())
	if rec == nil {
		c.Null()
		return nil
	}
	b := rec.Record().Append(make([]byte, 9, 64))
	b[0] = dumpVersion
	binary.BigEndian.PutUint64(b[1:], session.KeyHash(view(b[9:])))
	c.Bulk(b)
	return nil
}

func readDump(b []byte) (*session.Record, error) {
	const bad failure = "ERR DUMP payload version or checksum are wrong"
	if len(b) < 9 || b[0] != dumpVersion || binary.BigEndian.Uint64(b[1:]) != session.KeyHash(view(b[9:])) {
		return nil, bad
	}
	rec, n, err := session.DecodeRecord(b[9:])
	if err != nil || n != len(b)-9 || rec.Dead() {
		return nil, bad
	}
	return rec, nil
}

func (c *call) restore() error {
	key, replace, absolute := c.key(), false, false
	for i := 4; i < len(c.args); i++ {
		switch arg := c.args[i]; {
		case is(arg, "replace"):
			replace = true
		case is(arg, "absttl"):
			absolute = true
		case (is(arg, "idletime") || is(arg, "freq")) && i+1 < len(c.args):
			i++
		default:
			return errSyntax
		}
	}
	if old, _ := c.Get(key); old != nil && !replace {
		return failure("BUSYKEY Target key name already exists.")
	}
	ttl, ok := resp.ParseInt(c.args[2])
	switch {
	case !ok:
		return errInteger
	case ttl < 0:
		return failure("ERR Invalid TTL value, must be >= 0")
	}
	rec, err := readDump(c.args[3])
	if err != nil {
		return err
	}
	end := new(session.Expiry)
	if ttl > 0 {
		at := min(ttl, maxMillis)
		if !absolute {
			if at, err = c.moment(ttl, "px"); err != nil {
				return err
			}
		}
		end = fixed(at)
		if old := rec.Expiry(); old.Idle > 0 {
			end = &session.Expiry{At: at, Idle: old.Idle, Deadline: old.Deadline}
			if end.Deadline > 0 {
				end.At = min(at, end.Deadline)
			}
		}
	}
	for f := range rec.Fields() {
		c.fields = append(c.fields, f)
	}
	if err := c.Put(key, c.fields, end); err != nil {
		return err
	}
	c.event("restore", key)
	return c.ok()
}

// token answers with what WATCH compares.
func (c *call) token() error {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], c.tokenOf(c.key()))
	c.Bulk(b[:])
	return nil
}

// TokenOf reads the answer of the internal command that asks for a token.
func TokenOf(reply []byte) (token uint64, ok bool) {
	const head = "$8\r\n"
	if len(reply) != len(head)+10 || string(reply[:len(head)]) != head {
		return 0, false
	}
	return binary.BigEndian.Uint64(reply[len(head):]), true
}

// tokenOf changes with everything that is done to a key, its end included.
func (c *call) tokenOf(key string) uint64 {
	if rec, _ := c.Get(key); rec != nil {
		return rec.Hash()
	}
	at, _ := c.DeletedAt(key)
	return uint64(at)
}

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

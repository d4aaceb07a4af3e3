package command

import (
	"math/rand/v2"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

func (c *call) sadd() error {
	rec, err := c.find(c.key(), aSet)
	if err != nil {
		return err
	}
	var given names
	for i, arg := range c.args[2:] {
		if c.stops(i) {
			return errLate
		}
		name := c.name(arg)
		if _, ok := c.lookup(rec, arg); !ok && given.add(name) {
			c.field(name, "", false)
		}
	}
	added := len(c.fields)
	if err := c.join(rec, aSet); err != nil {
		return err
	}
	if added > 0 {
		c.event("sadd", c.key())
	}
	return c.num(int64(added))
}

// join adds c.fields to a set or a sorted set, which it makes if rec is nil.
func (c *call) join(rec *session.Draft, k kind) error {
	if len(c.fields) == 0 {
		return nil
	}
	if rec == nil {
		c.field(session.FieldKind, string(k), false)
		return c.Put(c.key(), c.fields, nil)
	}
	return c.Patch(c.key(), c.fields)
}

func (c *call) srem() error { return c.drop(aSet, "srem") }

func (c *call) smembers() error {
	rec, err := c.find(c.key(), aSet)
	if err != nil {
		return err
	}
	c.Set(count(rec))
	for name := range entries(rec) {
		c.BulkString(name)
	}
	return nil
}

func (c *call) sismember() error {
	rec, err := c.find(c.key(), aSet)
	if err != nil {
		return err
	}
	_, ok := c.lookup(rec, c.args[2])
	return c.yes(ok)
}

func (c *call) smismember() error {
	rec, err := c.find(c.key(), aSet)
	if err != nil {
		return err
	}
	c.Array(len(c.args) - 2)
	for i, name := range c.args[2:] {
		if c.stops(i) {
			return errLate
		}
		_, ok := c.lookup(rec, name)
		_ = c.yes(ok) // which never fails
	}
	return nil
}

func (c *call) scard() error {
	rec, err := c.find(c.key(), aSet)
	if err != nil {
		return err
	}
	return c.num(int64(count(rec)))
}

func (c *call) spop() error {
	n, many := int64(1), len(c.args) == 3
	switch {
	case len(c.args) > 3:
		return errSyntax
	case many:
		var ok bool
		if n, ok = resp.ParseInt(c.args[2]); !ok || n < 0 {
			return errUnderLimit
		}
	}
	rec, err := c.find(c.key(), aSet)
	if err != nil {
		return err
	}
	for name := range entries(rec) {
		c.field(session.EscapeName(name), "", true)
	}
	rand.Shuffle(len(c.fields), func(i, j int) { c.fields[i], c.fields[j] = c.fields[j], c.fields[i] })
	c.fields = c.fields[:min(int64(len(c.fields)), n)]
	popped := c.fields
	if err := c.without(rec, "spop"); err != nil {
		return err
	}
	if !many {
		if len(popped) == 0 {
			c.Null()
			return nil
		}
		c.BulkString(session.UnescapeName(popped[0].Name))
		return nil
	}
	c.Set(len(popped))
	for _, f := range popped {
		c.BulkString(session.UnescapeName(f.Name))
	}
	return nil
}

func (c *call) sscan() error { return c.scan(aSet, nil) }

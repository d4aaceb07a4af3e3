package command

import (
	"iter"
	"math"
	"strconv"

	"github.com/seed-95a32959/holdfast/internal/glob"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// entries yields the fields of a hash or the members of a set, by their names
// as the client knows them, and their values as they are stored. Of nil it
// yields none.
func entries(rec *session.Draft) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		if rec == nil {
			return
		}
		for f := range rec.Fields() {
			if !session.Reserved(f.Name) && !yield(session.UnescapeName(f.Name), f.Value) {
				return
			}
		}
	}
}

func count(rec *session.Draft) int {
	if rec == nil {
		return 0
	}
	return rec.Len()
}

// lookup returns a field's value as it is stored.
func (c *call) lookup(rec *session.Draft, name []byte) (value string, ok bool) {
	if rec == nil {
		return "", false
	}
	return rec.Value(c.name(name))
}

func (c *call) hset() error {
	n, err := c.setPairs(2)
	if err != nil {
		return err
	}
	return c.num(n)
}

func (c *call) hmset() error {
	if _, err := c.setPairs(2); err != nil {
		return err
	}
	return c.ok()
}

// setPairs sets the fields given from argument i on, and returns how many of
// them are new.
func (c *call) setPairs(i int) (created int64, err error) {
	if (len(c.args)-i)%2 != 0 {
		return 0, c.wrongArity()
	}
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return 0, err
	}
	if rec == nil {
		if err := c.blindly(c.key()); err != nil {
			return 0, err
		}
	}
	var given names
	for ; i < len(c.args); i += 2 {
		if c.stops(i / 2) {
			return 0, errLate
		}
		name := c.name(c.args[i])
		if _, ok := c.lookup(rec, c.args[i]); !ok && given.add(name) {
			created++
		}
		c.field(name, c.raw(c.args[i+1]), false)
	}
	if err := c.Patch(c.key(), c.fields); err != nil {
		return 0, err
	}
	c.event("hset", c.key())
	return created, nil
}

func (c *call) hsetnx() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	if _, ok := c.lookup(rec, c.args[2]); ok {
		return c.num(0)
	}
	c.field(c.name(c.args[2]), c.raw(c.args[3]), false)
	if err := c.Patch(c.key(), c.fields); err != nil {
		return err
	}
	c.event("hset", c.key())
	return c.num(1)
}

// hsetex is the script of ASP.NET's cache: HSET, and EXPIRE unless the time is
// -1.
func (c *call) hsetex() error {
	expires := string(c.args[2]) != "-1"
	var at int64
	if expires {
		n, ok := resp.ParseInt(c.args[2])
		if !ok {
			return errInteger
		}
		var err error
		if at, err = c.moment(n, "ex"); err != nil {
			return err
		}
	}
	if _, err := c.setPairs(3); err != nil {
		return err
	}
	if expires {
		c.expireAt(c.key(), at, true)
	}
	return c.num(1)
}

func (c *call) hget() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	value, ok := c.lookup(rec, c.args[2])
	c.bulk(session.ValueBytes(value), ok)
	return nil
}

func (c *call) hmget() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	c.Array(len(c.args) - 2)
	for i, name := range c.args[2:] {
		if c.stops(i) {
			return errLate
		}
		value, ok := c.lookup(rec, name)
		c.bulk(session.ValueBytes(value), ok)
	}
	return nil
}

func (c *call) hgetall() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	c.Map(count(rec))
	for name, value := range entries(rec) {
		c.BulkString(name)
		c.BulkString(session.ValueBytes(value))
	}
	return nil
}

func (c *call) hkeys() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	c.Array(count(rec))
	for name := range entries(rec) {
		c.BulkString(name)
	}
	return nil
}

func (c *call) hvals() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	c.Array(count(rec))
	for _, value := range entries(rec) {
		c.BulkString(session.ValueBytes(value))
	}
	return nil
}

func (c *call) hlen() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	return c.num(int64(count(rec)))
}

func (c *call) hexists() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	_, ok := c.lookup(rec, c.args[2])
	return c.yes(ok)
}

func (c *call) hstrlen() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	value, _ := c.lookup(rec, c.args[2])
	return c.num(int64(len(session.ValueBytes(value))))
}

func (c *call) hdel() error { return c.drop(aHash, "hdel") }

// drop removes fields or members, and the key with the last of them.
func (c *call) drop(want kind, event string) error {
	rec, err := c.find(c.key(), want)
	if err != nil {
		return err
	}
	var given names
	for i, arg := range c.args[2:] {
		if c.stops(i) {
			return errLate
		}
		name := c.name(arg)
		if _, ok := c.lookup(rec, arg); ok && given.add(name) {
			c.field(name, "", true)
		}
	}
	if err := c.without(rec, event); err != nil {
		return err
	}
	return c.num(int64(len(c.fields)))
}

// without removes c.fields, which are in rec, and the key with the last.
func (c *call) without(rec *session.Draft, event string) error {
	if len(c.fields) == 0 {
		return nil
	}
	last := len(c.fields) == count(rec)
	if !last {
		if err := c.Patch(c.key(), c.fields); err != nil {
			return err
		}
	}
	c.event(event, c.key())
	if last {
		c.remove(c.key())
	}
	return nil
}

func (c *call) hincrby() error {
	by, ok := resp.ParseInt(c.args[3])
	if !ok {
		return errInteger
	}
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	old, ok := c.lookup(rec, c.args[2])
	sum, err := added(session.ValueBytes(old), ok, by, failure("ERR hash value is not an integer"), errOverflow)
	if err != nil {
		return err
	}
	if err := c.putField(rec, strconv.FormatInt(sum, 10)); err != nil {
		return err
	}
	c.event("hincrby", c.key())
	return c.num(sum)
}

func (c *call) hincrbyfloat() error {
	rec, err := c.find(c.key(), aHash)
	if err != nil {
		return err
	}
	if by, ok := parseFloat(view(c.args[3])); ok && math.IsInf(by, 0) {
		return failure("ERR value is NaN or Infinity")
	}
	old, ok := c.lookup(rec, c.args[2])
	sum, err := addedFloat(session.ValueBytes(old), ok, c.args[3], failure("ERR hash value is not a float"))
	if err != nil {
		return err
	}
	if err := c.putField(rec, sum); err != nil {
		return err
	}
	c.event("hincrbyfloat", c.key())
	c.BulkString(sum)
	return nil
}

// putField sets the field that the command names.
func (c *call) putField(rec *session.Draft, value string) error {
	if rec == nil {
		if err := c.blindly(c.key()); err != nil {
			return err
		}
	}
	c.field(c.name(c.args[2]), c.raw([]byte(value)), false)
	return c.Patch(c.key(), c.fields)
}

func (c *call) hscan() error {
	return c.scan(aHash, func(value string) { c.BulkString(session.ValueBytes(value)) })
}

// scan answers HSCAN, SSCAN and ZSCAN with everything at once, as Redis does
// with what is small. value appends what follows a name, nil for nothing.
func (c *call) scan(want kind, value func(string)) error {
	match, err := scanOptions(c.args[2:])
	if err != nil {
		return err
	}
	rec, err := c.find(c.key(), want)
	if err != nil {
		return err
	}
	matches, err := matcher(match)
	if err != nil {
		return err
	}
	var found []session.Field
	i := 0
	for name, v := range entries(rec) {
		if c.stops(i) {
			return errLate
		}
		i++
		if matches(name) {
			found = append(found, session.Field{Name: name, Value: v})
		}
	}
	c.Array(2)
	c.BulkString("0")
	if value == nil {
		c.Array(len(found))
	} else {
		c.Array(2 * len(found))
	}
	for _, f := range found {
		c.BulkString(f.Name)
		if value != nil {
			value(f.Value)
		}
	}
	return nil
}

// matcher returns what says whether a name fits a pattern; nil fits all.
func matcher(match []byte) (func(name string) bool, error) {
	if match == nil {
		return func(string) bool { return true }, nil
	}
	pattern, err := glob.Compile(view(match))
	if err != nil {
		return nil, failure("ERR " + err.Error())
	}
	return pattern.Match, nil
}

// scanOptions reads a cursor and what follows it.
func scanOptions(args [][]byte) (match []byte, err error) {
	if _, err := strconv.ParseUint(view(args[0]), 10, 64); err != nil {
		return nil, failure("ERR invalid cursor")
	}
	for i := 1; i < len(args); i += 2 {
		switch {
		case i+1 == len(args):
			return nil, errSyntax
		case is(args[i], "match"):
			match = args[i+1]
		case is(args[i], "count"):
			n, ok := resp.ParseInt(args[i+1])
			if !ok {
				return nil, errInteger
			}
			if n < 1 {
				return nil, errSyntax
			}
		default:
			return nil, errSyntax
		}
	}
	return match, nil
}

package command

import (
	"math"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// bulk answers with a string, or with the absence of one.
func (c *call) bulk(value string, ok bool) {
	if ok {
		c.BulkString(value)
	} else {
		c.Null()
	}
}

func (c *call) get() error {
	value, ok, err := c.str(c.key())
	if err == nil {
		c.bulk(value, ok)
	}
	return err
}

func (c *call) mget() error {
	c.Array(len(c.args) - 1)
	for i, key := range c.args[1:] {
		if c.stops(i) {
			return errLate
		}
		value, ok, _ := c.str(view(key)) // of another kind counts as absent
		c.bulk(value, ok)
		if len(c.B)-c.begin > maxAnswer {
			return errAnswer
		}
	}
	return nil
}

func (c *call) strlen() error {
	value, _, err := c.str(c.key())
	if err != nil {
		return err
	}
	return c.num(int64(len(value)))
}

// setOptions are those of SET and GETEX, in any order.
type setOptions struct {
	nx, xx, get, keep, persist bool
	unit                       string // ex, px, exat or pxat
	value                      []byte // of unit
}

// setOptions reads args. Every option must be one of accepted.
func readSetOptions(args [][]byte, accepted ...string) (o setOptions, err error) {
	for i := 0; i < len(args); i++ {
		word := ""
		for _, a := range accepted {
			if is(args[i], a) {
				word = a
			}
		}
		timed := o.unit != "" && o.unit != word || o.keep && word != "keepttl" || o.persist && word != "persist"
		switch word {
		case "nx":
			o.nx = true
		case "xx":
			o.xx = true
		case "get":
			o.get = true
		case "ex", "px", "exat", "pxat":
			if timed || i+1 == len(args) {
				return o, errSyntax
			}
			i++
			o.unit, o.value = word, args[i]
		case "keepttl", "persist":
			if timed {
				return o, errSyntax
			}
			o.keep, o.persist = word == "keepttl", word == "persist"
		default:
			return o, errSyntax
		}
	}
	if o.nx && o.xx {
		return o, errSyntax
	}
	return o, nil
}

func (c *call) set() error {
	o, err := readSetOptions(c.args[3:], "nx", "xx", "get", "ex", "px", "exat", "pxat", "keepttl")
	if err != nil {
		return err
	}
	return c.store(view(c.args[2]), o)
}

func (c *call) setex() error {
	return c.store(view(c.args[3]), setOptions{unit: "ex", value: c.args[2]})
}

func (c *call) psetex() error {
	return c.store(view(c.args[3]), setOptions{unit: "px", value: c.args[2]})
}

// store is SET in all its forms.
func (c *call) store(value string, o setOptions) error {
	key := c.key()
	end := new(session.Expiry)
	switch {
	case o.unit != "":
		at, err := c.endOf(o.unit, o.value)
		if err != nil {
			return err
		}
		end = fixed(at)
	case o.keep:
		end = nil
	}
	var rec *session.Draft
	if o.get || o.nx || o.xx { // others do not care what was there
		rec, _ = c.Get(key)
	}
	if o.get && rec != nil && kindOf(rec) != aString {
		return errWrongType
	}
	var old string
	if o.get && rec != nil {
		old, _ = rec.Opaque()
	}
	if refused := o.nx && rec != nil || o.xx && rec == nil; refused {
		c.bulk(old, o.get && rec != nil)
		return nil
	}
	if !o.nx {
		if err := c.blindly(key); err != nil {
			return err
		}
	}
	if err := c.setAs(o.nx || o.xx && isLock(rec), key, value, end); err != nil {
		return err
	}
	c.event("set", key)
	if o.unit != "" {
		c.event("expire", key)
	}
	if o.get {
		c.bulk(old, rec != nil)
		return nil
	}
	return c.ok()
}

func (c *call) setnx() error {
	rec, _ := c.Get(c.key())
	if rec != nil {
		return c.num(0)
	}
	if err := c.setAs(true, c.key(), view(c.args[2]), nil); err != nil {
		return err
	}
	c.event("set", c.key())
	return c.num(1)
}

func (c *call) getset() error {
	old, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	if err := c.blindly(c.key()); err != nil {
		return err
	}
	if err := c.setString(c.key(), view(c.args[2]), new(session.Expiry)); err != nil {
		return err
	}
	c.event("set", c.key())
	c.bulk(old, ok)
	return nil
}

func (c *call) getdel() error {
	value, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	if ok {
		c.remove(c.key())
	}
	c.bulk(value, ok)
	return nil
}

func (c *call) getex() error {
	o, err := readSetOptions(c.args[2:], "ex", "px", "exat", "pxat", "persist")
	if err != nil {
		return err
	}
	key := c.key()
	value, ok, err := c.str(key)
	if err != nil || !ok {
		c.Null()
		return err
	}
	var at int64
	if o.unit != "" {
		if at, err = c.endOf(o.unit, o.value); err != nil {
			return err
		}
	}
	c.BulkString(value)
	switch {
	case o.unit != "":
		c.expireAt(key, at, o.unit == "ex" || o.unit == "px")
	case o.persist:
		c.persistKey(key)
	}
	return nil
}

func (c *call) mset() error {
	if len(c.args)%2 == 0 {
		return c.wrongArity()
	}
	for i := 1; i < len(c.args); i += 2 {
		if err := c.blindly(view(c.args[i])); err != nil {
			return err
		}
	}
	return c.setAll(false, c.ok)
}

func (c *call) msetnx() error {
	if len(c.args)%2 == 0 {
		return c.wrongArity()
	}
	for i := 1; i < len(c.args); i += 2 {
		if rec, _ := c.Get(view(c.args[i])); rec != nil {
			return c.num(0)
		}
	}
	return c.setAll(true, func() error { return c.num(1) })
}

// setAll sets the pairs of a command.
func (c *call) setAll(locks bool, done func() error) error {
	for i := 1; i < len(c.args); i += 2 {
		key := view(c.args[i])
		if err := c.setAs(locks, key, view(c.args[i+1]), new(session.Expiry)); err != nil {
			return err
		}
		c.event("set", key)
	}
	return done()
}

func (c *call) appendTo() error {
	old, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	if !ok {
		if err := c.blindly(c.key()); err != nil {
			return err
		}
	}
	c.Spend((len(old) + len(c.args[2])) / 64)
	value := old + view(c.args[2])
	if err := c.setString(c.key(), value, nil); err != nil {
		return err
	}
	c.event("append", c.key())
	return c.num(int64(len(value)))
}

func (c *call) getrange() error {
	from, ok1 := resp.ParseInt(c.args[2])
	to, ok2 := resp.ParseInt(c.args[3])
	if !ok1 || !ok2 {
		return errInteger
	}
	value, _, err := c.str(c.key())
	if err != nil {
		return err
	}
	size := int64(len(value))
	if to < -size && from <= to { // unlike that of a list, the end stops at the first byte
		to = -size
	}
	first, last, ok := span(from, to, len(value))
	if !ok {
		first, last = 0, -1
	}
	c.BulkString(value[first : last+1])
	return nil
}

// span makes positions that count from the end if they are below 0 into
// positions within n; ok is false if there is nothing between them.
func span(from, to int64, n int) (first, last int64, ok bool) {
	size := int64(n)
	if from < 0 {
		from = max(0, from+size)
	}
	if to < 0 {
		to += size
	}
	to = min(to, size-1)
	return from, to, from <= to && from < size && to >= 0
}

func (c *call) setrange() error {
	offset, ok := resp.ParseInt(c.args[2])
	switch {
	case !ok:
		return errInteger
	case offset < 0:
		return failure("ERR offset is out of range")
	case offset+int64(len(c.args[3])) > 512<<20 || offset > 512<<20:
		return errTooLarge
	}
	old, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	patch := c.args[3]
	if len(patch) == 0 {
		return c.num(int64(len(old)))
	}
	if !ok {
		if err := c.blindly(c.key()); err != nil {
			return err
		}
	}
	if offset > maxOffset { // more than any session, and not to be allocated
		return errTooLarge
	}
	value := make([]byte, max(len(old), int(offset)+len(patch)))
	c.Spend(len(value) / 64)
	copy(value, old)
	copy(value[offset:], patch)
	if err := c.setString(c.key(), view(value), nil); err != nil {
		return err
	}
	c.event("setrange", c.key())
	return c.num(int64(len(value)))
}

// maxOffset bounds what SETRANGE makes before the store says that it is too
// large.
const maxOffset = 32 << 20

func (c *call) incr() error { return c.add(1) }
func (c *call) decr() error { return c.add(-1) }

func (c *call) incrby() error {
	n, ok := resp.ParseInt(c.args[2])
	if !ok {
		return errInteger
	}
	return c.add(n)
}

func (c *call) decrby() error {
	n, ok := resp.ParseInt(c.args[2])
	switch {
	case !ok:
		return errInteger
	case n == math.MinInt64:
		return failure("ERR decrement would overflow")
	}
	return c.add(-n)
}

func (c *call) add(by int64) error {
	old, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	sum, err := added(old, ok, by, errInteger, errOverflow)
	if err != nil {
		return err
	}
	if !ok {
		if err := c.blindly(c.key()); err != nil {
			return err
		}
	}
	start := len(c.scratch)
	c.scratch = strconv.AppendInt(c.scratch, sum, 10)
	if err := c.setString(c.key(), view(c.scratch[start:]), nil); err != nil {
		return err
	}
	c.event("incrby", c.key())
	return c.num(sum)
}

// added is an integer written as a text, 0 where there is none, and by.
func added(old string, ok bool, by int64, notOne, overflow error) (int64, error) {
	var n int64
	if ok {
		if n, ok = resp.ParseInt([]byte(old)); !ok {
			return 0, notOne
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		return 0, overflow
	}
	return n + by, nil
}

func (c *call) incrbyfloat() error {
	old, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	sum, err := addedFloat(old, ok, c.args[2], errFloat)
	if err != nil {
		return err
	}
	if !ok {
		if err := c.blindly(c.key()); err != nil {
			return err
		}
	}
	if err := c.setString(c.key(), sum, nil); err != nil {
		return err
	}
	c.event("incrbyfloat", c.key())
	c.BulkString(sum)
	return nil
}

// addedFloat is a number written as a text, 0 where there is none, and by.
func addedFloat(old string, ok bool, by []byte, notOne error) (string, error) {
	var n float64
	if ok {
		if n, ok = parseFloat(old); !ok {
			return "", notOne
		}
	}
	d, ok := parseFloat(view(by))
	if !ok {
		return "", errFloat
	}
	sum := n + d
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return "", failure("ERR increment would produce NaN or Infinity")
	}
	return strconv.FormatFloat(sum, 'f', -1, 64), nil
}

// parseFloat reads a number as C's strtod does, which takes infinities too, but
// no NaN, no space around it and nothing that does not fit.
func parseFloat(s string) (float64, bool) {
	if strings.IndexByte(s, '_') >= 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f)
}

// delifeq is the script that gives a lock back: it deletes a key if it still
// holds this value.
func (c *call) delifeq() error {
	value, ok, err := c.str(c.key())
	if err != nil {
		return err
	}
	return c.yes(ok && value == view(c.args[2]) && c.remove(c.key()))
}

// setexnx is the script of a cache's add: SETEX if there is nothing.
func (c *call) setexnx() error {
	return c.store(view(c.args[3]), setOptions{nx: true, unit: "ex", value: c.args[2]})
}

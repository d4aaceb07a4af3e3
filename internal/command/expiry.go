package command

import (
	"math"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// maxMillis is the latest moment that a record can hold as its end, unix ms: in
// the year 6429. Later ones are taken for it.
const maxMillis = 1<<47 - 1

// fixed is an end that does not slide. One that has passed is over at once.
func fixed(at int64) *session.Expiry {
	at = max(1, at)
	return &session.Expiry{At: at, Deadline: at}
}

func (c *call) badExpire() error {
	name := c.spec.Name
	switch name { // a script calls Redis's own
	case SetIfAbsent:
		name = "setex"
	case HashSetExpire:
		name = "expire"
	}
	return failure("ERR invalid expire time in '" + name + "' command")
}

// endOf is the end, unix ms, that an option such as EX 30 gives.
func (c *call) endOf(unit string, value []byte) (at int64, err error) {
	n, ok := resp.ParseInt(value)
	if !ok {
		return 0, errInteger
	}
	if n <= 0 {
		return 0, c.badExpire()
	}
	return c.moment(n, unit)
}

// moment is n in this unit as unix ms.
func (c *call) moment(n int64, unit string) (int64, error) {
	if unit == "ex" || unit == "exat" {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, c.badExpire()
		}
		n *= 1000
	}
	if unit == "ex" || unit == "px" {
		if n > math.MaxInt64-c.Now() {
			return 0, c.badExpire()
		}
		n += c.Now()
	}
	return min(n, maxMillis), nil
}

func (c *call) expire() error    { return c.expireBy("ex") }
func (c *call) pexpire() error   { return c.expireBy("px") }
func (c *call) expireat() error  { return c.expireBy("exat") }
func (c *call) pexpireat() error { return c.expireBy("pxat") }

func (c *call) expireBy(unit string) error {
	n, ok := resp.ParseInt(c.args[2])
	nx, xx, gt, lt, err := expireOptions(c.args[3:])
	switch {
	case err != nil:
		return err
	case !ok:
		return errInteger
	}
	at, err := c.moment(n, unit)
	if err != nil {
		return err
	}
	rec, until := c.Get(c.key())
	if rec == nil {
		return c.num(0)
	}
	present := until
	if until == 0 {
		present = math.MaxInt64
	}
	if nx && until != 0 || xx && until == 0 || gt && at <= present || lt && at >= present {
		return c.num(0)
	}
	c.expireAt(c.key(), at, unit == "ex" || unit == "px")
	return c.num(1)
}

func expireOptions(args [][]byte) (nx, xx, gt, lt bool, err error) {
	for _, arg := range args {
		switch {
		case is(arg, "nx"):
			nx = true
		case is(arg, "xx"):
			xx = true
		case is(arg, "gt"):
			gt = true
		case is(arg, "lt"):
			lt = true
		default:
			return nx, xx, gt, lt, failure("ERR Unsupported option " + string(arg))
		}
	}
	if nx && (xx || gt || lt) {
		err = failure("ERR NX and XX, GT or LT options at the same time are not compatible")
	} else if gt && lt {
		err = failure("ERR GT and LT options at the same time are not compatible")
	}
	return nx, xx, gt, lt, err
}

// expireAt moves the end of a key that is there. A time from now on is another
// idle time for a session that slides, a moment is a fixed end for any.
func (c *call) expireAt(key string, at int64, fromNow bool) {
	if at <= c.Now() {
		c.remove(key)
		return
	}
	rec, _ := c.Get(key)
	end := *fixed(at)
	if old := rec.Expiry(); fromNow && old.Idle > 0 {
		end = session.Expiry{At: at, Idle: at - c.Now(), Deadline: old.Deadline}
		if end.Deadline > 0 {
			end.At = min(at, end.Deadline)
		}
	}
	c.Expire(key, end)
	c.renewed(rec)
	c.event("expire", key)
}

func (c *call) persist() error { return c.yes(c.persistKey(c.key())) }

// persistKey takes the end of a key off, and reports whether it had one.
func (c *call) persistKey(key string) bool {
	rec, until := c.Get(key)
	if rec == nil || until == 0 {
		return false
	}
	c.Expire(key, session.Expiry{})
	c.renewed(rec)
	c.event("persist", key)
	return true
}

func (c *call) ttl() error         { return c.left(1000, 0) }
func (c *call) pttl() error        { return c.left(1, 0) }
func (c *call) expiretime() error  { return c.left(1000, 1) }
func (c *call) pexpiretime() error { return c.left(1, 1) }

// left answers with the end of a key in units of so many ms, as a moment or
// from now on; -1 if it has none, -2 if there is no key.
func (c *call) left(unit, moment int64) error {
	rec, until := c.Get(c.key())
	switch {
	case rec == nil:
		return c.num(-2)
	case until == 0:
		return c.num(-1)
	case moment == 0:
		until -= c.Now()
	}
	return c.num((until + unit/2) / unit)
}

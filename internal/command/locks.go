package command

import "github.com/seed-95a32959/holdfast/session"

// A client that was told that a lock is its own, for so long, must not lose it
// with the owner: the successor would give it to another one. So commands that
// take a lock wait for a copy (Outcome.Exact), and so do those that renew one.
//
// A lock is a string that was made by NX. It has a reserved field that says so,
// and so its copies say so too. It keeps the field as long as nothing is done
// to it but renewals: another end (EXPIRE and its like, GETEX, PERSIST), or SET
// with XX. What sets it whatever was there, or changes its value, makes a plain
// key of it: sessions that are created by NX, as some frameworks do, and
// counters that begin so, are written again without waiting.
const fieldLock = "\x00nx"

// setAs writes a string as a lock, or as a plain one.
func (c *call) setAs(lock bool, key, value string, end *session.Expiry) error {
	if !lock {
		return c.setString(key, value, end)
	}
	c.fields = append(c.fields[:0], session.Field{Value: value}, session.Field{Name: fieldLock})
	c.out.Exact = true
	return c.Put(key, c.fields, end)
}

func isLock(rec *session.Draft) bool {
	if rec == nil {
		return false
	}
	_, lock := rec.Value(fieldLock)
	return lock
}

func isLockRecord(rec *session.Record) bool {
	_, lock := rec.Value(fieldLock)
	return lock
}

// renewed notes that a key has got another end.
func (c *call) renewed(rec *session.Draft) {
	c.out.Exact = c.out.Exact || isLock(rec)
}

package command

import (
	"strconv"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// This file is about all keys of a partition: what SCAN, DBSIZE and FLUSHDB are
// made of. Its commands have no key; their batch says the partition.

// PositionBits is how many bits a position within a partition has.
const PositionBits = 43

// PositionOf is where a key stands in its partition, whatever is written to it.
func PositionOf(key string) uint64 { return session.KeyHash(key) >> (64 - PositionBits) }

// Page is what one look at the keys of a partition has found.
type Page struct {
	Keys []string
	Seen int    // keys looked at
	Next uint64 // the position to go on from
	More bool   // there are keys from there on
}

// maxPage is how many keys one page has at most, whatever was asked for: an
// answer is to fit into a frame of the peer link. More come only where many
// keys have one position.
const maxPage = 10_000

// ScanBatch asks for a page: about count keys from a position on, more in a
// large partition, of which those are returned that fit match, if it is not "",
// and are of kind, if that is not.
func ScanBatch(partition int, from uint64, count int, match, kind string) *Batch {
	return sweep(partition, Scan, strconv.FormatUint(from, 10), strconv.Itoa(count), match, kind)
}

// CountBatch asks for the number of keys in a partition.
func CountBatch(partition int) *Batch { return sweep(partition, Count) }

// FlushPage is how many keys a [FlushBatch] deletes at most.
const FlushPage = 1000

// FlushBatch deletes keys of a partition and answers how many: if it was
// [FlushPage], there may be more.
func FlushBatch(partition int) *Batch { return sweep(partition, Flush) }

func sweep(partition int, words ...string) *Batch {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	return &Batch{Commands: [][][]byte{args}, Proto: 2, Partition: partition}
}

// scanKeys answers with the next position, whether there is more from there on,
// how many keys it has looked at, and those that fit. Keys of one position come
// in one answer.
func (c *call) scanKeys() error {
	from, err := strconv.ParseUint(view(c.args[1]), 10, 64)
	limit, ok := resp.ParseInt(c.args[2])
	if err != nil || !ok || limit < 1 {
		return errInteger
	}
	match := c.args[3]
	if len(match) == 0 {
		match = nil
	}
	matches, err := matcher(match)
	if err != nil {
		return err
	}
	page, next, isMore := c.Page(from, int(min(limit, maxPage)), PositionOf)
	more := int64(0)
	if isMore {
		more = 1
	}
	var fits []*session.Record
	for i, rec := range page {
		if c.stops(i) {
			return errLate
		}
		if matches(rec.Key()) && c.isKind(rec) {
			fits = append(fits, rec)
		}
	}
	c.Array(3 + len(fits))
	c.Int(int64(next))
	c.Int(more)
	c.Int(int64(len(page)))
	for _, rec := range fits {
		c.BulkString(rec.Key())
	}
	return nil
}

// isKind says whether a key is of the kind that was asked for.
func (c *call) isKind(rec *session.Record) bool {
	kind := c.args[4]
	return len(kind) == 0 || is(kind, string(kindOf(rec)))
}

// PageOf reads the answer to a [ScanBatch].
func PageOf(v resp.Value) (p Page, ok bool) {
	if v.Kind != resp.Array || len(v.Elems) < 3 {
		return p, false
	}
	p = Page{Next: uint64(v.Elems[0].Int), More: v.Elems[1].Int == 1, Seen: int(v.Elems[2].Int)}
	for _, key := range v.Elems[3:] {
		p.Keys = append(p.Keys, key.Text)
	}
	return p, true
}

// countKeys answers with how many keys there are, and how many of them end.
func (c *call) countKeys() error {
	var n, ends int64
	for rec := range c.Each {
		if n++; c.stops(int(n)) {
			return errLate
		}
		if rec.Expiry().At > 0 {
			ends++
		}
	}
	c.Array(2)
	c.Int(n)
	c.Int(ends)
	return nil
}

func (c *call) flushKeys() error {
	var keys []string
	for rec := range c.Each {
		if keys = append(keys, rec.Key()); len(keys) == FlushPage {
			break
		}
	}
	for _, key := range keys {
		c.Delete(key)
		c.out.Deleted = true
	}
	return c.num(int64(len(keys)))
}

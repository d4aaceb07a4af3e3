package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/glob"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
)

const (
	// scanChunk is how many keys are looked at in one go where all are.
	scanChunk = 1000
	// scanRounds bounds the requests that one SCAN makes, as its COUNT bounds
	// the keys: most partitions of a small cluster are empty.
	scanRounds = 64
	// sweepTimeout bounds a command that looks at all keys, or at all of a
	// slot.
	sweepTimeout = 30 * time.Second
	// maxSweeps bounds those of all clients that are under way at once. Others
	// wait for their turn: what is about one key must not wait behind them.
	maxSweeps = 8
	// maxWait bounds WAIT without a timeout. Redis would wait for ever, with a
	// client that may have gone long ago.
	maxWait = time.Minute
)

var keyspaceVerbs = []verb{
	{name: "dbsize", arity: 1, flags: reads | fast, run: (*conn).dbsize},
	{name: "keys", arity: 2, flags: reads, run: (*conn).keys},
	{name: "scan", arity: -2, flags: reads, run: (*conn).scan},
	{name: "flushdb", arity: -1, flags: writes | wipes, run: (*conn).flushAll},
	{name: "flushall", arity: -1, flags: writes | wipes, run: (*conn).flushAll},
	{name: "wait", arity: 3, flags: noScript, run: (*conn).wait},
}

// errSweep is the answer to a command that has looked at keys for too long.
var errSweep = fmt.Errorf("not all keys were looked at within %v, use SCAN", sweepTimeout)

// slots are places for what not all clients may do at once.
type slots chan struct{}

// enter waits for a place. It returns false, without one, when ctx ends.
func (s slots) enter(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) leave() { <-s }

// sweep runs what looks at many keys when it is its turn. f stops when its
// context ends, which is when time is up or the client has gone.
func (c *conn) sweep(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(c.ctx, sweepTimeout, errSweep)
	defer cancel()
	if !c.server.sweeps.enter(ctx) {
		return context.Cause(ctx)
	}
	defer c.server.sweeps.leave()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *conn) dbsize([][]byte) {
	n := 0
	err := c.sweep(func(ctx context.Context) (err error) {
		n, err = c.server.cfg.Cluster.Count(ctx, c.server.cfg.Redirect)
		return err
	})
	if err != nil {
		c.fault(err)
		return
	}
	c.out.Int(int64(n))
}

func (c *conn) keys(args [][]byte) {
	if len(args[1]) > glob.MaxPattern {
		c.fault(glob.LengthError(len(args[1])))
		return
	}
	keys, err := c.allKeys(ScanRequest{Count: scanChunk, Match: string(args[1]), Local: c.server.cfg.Redirect})
	if err != nil {
		c.fault(err)
		return
	}
	c.bulks(keys)
}

var errManyKeys = errors.New("too many keys for one answer, use SCAN")

func (c *conn) allKeys(r ScanRequest) (keys []string, err error) {
	size := 0
	return keys, c.sweep(func(ctx context.Context) error {
		for r.From.Partition < ring.Partitions && ctx.Err() == nil {
			found, err := c.server.cfg.Cluster.Scan(ctx, r)
			if err != nil {
				return err
			}
			before := size
			for _, key := range found.Keys {
				size += len(key) + len("$512\r\n\r\n")
			}
			if size > c.server.cfg.OutputLimit {
				return errManyKeys
			}
			if err := c.lend(size - before + 16*len(found.Keys)); err != nil { // a string beside its bytes
				return err
			}
			keys = append(keys, found.Keys...)
			r.From = found.Next
		}
		return ctx.Err()
	})
}

func (c *conn) bulks(list []string) {
	c.out.Array(len(list))
	for _, s := range list {
		c.out.BulkString(s)
	}
}

// A cursor is written as one number: the partition above the position.
const positionBits = 43

func (c *conn) scan(args [][]byte) {
	at, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		c.fail("ERR invalid cursor")
		return
	}
	r := ScanRequest{
		From:  Cursor{Partition: int(min(at>>positionBits, ring.Partitions)), Position: at & (1<<positionBits - 1)},
		Count: 10, Local: c.server.cfg.Redirect,
	}
	if no := r.options(args[2:]); no != none {
		c.fail(no)
		return
	}
	var keys []string
	var next Cursor
	err = c.sweep(func(ctx context.Context) (err error) {
		keys, next, err = c.scanSome(ctx, r)
		return err
	})
	if err != nil {
		c.fault(err)
		return
	}
	c.out.Array(2)
	if next.Partition >= ring.Partitions {
		c.out.BulkString("0")
	} else {
		c.out.BulkString(strconv.FormatUint(uint64(next.Partition)<<positionBits|next.Position, 10))
	}
	c.bulks(keys)
}

func (r *ScanRequest) options(options [][]byte) refusal {
	for len(options) > 0 {
		if len(options) == 1 {
			return errSyntax
		}
		switch {
		case is(options[0], "count"):
			n, isInt := resp.ParseInt(options[1])
			if !isInt {
				return errInteger
			}
			if n < 1 {
				return errSyntax
			}
			r.Count = int(min(n, 10*scanChunk))
		case is(options[0], "match"):
			if len(options[1]) > glob.MaxPattern {
				return refusal("ERR " + glob.LengthError(len(options[1])).Error())
			}
			r.Match = string(options[1])
		case is(options[0], "type"):
			r.Type = lower(options[1])
		default:
			return errSyntax
		}
		options = options[2:]
	}
	return none
}

// scanSome looks at about r.Count keys.
func (c *conn) scanSome(ctx context.Context, r ScanRequest) (keys []string, next Cursor, err error) {
	next = r.From
	left := r.Count
	for range scanRounds {
		if next.Partition >= ring.Partitions || left <= 0 {
			break
		}
		r.From, r.Count = next, left
		found, err := c.server.cfg.Cluster.Scan(ctx, r)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, next, err
		}
		keys, next = append(keys, found.Keys...), found.Next
		left -= found.Seen
	}
	return keys, next, nil
}

const errNoFlush refusal = "ERR FLUSHDB and FLUSHALL would end every session of the cluster, and are refused here: start the nodes with -resp-allow-flush to have them run"

func (c *conn) flushAll(args [][]byte) {
	if len(args) > 2 || len(args) == 2 && !is(args[1], "async") && !is(args[1], "sync") {
		c.fail(errSyntax)
		return
	}
	err := c.sweep(func(ctx context.Context) error {
		return c.server.cfg.Cluster.Flush(ctx, c.server.cfg.Redirect)
	})
	if err != nil {
		c.fault(err)
		return
	}
	c.out.OK()
}

// wait answers to how many copies everything has got that the connection has
// written since it waited last.
func (c *conn) wait(args [][]byte) {
	copies, isInt := resp.ParseInt(args[1])
	if !isInt {
		c.fail(errInteger)
		return
	}
	ms, isInt := resp.ParseInt(args[2])
	if !isInt {
		c.fail("ERR timeout is not an integer or out of range")
		return
	}
	if ms < 0 {
		c.fail("ERR timeout is negative")
		return
	}
	limit := maxWait
	if ms > 0 {
		limit = min(limit, time.Duration(min(ms, int64(maxWait/time.Millisecond)))*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(c.ctx, limit)
	defer cancel()
	c.out.Int(int64(c.server.cfg.Cluster.Wait(ctx, c.written.list(), int(copies))))
	c.written = partitions{}
}

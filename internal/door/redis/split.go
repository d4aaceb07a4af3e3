package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
)

// spreads are the commands that plain clients may send with keys of several
// partitions. None of them is atomic then: each partition has its own moment.
// It is filled at the start, for the commands look it up.
var spreads map[string]func(c *conn, spec *command.Spec, args [][]byte)

func init() {
	spreads = map[string]func(*conn, *command.Spec, [][]byte){
		"mget": (*conn).gather, "mset": (*conn).scatter,
		"del": (*conn).sum, "unlink": (*conn).sum, "exists": (*conn).sum, "touch": (*conn).sum,
		"rename": (*conn).rename, "renamenx": (*conn).rename,
	}
}

// maxParallel bounds the batches of one command that are under way at once.
const maxParallel = 32

// part is what a command is for one partition.
type part struct {
	args   [][]byte
	places []int // of its keys among all, as often as each is named
	reply  []byte
}

// split makes a command for each partition of its keys, in the order in which
// they are named first.
func split(spec *command.Spec, args [][]byte) []*part {
	var parts []*part
	of := make(map[int]*part)
	for i := spec.FirstKey; i < len(args); i += spec.Step {
		p := ring.Partition(view(args[i]))
		if of[p] == nil {
			of[p] = &part{args: [][]byte{args[0]}}
			parts = append(parts, of[p])
		}
		of[p].args = append(of[p].args, args[i:min(i+spec.Step, len(args))]...)
		of[p].places = append(of[p].places, (i-spec.FirstKey)/spec.Step)
	}
	return parts
}

// runParts has all parts run by their owners. If one could not be, or was
// answered with an error, it answers with the first such error.
func (c *conn) runParts(parts []*part) bool {
	group, ctx := errgroup.WithContext(c.ctx)
	group.SetLimit(maxParallel)
	for _, p := range parts {
		group.Go(func() error { return c.runPart(ctx, p) })
	}
	if err := group.Wait(); err != nil {
		c.fault(err)
		return false
	}
	for _, p := range parts {
		if p.reply[0] == '-' {
			c.out.B = append(c.out.B, p.reply...)
			return false
		}
	}
	return true
}

func (c *conn) runPart(ctx context.Context, p *part) (err error) {
	defer func() {
		if cause := recover(); cause != nil { // a goroutine's panic would end the process
			c.server.counters.panics.Add(1)
			err = fmt.Errorf("internal error: %v", cause)
		}
	}()
	b := &command.Batch{Commands: [][][]byte{p.args}, Proto: c.out.Proto, Key: view(p.args[1])}
	p.reply, err = c.server.cfg.Cluster.Do(ctx, b, nil)
	if err == nil && len(p.reply) == 0 {
		err = resp.ErrReply
	}
	if err == nil {
		err = c.lend(cap(p.reply))
	}
	if err == nil && c.lent.Load() > int64(c.server.cfg.OutputLimit) {
		err = errLargeAnswer
	}
	return err
}

var errLargeAnswer = errors.New("the values are too large for one answer, ask for fewer at a time")

// gather answers MGET: the values in the order of the keys.
func (c *conn) gather(spec *command.Spec, args [][]byte) {
	parts := split(spec, args)
	if !c.runParts(parts) {
		return
	}
	values := make([][]byte, len(args)-1)
	for _, p := range parts {
		elems, err := elements(p.reply, len(p.places))
		if err != nil {
			c.fault(err)
			return
		}
		for i, place := range p.places {
			values[place] = elems[i]
		}
	}
	c.out.Array(len(values))
	for _, v := range values {
		c.out.B = append(c.out.B, v...)
	}
}

// elements takes an array of n answers apart.
func elements(array []byte, n int) ([][]byte, error) {
	head := bytes.IndexByte(array, '\n') + 1
	rest := array[head:]
	elems := make([][]byte, n)
	for i := range elems {
		length, err := resp.NextReply(rest)
		if err != nil {
			return nil, fmt.Errorf("answer %d of %d: %w", i+1, n, err)
		}
		elems[i], rest = rest[:length], rest[length:]
	}
	return elems, nil
}

// scatter answers MSET.
func (c *conn) scatter(spec *command.Spec, args [][]byte) {
	if len(args)%2 == 0 {
		c.fail(wrongArity(spec.Name))
		return
	}
	if c.runParts(split(spec, args)) {
		c.out.OK()
	}
}

// sum answers the commands that count keys.
func (c *conn) sum(spec *command.Spec, args [][]byte) {
	parts := split(spec, args)
	if !c.runParts(parts) {
		return
	}
	var total int64
	for _, p := range parts {
		n, isInt := integer(p.reply)
		if !isInt {
			c.fault(fmt.Errorf("%w: %.64q where a number was expected", resp.ErrReply, p.reply))
			return
		}
		total += n
	}
	c.out.Int(total)
}

func integer(reply []byte) (int64, bool) {
	digits, whole := bytes.CutSuffix(reply, []byte("\r\n"))
	if !whole || len(digits) == 0 || digits[0] != ':' {
		return 0, false
	}
	return resp.ParseInt(digits[1:])
}

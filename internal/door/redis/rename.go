package redis

import (
	"bytes"
	"context"
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
)

// rename moves a key to another partition: it is copied there and deleted here,
// in this order, so that a reader in between finds it twice and never not at
// all. It is what a session library does when a user logs in and gets a new id.
func (c *conn) rename(spec *command.Spec, args [][]byte) {
	if err := c.move(args[1], args[2], spec.Name == "renamenx"); err != nil {
		c.fault(err)
	}
}

func (c *conn) move(from, to []byte, onlyIfFree bool) error {
	taken, err := c.runHere(c.ctx, true, words("DUMP", from), words("PTTL", from))
	if err != nil {
		return err
	}
	dump, ttl, err := readDump(taken)
	if err != nil {
		return err
	}
	if dump == nil {
		c.fail("ERR no such key")
		return nil
	}
	restore := words("RESTORE", to, []byte(itoa(max(ttl, 0))), dump)
	if !onlyIfFree {
		restore = append(restore, []byte("REPLACE"))
	}
	// Whoever leaves now must not have both names: an old id would live on.
	ctx := context.WithoutCancel(c.ctx)
	restored, err := c.runHere(ctx, false, restore)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(restored, []byte("-BUSYKEY")) && onlyIfFree {
		c.out.Int(0)
		return nil
	}
	if restored[0] == '-' {
		c.out.B = append(c.out.B, restored...)
		return nil
	}
	if _, err := c.runHere(ctx, false, words(command.Leave, from)); err != nil {
		return err
	}
	if onlyIfFree {
		c.out.Int(1)
		return nil
	}
	c.out.OK()
	return nil
}

func words(name string, args ...[]byte) [][]byte { return append([][]byte{[]byte(name)}, args...) }

// runHere has commands on the key of the first run by its owner, and returns
// the answer.
func (c *conn) runHere(ctx context.Context, multi bool, commands ...[][]byte) ([]byte, error) {
	b := &command.Batch{Commands: commands, Multi: multi, Proto: 2, Key: view(commands[0][1])}
	reply, err := c.server.cfg.Cluster.Do(ctx, b, nil)
	if err == nil && len(reply) == 0 {
		err = resp.ErrReply
	}
	c.written.add(ring.Partition(b.Key))
	return reply, err
}

// readDump reads the answers to DUMP, which between nodes is a copy of all that
// a key is, and to PTTL. A dump of nil says that there is no such key, a time
// below 0 that it does not end.
func readDump(reply []byte) (dump []byte, ttl int64, err error) {
	limits := resp.ReplyLimits{Bytes: len(reply), Elems: 3, Depth: 1}
	v, err := resp.NewReplyReader(bytes.NewReader(reply), limits).Read()
	if err != nil {
		return nil, 0, err
	}
	if v.Kind != resp.Array || len(v.Elems) != 2 {
		return nil, 0, fmt.Errorf("%w: %.64q to DUMP and PTTL", resp.ErrReply, reply)
	}
	if v.Elems[0].IsNull() {
		return nil, 0, nil
	}
	if v.Elems[0].Kind != resp.Bulk {
		return nil, 0, fmt.Errorf("%w: %.64q to DUMP", resp.ErrReply, v.Elems[0].Text)
	}
	return []byte(v.Elems[0].Text), v.Elems[1].Int, nil
}

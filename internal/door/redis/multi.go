package redis

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/ring"
)

// transaction is what a client has queued between MULTI and EXEC.
type transaction struct {
	open    bool
	spoilt  bool // a command was refused: EXEC will refuse all
	orders  []order
	bytes   int
	slot    int // of all keys, if there are any
	hasKeys bool
}

func (t *transaction) spoil() { t.spoilt = t.spoilt || t.open }

const (
	maxWatches = 10_000
	maxQueued  = 10_000 // commands of one transaction
	orderCost  = 64     // bytes of a queued argument, and of a command, beside its own

	errWatches  refusal = "ERR too many keys are watched"
	errAborted  refusal = "EXECABORT Transaction discarded because of previous errors."
	errNoMulti  refusal = "ERR EXEC without MULTI"
	errNoMulti2 refusal = "ERR DISCARD without MULTI"
)

var transactionVerbs = []verb{
	{name: "multi", arity: 1, flags: noScript | loading | stale | fast | atOnce, run: (*conn).multi},
	{name: "exec", arity: 1, flags: noScript | loading | stale | atOnce, run: (*conn).exec},
	{name: "discard", arity: 1, flags: noScript | loading | stale | fast | atOnce, run: (*conn).giveUp},
	{name: "watch", arity: -2, flags: noScript | loading | stale | fast | atOnce, run: (*conn).watch, keys: [3]int{1, -1, 1}},
	{name: "unwatch", arity: 1, flags: noScript | loading | stale | fast, run: (*conn).unwatch},
}

func (c *conn) multi([][]byte) {
	if c.tx.open {
		c.fail("ERR MULTI calls can not be nested")
		return
	}
	c.tx.open = true
	c.show(func(p *public) { p.queued = 0 })
	c.out.OK()
}

// queue keeps a command for EXEC. It is copied, for the buffer it lies in will
// be used again.
func (c *conn) queue(o order) {
	var no refusal
	if o, no = c.rewritten(o); no == none {
		no = c.tx.add(o, &c.server.cfg)
	}
	if no != none {
		c.tx.spoil()
		c.fail(no)
		return
	}
	c.show(func(p *public) { p.queued = len(c.tx.orders) })
	c.out.Simple("QUEUED")
}

func (t *transaction) add(o order, cfg *Config) refusal {
	if o.spec != nil {
		keys, err := o.spec.Keys(o.args)
		if err != nil {
			return wrongArity(o.spec.Name)
		}
		slot, oneSlot, _ := common(keys)
		if !oneSlot || t.hasKeys && slot != t.slot {
			return errCrossSlot
		}
		t.slot, t.hasKeys = slot, true
	}
	if o.spec != nil && o.spec.As != "" {
		o.spec, o.args = sent(o.spec, o.args)
	}
	t.bytes += orderCost
	for _, arg := range o.args {
		t.bytes += len(arg) + orderCost
	}
	if t.bytes > cfg.MaxQuery || len(t.orders) >= maxQueued {
		return refusal(fmt.Sprintf("ERR transaction is too long: %d commands and %d bytes are taken, an argument counts %d bytes beside its own", maxQueued, cfg.MaxQuery, orderCost))
	}
	args := make([][]byte, len(o.args))
	for i, arg := range o.args {
		args[i] = append([]byte(nil), arg...)
	}
	o.args = args
	t.orders = append(t.orders, o)
	return none
}

func (c *conn) giveUp([][]byte) {
	if !c.tx.open {
		c.fail(errNoMulti2)
		return
	}
	c.discard()
	c.out.OK()
}

// discard forgets the transaction and what was watched for it.
func (c *conn) discard() {
	if c.tx.open {
		c.show(func(p *public) { p.queued = -1 })
	}
	c.tx = transaction{}
	c.forgetWatches()
}

func (c *conn) watch(args [][]byte) {
	if c.tx.open {
		c.fail("ERR WATCH inside MULTI is not allowed")
		return
	}
	for _, key := range args[1:] {
		if len(c.watches) >= maxWatches {
			c.fail(errWatches)
			return
		}
		w, err := c.server.cfg.Cluster.Watch(c.ctx, string(key))
		if err != nil {
			c.fault(err)
			return
		}
		c.watches = append(c.watches, w)
		c.watchBytes += len(key) + watchCost
	}
	c.out.OK()
}

func (c *conn) forgetWatches() { c.watches, c.watchBytes = nil, 0 }

func (c *conn) unwatch([][]byte) {
	c.forgetWatches()
	c.out.OK()
}

// exec runs what was queued. The commands on keys go to their owner as one
// batch, which runs at one moment; those of the door follow, and their answers
// are put where they belong.
func (c *conn) exec([][]byte) {
	if !c.tx.open {
		c.fail(errNoMulti)
		return
	}
	tx, watches := c.tx, c.watches
	c.discard()
	if tx.spoilt {
		c.fail(errAborted)
		return
	}
	for _, w := range watches {
		slot := ring.Slot(w.Key)
		if tx.hasKeys && slot != tx.slot {
			c.fail(errCrossSlot)
			return
		}
		tx.slot, tx.hasKeys = slot, true
	}
	if tx.hasKeys && c.moved(tx.slot) {
		return
	}
	answers, null, err := c.execKeyed(&tx, watches)
	switch {
	case err != nil:
		c.fault(err)
	case null:
		c.out.NullArray()
	default:
		c.execRest(&tx, answers)
	}
}

// execKeyed has the commands on keys run, and returns their answers; null if a
// watched key has changed.
func (c *conn) execKeyed(tx *transaction, watches []command.Watch) (answers [][]byte, null bool, err error) {
	if !tx.hasKeys {
		return nil, false, nil
	}
	b := &command.Batch{Multi: true, Proto: c.out.Proto, Watches: watches}
	for _, o := range tx.orders {
		if o.spec == nil {
			continue
		}
		b.Commands = append(b.Commands, o.args)
		if keys, err := o.spec.Keys(o.args); err == nil {
			b.Key = view(keys[0])
			c.noteWrite(o.spec, keys)
		}
	}
	if b.Key == "" {
		b.Key = watches[0].Key
	}
	reply, err := c.server.cfg.Cluster.Do(c.ctx, b, nil)
	if err != nil {
		return nil, false, err
	}
	if err := c.lend(cap(reply)); err != nil {
		return nil, false, err
	}
	switch {
	case string(reply) == "*-1\r\n" || string(reply) == "_\r\n":
		return nil, true, nil
	case len(reply) > 0 && reply[0] == '-': // all of it was refused
		return nil, false, errors.New(strings.TrimSuffix(strings.TrimPrefix(string(reply[1:]), "ERR "), "\r\n"))
	}
	answers, err = elements(reply, len(b.Commands))
	return answers, false, err
}

// execRest runs the door's own commands and appends all answers in order.
func (c *conn) execRest(tx *transaction, answers [][]byte) {
	c.out.Array(len(tx.orders))
	for _, o := range tx.orders {
		if o.spec != nil {
			c.out.B = append(c.out.B, answers[0]...)
			answers = answers[1:]
			continue
		}
		c.execute(o)
	}
}

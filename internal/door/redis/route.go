package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unsafe"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// keyed answers a command on keys: by its owner if they are all of one
// partition, and by several if it is one that can be taken apart.
func (c *conn) keyed(spec *command.Spec, args [][]byte) {
	if spec.FirstKey == spec.LastKey {
		c.routed(spec, args, ring.Slot(view(args[spec.FirstKey])), view(args[spec.FirstKey]))
		return
	}
	keys, err := spec.Keys(args)
	if err != nil {
		c.fail(wrongArity(spec.Name))
		return
	}
	slot, oneSlot, onePartition := common(keys)
	spread := spreads[spec.Name]
	switch {
	case oneSlot, onePartition && spread != nil && !c.server.cfg.Redirect:
		c.routed(spec, args, slot, view(keys[0]))
	case spread != nil && !c.server.cfg.Redirect:
		spread(c, spec, args)
		c.noteWrite(spec, keys)
	default:
		c.fail(errCrossSlot)
	}
}

// common returns the slot of the first key, and what the others share with it.
func common(keys [][]byte) (slot int, oneSlot, onePartition bool) {
	slot, oneSlot, onePartition = ring.Slot(view(keys[0])), true, true
	for _, key := range keys[1:] {
		other := ring.Slot(view(key))
		oneSlot = oneSlot && other == slot
		onePartition = onePartition && other/ring.SlotsPerPartition == slot/ring.SlotsPerPartition
	}
	return slot, oneSlot, onePartition
}

// sent is a command as it goes to the owner, where that is under another name.
func sent(spec *command.Spec, args [][]byte) (*command.Spec, [][]byte) {
	name := []byte(spec.As)
	return command.Lookup(name), append([][]byte{name}, args[1:]...)
}

// routed has one command run by the owner of its slot. key is one of its keys.
func (c *conn) routed(spec *command.Spec, args [][]byte, slot int, key string) {
	if c.moved(slot) {
		return
	}
	if spec.As != "" {
		spec, args = sent(spec, args)
	}
	c.one[0] = args
	c.batch = command.Batch{Commands: c.one[:], Only: spec, Proto: c.out.Proto, Key: key}
	reply, err := c.server.cfg.Cluster.Do(c.ctx, &c.batch, c.out.B)
	if err != nil {
		c.fault(err)
		return
	}
	c.out.B = reply
	if spec.Flags.Has(command.Write) {
		c.written.add(slot / ring.SlotsPerPartition)
	}
}

func (c *conn) noteWrite(spec *command.Spec, keys [][]byte) {
	if !spec.Flags.Has(command.Write) {
		return
	}
	for _, key := range keys {
		c.written.add(ring.Partition(view(key)))
	}
}

// moved sends the client to the owner of a slot: with redirects, if that is
// another node that speaks Redis; without, once for each change of the ring, if
// the client goes by the ring. It would go on to ask a node that is gone
// otherwise: some clients look again every minute or when they are told so, and
// a refused connection tells them nothing.
func (c *conn) moved(slot int) bool {
	t := c.server.cfg.Cluster.Topology()
	partition := slot / ring.SlotsPerPartition
	owner := t.Table.Owner(partition)
	if !c.tell(&t, partition) && (!c.server.cfg.Redirect || owner == t.Self) {
		return false
	}
	address := t.member(owner).RESP
	if address == "" {
		return false
	}
	c.out.Error("MOVED " + strconv.Itoa(slot) + " " + address)
	return true
}

// fault answers a command that the cluster could not run.
func (c *conn) fault(err error) {
	text := faultText(err)
	if loading := c.server.cfg.Loading; loading != nil && loading() {
		for _, again := range []string{"TRYAGAIN ", "CLUSTERDOWN "} { // clients try again after this one too, and know why
			if rest, ok := strings.CutPrefix(text, again); ok {
				text = "LOADING " + rest
			}
		}
	}
	c.out.Error(text)
}

// faultText is an error in the words of Redis, by which clients decide whether
// to try again: after TRYAGAIN and CLUSTERDOWN they do, so these are said only
// of what has not been run.
func faultText(err error) string {
	switch {
	case errors.Is(err, ErrClusterDown):
		return "CLUSTERDOWN The cluster is down: " + err.Error()
	case errors.Is(err, session.ErrBusy):
		return "TRYAGAIN " + err.Error()
	case errors.Is(err, session.ErrFull):
		return "OOM command not allowed when used memory > 'maxmemory'."
	case errors.Is(err, session.ErrTooLarge):
		return "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	case errors.Is(err, session.ErrType):
		return "WRONGTYPE Operation against a key holding the wrong kind of value"
	case errors.Is(err, session.ErrUncertain), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "ERR no answer from the owner, the command may or may not have been executed: " + err.Error()
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrNotServed):
		return "TRYAGAIN the owner of the key cannot be reached yet: " + err.Error()
	default:
		return "ERR " + err.Error()
	}
}

// view is b as a string without a copy, for as long as b is not written to: a
// command's arguments, until it is answered.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// partitions is a set of them.
type partitions [ring.Partitions / 64]uint64

func (s *partitions) add(p int) { s[p/64] |= 1 << (p % 64) }

func (s *partitions) has(p int) bool { return s[p/64]&(1<<(p%64)) != 0 }

func (s *partitions) list() (list []int) {
	for p := range ring.Partitions {
		if s.has(p) {
			list = append(list, p)
		}
	}
	return list
}

package simulation

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
)

// agreePoll is how often Agree looks.
const agreePoll = 20 * time.Millisecond

// Agree waits until the running nodes agree: one ring, of exactly them; every
// partition warm at its owner; no key below its target of copies; and equal
// copies, which it compares by digest and then record by record. It returns how
// long that took, or an error that says what was still different at the end of
// the time given. Writes must have stopped.
func (c *Cluster) Agree(within time.Duration) (took time.Duration, err error) {
	begin := time.Now()
	for {
		if err = c.Settled(); err == nil {
			if err = c.sameDigests(); err == nil {
				return time.Since(begin), c.sameRecords()
			}
		}
		if time.Since(begin) >= within {
			return time.Since(begin), fmt.Errorf("no agreement after %v: %w", within, err)
		}
		time.Sleep(agreePoll)
	}
}

// AwaitSettled waits until Settled says so, with writes going on.
func (c *Cluster) AwaitSettled(within time.Duration) error {
	for begin := time.Now(); ; time.Sleep(agreePoll) {
		err := c.Settled()
		if err == nil {
			return nil
		}
		if time.Since(begin) >= within {
			return fmt.Errorf("not settled after %v: %w", within, err)
		}
	}
}

// Settled says whether the running nodes agree on the ring, and every partition
// is served by its owner and has all its copies. If not, its error names a
// difference.
func (c *Cluster) Settled() error {
	var names []string
	nodes := c.nodes()
	for _, n := range nodes {
		names = append(names, n.ID().Name)
	}
	slices.Sort(names)
	for _, n := range nodes {
		if members := n.View().Table.Members(); !slices.Equal(members, names) {
			return fmt.Errorf("%s sees %v, running are %v", n.ID().Name, members, names)
		}
		for _, name := range names {
			if is := n.View().Named(name).ID; is != c.id(name) {
				return fmt.Errorf("%s knows boot %s of %s, running is %s", n.ID().Name, is.Boot, name, c.id(name).Boot)
			}
		}
		if cold := inspect.Of(n).Cold(); cold > 0 {
			return fmt.Errorf("%d partitions are cold at %s", cold, n.ID().Name)
		}
		if due := inspect.Of(n).Repairer.CopiesDue(); due > 0 {
			return fmt.Errorf("%d keys of %s lack a copy", due, n.ID().Name)
		}
	}
	return c.oneServes(nodes)
}

func (c *Cluster) nodes() (nodes []*node.Node) {
	for _, h := range c.Hosts {
		if n, _ := h.Node(); n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (c *Cluster) id(name string) node.ID {
	for _, n := range c.nodes() {
		if n.ID().Name == name {
			return n.ID()
		}
	}
	return node.ID{Name: name}
}

// oneServes says whether each partition is served, and by its owner alone.
func (c *Cluster) oneServes(nodes []*node.Node) error {
	if len(nodes) == 0 {
		return nil
	}
	table := nodes[0].View().Table
	for _, n := range nodes {
		for p, serves := range inspect.Of(n).Serving() {
			if owner := table.Owner(p); serves != (owner == n.ID().Name) {
				return fmt.Errorf("partition %d: that %s serves it is %v, the owner is %s", p, n.ID().Name, serves, owner)
			}
		}
	}
	return nil
}

func (c *Cluster) sameDigests() error {
	nodes := c.nodes()
	if len(nodes) == 0 {
		return nil
	}
	for _, n := range nodes {
		if dirty := inspect.Of(n).Dirty(); dirty > 0 {
			return fmt.Errorf("%d keys of %s are on their way", dirty, n.ID().Name)
		}
	}
	table := nodes[0].View().Table
	for p := range ring.Partitions {
		holders := table.Holders(p)
		var first *node.Node
		for _, n := range nodes {
			digest := inspect.Of(n).Store.Digest(p)
			switch holds := slices.Contains(holders, n.ID().Name); {
			case !holds && digest != 0:
				return fmt.Errorf("partition %d: %s holds something and is not one of %v", p, n.ID().Name, holders)
			case holds && first == nil:
				first = n
			case holds && digest != inspect.Of(first).Store.Digest(p):
				return fmt.Errorf("partition %d: the copies of %s and %s differ", p, first.ID().Name, n.ID().Name)
			}
		}
	}
	return nil
}

// sameRecords compares every copy of every record, byte by byte.
func (c *Cluster) sameRecords() error {
	nodes := c.nodes()
	if len(nodes) == 0 {
		return nil
	}
	table := nodes[0].View().Table
	for p := range ring.Partitions {
		var first map[string][]byte
		for _, n := range nodes {
			if !slices.Contains(table.Holders(p), n.ID().Name) {
				continue
			}
			held := make(map[string][]byte)
			for _, rec := range inspect.Of(n).Store.Records(p) {
				held[rec.Key()] = rec.Append(nil)
			}
			if first == nil {
				first = held
			}
			if len(held) != len(first) {
				return fmt.Errorf("partition %d: equal digests, and %d records beside %d at %s", p, len(first), len(held), n.ID().Name)
			}
			for key, b := range held {
				if !bytes.Equal(b, first[key]) {
					return fmt.Errorf("partition %d: equal digests, and two versions of %q", p, key)
				}
			}
		}
	}
	return nil
}

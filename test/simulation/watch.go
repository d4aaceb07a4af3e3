package simulation

import (
	"cmp"
	"time"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
)

// watchEvery is how often the owners are counted, and watchQuiet how often
// while the cluster is left alone.
const (
	watchEvery = 5 * time.Millisecond
	watchQuiet = 250 * time.Millisecond
)

// Watch looks until the returned function is called that no partition is served
// by two nodes at one moment. While the network is cut that is promised in mode
// majority alone, and not looked at in the other. Nothing takes less than
// defaultDelay from one host to another, so all that is read in one instant of
// virtual time is of one moment.
func (c *Cluster) Watch() (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			every := cmp.Or(c.options.WatchEvery, watchEvery)
			if c.quiet.Load() {
				every = watchQuiet
			}
			select {
			case <-ending:
				return
			case <-time.After(every):
			}
			if c.hasOneOwner() {
				c.countOwners()
			}
		}
	}()
	return func() {
		close(ending)
		<-ended
	}
}

// hasOneOwner says whether each partition is to have one owner at most now: but
// for a cut in mode available, and for nodes that founded a cluster of their own.
func (c *Cluster) hasOneOwner() bool {
	return (c.options.Mode == node.PartitionMajority || !c.history.splitNow()) && !c.history.areApart()
}

func (c *Cluster) countOwners() {
	var owner [ring.Partitions]*Host
	for _, h := range c.Running() {
		n, p := h.Node()
		if n == nil {
			continue
		}
		serving := inspect.Of(n).Serving()
		if p.Paused() || p.Context().Err() != nil {
			continue // meanwhile
		}
		for i, serves := range serving {
			if !serves {
				continue
			}
			if other := owner[i]; other != nil {
				c.history.Break("two owners: partition %d is served by %s and by %s", i, other.Name, h.Name)
				return
			}
			owner[i] = h
		}
	}
}

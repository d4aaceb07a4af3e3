package simulation

import (
	"net/netip"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
)

// impairment is one thing that is wrong with the network. Several may hold at
// the same time: every path and port is what all of them together make of it,
// so the end of one does not end another.
type impairment struct {
	// path changes how one host reaches another, and port what becomes of new
	// connections to a port; nil for no change.
	path func(from, to *Host, p *Path)
	port func(from, to *Host, port int) PortFault
	// cut says that it is nothing but a cut which both sides see at once.
	cut bool
}

// gossipPort is where members gossip, by packets and by connections.
const gossipPort = 8084

// impair begins an impairment, which the returned function ends.
func (c *Cluster) impair(i *impairment) (end func()) {
	c.shaping.Lock()
	defer c.shaping.Unlock()
	c.impairments = append(c.impairments, i)
	c.reshapeLocked()
	return func() {
		c.shaping.Lock()
		defer c.shaping.Unlock()
		c.impairments = slices.DeleteFunc(c.impairments, func(o *impairment) bool { return o == i })
		c.reshapeLocked()
	}
}

func (c *Cluster) reshapeLocked() {
	all := c.all()
	for _, a := range all {
		for _, b := range all {
			if a == b {
				continue
			}
			want := Path{Delay: c.options.Delay}
			ports := map[int]PortFault{peerPort: PortOpen, gossipPort: PortOpen}
			for _, i := range c.impairments {
				if i.path != nil {
					i.path(a, b, &want)
				}
				for port := range ports {
					if i.port != nil && ports[port] == PortOpen {
						ports[port] = i.port(a, b, port)
					}
				}
			}
			c.Net.Change(a.Address, b.Address, func(p *Path) { *p = want })
			for port, fault := range ports {
				c.Net.SetPort(a.Address, netip.AddrPortFrom(b.Address, uint16(port)), fault)
			}
		}
	}
	c.noteChange()
	c.noteReachLocked()
}

// noteChange notes that something was done to the cluster just now.
func (c *Cluster) noteChange() { c.changed.Store(int64(c.Elapsed())) }

// pathOf is what the impairments make of the path between two hosts.
func (c *Cluster) pathOfLocked(a, b *Host) Path {
	p := Path{}
	for _, i := range c.impairments {
		if i.path != nil {
			i.path(a, b, &p)
		}
	}
	return p
}

// linkedLocked says whether two hosts can have a connection for their nodes'
// link: packets pass both ways, and one of them may dial.
func (c *Cluster) linkedLocked(a, b *Host) bool {
	return c.asksLocked(a, b) || c.asksLocked(b, a)
}

// asksLocked says whether a host can have a connection that it dials to the node
// of another, and ask it over that: packets pass both ways.
func (c *Cluster) asksLocked(from, to *Host) bool {
	return !c.pathOfLocked(from, to).Cut && !c.pathOfLocked(to, from).Cut && !slices.ContainsFunc(c.impairments, func(i *impairment) bool {
		return i.port != nil && i.port(from, to, peerPort) != PortOpen
	})
}

// noteReachLocked opens a window when one of two running hosts can ask the other
// neither directly nor through a third one: from then on, in mode available,
// both may serve. It stays open until all have found together again.
func (c *Cluster) noteReachLocked() {
	if c.options.Mode == node.PartitionMajority || c.history.splitNow() || c.wholeLocked() {
		return
	}
	c.history.split()
}

func (c *Cluster) wholeLocked() bool {
	running := c.Running()
	for _, a := range running {
		for _, b := range running {
			if a != b && !c.asksLocked(a, b) && !slices.ContainsFunc(running, func(third *Host) bool {
				return third != a && third != b && c.asksLocked(a, third) && c.asksLocked(third, b)
			}) {
				return false
			}
		}
	}
	return true
}

// noteReach is called when a host has begun or ceased to run.
func (c *Cluster) noteReach() {
	c.shaping.Lock()
	defer c.shaping.Unlock()
	c.noteChange()
	c.noteReachLocked()
}

// whole says whether all running hosts can ask each other, directly or through a
// third one.
func (c *Cluster) whole() bool {
	c.shaping.Lock()
	defer c.shaping.Unlock()
	return c.wholeLocked()
}

// closeWindows ends each window once the network is whole and the nodes agree,
// until stopped. It looks into the nodes without a lock of its own.
func (c *Cluster) closeWindows(stopped <-chan struct{}) {
	for {
		select {
		case <-stopped:
			return
		case <-time.After(100 * time.Millisecond):
		}
		if c.history.splitNow() && c.whole() && c.Settled() == nil && c.whole() {
			c.history.rejoined()
		}
	}
}

// tendWindows closes windows until the returned function is called.
func (c *Cluster) tendWindows() (stop func()) {
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		c.closeWindows(stopped)
	}()
	return func() {
		close(stopped)
		<-ended
	}
}

// served is after how long without a change every call must be served where a
// majority is connected.
const served = 5 * time.Second

// mustServe says whether a call for a key through a host's node that began and
// ended at these times had to be served: nothing has changed since a while, and
// the host reaches, as each of them does, more than half of all hosts that
// there are, one of which has the session; it need not exist if nothing is wrong
// at all. In mode majority they also are more than half of those who count: one
// that has ended in a crash counts until it is back, and one that was drained
// does not before it is.
func (c *Cluster) mustServe(door *Host, key string, began time.Duration) bool {
	c.shaping.Lock()
	defer c.shaping.Unlock()
	if began-time.Duration(c.changed.Load()) < served || slices.ContainsFunc(c.Hosts, func(h *Host) bool { return h.astray.Load() }) {
		return false
	}
	for _, i := range c.impairments {
		if !i.cut {
			return false
		}
	}
	running := c.Running()
	var side []*Host
	for _, h := range running {
		if h == door || c.linkedLocked(door, h) {
			side = append(side, h)
		}
	}
	if 2*len(side) <= c.members() {
		return false
	}
	names := doorRing(door)
	for _, h := range side {
		for _, other := range running {
			if in := slices.Contains(side, other); other != h && c.linkedLocked(h, other) != in {
				return false // it is not a clean cut
			}
		}
		if !slices.Contains(names, h.Name) {
			return false // held off the ring, as who crashes again and again is
		}
	}
	if c.history.majority && !haveElectors(side) {
		return false
	}
	if len(c.impairments) == 0 && len(running) == c.members() {
		return true
	}
	return slices.ContainsFunc(side, func(h *Host) bool {
		n, _ := h.Node()
		return n != nil && holds(n, key)
	})
}

// outlivedBy says whether those who count without a host could decide something if
// its node ended: where they could not, the cluster would refuse for good. It may
// be that few count, since others have left in order and were not counted in again.
func (c *Cluster) outlivedBy(dead *Host) bool {
	others := slices.DeleteFunc(slices.Clone(c.Hosts), func(h *Host) bool { return h == dead })
	return !haveElectors(c.Hosts) || haveElectors(others)
}

// haveElectors says whether most of those who count, by the newest roster that
// is known on some hosts, are on these.
func haveElectors(hosts []*Host) bool {
	var newest uint64
	var electors, boots []string
	for _, h := range hosts {
		n, p := h.Node()
		if n == nil || h.Router {
			continue
		}
		if boots = append(boots, n.ID().String()); !p.Paused() { // which may hold its locks
			if version, counting := inspect.Of(n).Roster(); version >= newest {
				newest, electors = version, counting
			}
		}
	}
	here := 0
	for _, boot := range boots {
		if slices.Contains(electors, boot) {
			here++
		}
	}
	return 2*here > len(electors)
}

func doorRing(door *Host) []string {
	n, _ := door.Node()
	if n == nil {
		return nil
	}
	return n.View().Table.Members()
}

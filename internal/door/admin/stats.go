package admin

import (
	"encoding/json"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

// Stats returns the member's figures and counters.
func (e *Endpoint) Stats() adminapi.Stats {
	a := e.figures()
	a.Counters = e.cfg.Counters.Values()
	return a
}

// ServeStats answers with the figures of this node, to an endpoint elsewhere
// that asks with mesh.TypeStats. It may wait for operations that hold
// partitions.
func (e *Endpoint) ServeStats() ([]byte, error) { return json.Marshal(e.Stats()) }

// figures are the stats without the counters.
func (e *Endpoint) figures() adminapi.Stats {
	view, cfg := e.cfg.View(), &e.cfg
	a := adminapi.Stats{
		Name: cfg.Self.Name, Role: string(cfg.Role), State: cfg.State().String(), Uptime: cfg.Uptime().Seconds(),
		Fingerprint: view.Table.Fingerprint(), HTTPClients: cfg.HTTPClients(), HTTPBodyBytes: cfg.HTTPBodyBytes(),
	}
	a.SessionsLost, _ = cfg.Census.Lost()
	a.Missing, a.MostNodes, a.MemoryShort = e.missing(), cfg.Census.MostNodes(), cfg.Census.MemoryShort()
	if cfg.Node != nil {
		a.Partitions.Owned = view.Table.Owned(cfg.Self.Name)
		cfg.Node.addTo(&a)
	}
	return a
}

// missing is who is missing, in the form of the answers.
func (e *Endpoint) missing() []adminapi.Missing {
	list := []adminapi.Missing{}
	for _, m := range e.cfg.Census.Missing() {
		list = append(list, adminapi.Missing{Name: m.Name, Boot: m.Boot, Role: string(m.Role), Since: m.Since, LastSeen: m.LastSeen, Ended: m.Ended})
	}
	return list
}

// addTo adds the figures that only a node has.
func (n *Node) addTo(a *adminapi.Stats) {
	s := n.Store.Stats()
	a.Sessions, a.Tombstones, a.Bytes = int(s.Sessions), int(s.Tombstones), s.Bytes
	a.TombstoneBytes, a.Compacted, a.MemoryLimit, a.Full = s.Dead, s.Compacted, s.Limit, n.Store.Full()
	a.LongestHold = millis(s.LongestHold)
	a.Partitions.Warm, a.Partitions.Cold = n.Gate.Counts()
	a.BelowTarget, a.CopiesDue = n.BelowTarget(), n.CopiesDue()
	if s.Limit > 0 {
		a.OverLimit = max(0, s.Bytes-s.Dead-s.Limit)
	}
	dirty, age := n.Copies.Lag()
	a.Dirty, a.Lag = dirty, millis(age)
	a.Split = n.SplitSuspected()
	a.Electors = n.Electors()
	a.ClockOff, a.ClockHost = millis(n.ClockOff()), millis(n.ClockHost())
	if n.Disk != nil {
		d := n.Disk()
		a.Disk = &d
	}
	if n.Upstream != nil {
		u := n.Upstream()
		a.Upstream = &u
	}
	if n.Redis != nil {
		a.RedisClients, a.RedisSubscribers, a.RedisBufferBytes = n.Redis()
	}
}

package node

import (
	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/upstream"
)

// openUpstream makes what sessions are taken over from, where there is such a
// thing. It connects to nothing.
func (n *Node) openUpstream() (err error) {
	if n.cfg.Upstream == "" || n.cfg.Role != RoleNode {
		return nil
	}
	n.upstream, err = upstream.New(upstream.Config{
		URL: n.cfg.Upstream, Password: n.cfg.UpstreamPassword, TLS: n.cfg.UpstreamTLS, Dial: n.cfg.Network.Dial,
		Clock: n.clock, Log: n.cfg.Log, Counters: n.nodeCounters(),
	})
	if err != nil {
		return &FieldError{Field: "Upstream", Reason: err.Error(), Err: err}
	}
	return nil
}

// takesOver is what sessions are taken over from; nil for nothing.
func (n *Node) takesOver() dispatch.Upstream {
	if n.upstream == nil {
		return nil
	}
	return n.upstream
}

// sweep forgets what has ended, and returns the keys, max at most, of sessions
// that were served here. What can be taken over is ended there first: by its
// owner, by the holders of copies, in case that the owner has crashed, and once
// more when its tombstone is forgotten, in case that the first delete was lost.
func (n *Node) sweep(max int) (ended []string) {
	if n.upstream == nil {
		ended, _ = n.store.Sweep(max)
		return ended
	}
	n.upstream.BeginSweep()
	ended, forgotten := n.store.SweepAll(max)
	n.upstream.EndSweep(forgotten)
	return ended
}

// closeUpstream is called when nothing asks any more.
func (n *Node) closeUpstream() {
	if n.upstream == nil {
		return
	}
	if err := n.upstream.Close(); err != nil {
		n.cfg.Log.Debug("close the connections to the old Redis", "error", err)
	}
}

// upstreamStats are what operators are told of it; nil without one.
func (n *Node) upstreamStats() func() adminapi.Upstream {
	if n.upstream == nil {
		return nil
	}
	return func() adminapi.Upstream {
		s := n.upstream.Stats()
		a := adminapi.Upstream{Address: s.Address, Taken: s.Taken, Lately: s.Lately, Ending: s.Ending, Dropped: s.Dropped}
		if s.Err != nil {
			a.Error = s.Err.Error()
		}
		return a
	}
}

package public

import (
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
)

// Owners names the members that serve a key, by this member's view and by the
// claims in force.
type Owners struct {
	View   func() *member.View
	Decide func(p int) ownership.Decision
}

// Of returns the member that serves partition p, nil if none is there. A claim
// in force counts before the ring, which may be about to move the partition.
func (o Owners) Of(view *member.View, p int) *member.Member {
	if d := o.Decide(p); d.Verdict != ownership.Wait {
		return view.Member(d.Owner)
	}
	return view.Named(view.Table.Owner(p))
}

// Route names the member that serves a key, and the one that will if it has
// ended.
func (o Owners) Route(key string) router.Route {
	view := o.View()
	p := ring.Partition(key)
	return router.Route{
		Fingerprint: view.Table.Fingerprint(),
		Owner:       Target(o.Of(view, p)),
		Successor:   Target(view.Named(view.Table.FirstSuccessor(p))),
	}
}

// Target is where a member is reached; nil is none.
func Target(m *member.Member) router.Target {
	if m == nil {
		return router.Target{}
	}
	return router.Target{Name: m.Name, Boot: m.Boot, HTTP: m.HTTP}
}

package admin

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// LinksOf returns the links of a mesh. since is the time since the member's
// start.
func LinksOf(m *mesh.Mesh, since func() time.Duration) Links { return meshLinks{m, since} }

type meshLinks struct {
	mesh  *mesh.Mesh
	since func() time.Duration
}

// Link implements Links.
func (m meshLinks) Link(id member.ID) (Link, bool) {
	l := m.mesh.Link(id)
	if l == nil {
		return Link{}, false
	}
	seen := Link{Connected: l.Connected(), Relayed: l.Relayed(), Ring: l.Ring(), ClockOffset: l.ClockOffset(), LastHeard: -1}
	if heard := l.LastHeard(); heard > 0 {
		seen.LastHeard = m.since() - heard
	}
	return seen, true
}

// Heard implements Links.
func (m meshLinks) Heard() (ids []member.ID) {
	for _, l := range m.mesh.Links() {
		if l.HeardLately() {
			ids = append(ids, l.ID())
		}
	}
	return ids
}

// Ask implements Links.
func (m meshLinks) Ask(ctx context.Context, id member.ID, typ byte, question []byte) ([]byte, error) {
	l := m.mesh.Link(id)
	if l == nil {
		return nil, mesh.ErrNoLink
	}
	return l.Call(ctx, typ, question)
}

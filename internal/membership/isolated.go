package membership

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

const (
	// linksEvery is how often a node on the ring looks at its links, and
	// isolatedFor how many looks in a row must find that they do not work, or
	// do again. Looks are counted, and time is not: after a standstill all is
	// old.
	linksEvery  = time.Second
	isolatedFor = 5
	linkedFor   = 2
)

// links is why a member is unfit whose links do not work.
const links = "links"

// WatchLinks takes this node off the ring, until ctx ends, for as long as its
// links do not work though gossip passes: nobody could pass requests to it, and
// each claim would wait for its answer.
func (m *Members) WatchLinks(ctx context.Context) {
	looks := 0 // in a row that found other than what is told
	wait.Every(ctx, linksEvery, func() {
		if m.State() != member.StateReady {
			return
		}
		isolated, broken := m.cfg.Isolated()
		isolated = isolated && m.gossipPasses(broken)
		if isolated == m.IsIsolated() || !isolated && m.yields() {
			looks = 0
			return
		}
		looks++
		switch {
		case planted.Is(planted.ServesUnreached):
		case isolated && looks >= isolatedFor:
			m.isolate(fmt.Sprintf("the links with %s do not work in both directions: can they reach the peer port of this node, %s, and does it reach theirs?", strings.Join(broken, ", "), m.self().Peer))
			looks = 0
		case !isolated && looks >= linkedFor:
			m.isolate("")
			looks = 0
		}
	})
}

// gossipPasses says whether one of the nodes of these names has answered a
// packet of gossip lately: else it is no port that is closed.
func (m *Members) gossipPasses(names []string) bool {
	now := m.cfg.Clock.Since()
	return slices.ContainsFunc(m.gossip.snapshot(), func(h heard) bool {
		return h.Pinged > 0 && now-h.Pinged < pingedLate && slices.Contains(names, h.ID.Name)
	})
}

// yields says whether another node goes first: where none is on the ring this
// one has no broken links with any, and neither have the others.
func (m *Members) yields() bool {
	first := true
	for _, who := range m.View().Members {
		alive := (who.Up || who.Unreached) && who.Role == member.RoleNode && who.State == member.StateReady
		switch {
		case !alive || who.ID == m.cfg.Self:
		case !who.Unfit:
			return false
		case who.Name < m.cfg.Self.Name:
			first = false
		}
	}
	return !first
}

// IsIsolated says whether this node is off the ring because of its links.
func (m *Members) IsIsolated() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unfit[links] != ""
}

func (m *Members) isolate(why string) {
	if why == "" {
		m.cfg.Log.Info("the links work again")
		m.cfg.Events.Add("links-work", "member", m.cfg.Self.Name)
	} else {
		m.cfg.Log.Error("this node owns nothing", "why", why)
		m.cfg.Events.Add("isolated", "member", m.cfg.Self.Name, "why", why)
	}
	if err := m.SetUnfit(links, why); err != nil {
		m.cfg.Log.Error("tell the others whether the links work", "error", err)
	}
}

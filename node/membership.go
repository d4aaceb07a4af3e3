package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
)

// keepDead is how long a member that has ended is still shown.
const keepDead = time.Minute

// membership joins what gossip says with what the peer links see, and
// publishes the view. Its loop is the only writer of views.
type membership struct {
	node   *Node
	self   ID
	gossip *gossip
	params ring.Params
	view   atomic.Pointer[View]
	wake   wait.Wake

	mu     sync.Mutex // guards what follows
	own    Meta
	gone   map[ID]string              // why a boot is gone, until gossip forgets it or it answers again
	told   map[ID]State               // what boots said of themselves on the peer link, ahead of gossip
	deaths map[string][]time.Duration // when boots of a name ended without a good-bye, for a minute
}

func newMembership(n *Node, self ID, own Meta, params ring.Params) (*membership, error) {
	m := &membership{
		node: n, self: self, own: own, params: params,
		wake: wait.NewWake(), gone: make(map[ID]string), told: make(map[ID]State), deaths: make(map[string][]time.Duration),
	}
	empty, err := member.NewView(self, nil, params, nil)
	if err != nil {
		return nil, err
	}
	m.view.Store(empty)
	return m, nil
}

func (m *membership) run(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		m.update()
		select {
		case <-ctx.Done():
			return
		case <-m.gossip.wake:
		case <-m.wake:
		case <-tick.C:
			m.gossip.forget(m.node.clock.Now().Add(-keepDead))
		}
	}
}

// update computes the view from the newest facts and, if it differs, publishes
// it and lets links and ownership follow.
func (m *membership) update() {
	last := m.view.Load()
	members := m.collect()
	if last.Shows(members) {
		return
	}
	view, err := member.NewView(m.self, members, m.params, last)
	if err != nil {
		m.node.log.Error("no ring from this view, the last one stays", "error", err)
		return
	}
	m.view.Store(view)
	m.node.viewChanged(last, view)
	m.node.pulse.Beat()
}

// collect returns all members, sorted as a View has them.
func (m *membership) collect() []*Member {
	all := m.gossip.snapshot()
	answers := make(map[ID]bool)
	for _, h := range all {
		l := m.node.linkTo(h.ID)
		answers[h.ID] = l != nil && l.connected() // which it is not after two seconds of silence
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	members := []*Member{{ID: m.self, Meta: m.own, Gossip: m.gossip.addr, Up: true, Since: m.node.clock.Started()}}
	newest := map[string]string{m.self.Name: m.self.Boot}
	known := make(map[ID]bool, len(all))
	for _, h := range all {
		known[h.ID] = true
		if h.Alive && m.gone[h.ID] == "" && h.ID.Boot > newest[h.ID.Name] && h.ID.Name != m.self.Name {
			newest[h.ID.Name] = h.ID.Boot
		}
	}
	// A boot that answers on its link keeps its name: a newer one with the same
	// name is an intruder, which will find that out and leave.
	for _, h := range all {
		if answers[h.ID] && h.Alive && m.gone[h.ID] == "" {
			newest[h.ID.Name] = h.ID.Boot
		}
	}
	for _, h := range all {
		gone := m.gone[h.ID] != ""
		meta := h.Meta
		meta.State = max(meta.State, m.told[h.ID]) // states only go forward
		members = append(members, &Member{
			ID: h.ID, Meta: meta, Gossip: h.Gossip, Since: h.Since, Gone: gone || !h.Alive, Refused: gone, Left: h.Left && !h.Alive,
			Up: h.Alive && !gone && newest[h.ID.Name] == h.ID.Boot,
		})
	}
	for id := range m.gone {
		if !known[id] {
			delete(m.gone, id)
		}
	}
	for id := range m.told {
		if !known[id] {
			delete(m.told, id)
		}
	}
	member.Sort(members)
	return members
}

// setGone records that a boot's process has ended: its link broke or could not
// be made, and a dial was refused, or its address answers as another boot.
func (m *membership) setGone(id ID, why string) {
	m.mu.Lock()
	_, already := m.gone[id]
	m.gone[id] = why
	m.mu.Unlock()
	if !already {
		m.node.log.Warn("member is gone", "member", id.Name, "boot", id.Boot, "why", why)
		m.node.events.Add("gone", "member", id.Name, "boot", id.Boot, "why", why)
		m.wake.Kick()
	}
}

// setBack takes setGone back: the boot has answered.
func (m *membership) setBack(id ID) {
	m.mu.Lock()
	_, was := m.gone[id]
	delete(m.gone, id)
	m.mu.Unlock()
	if was {
		m.node.log.Info("member answers again", "member", id.Name, "boot", id.Boot)
		m.wake.Kick()
	}
}

// isGone says whether a boot's process is held to have ended.
func (m *membership) isGone(id ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone[id] != ""
}

// setTold records what a boot said of itself on the peer link.
func (m *membership) setTold(id ID, state State) {
	m.mu.Lock()
	news := state > m.told[id]
	if news {
		m.told[id] = state
	}
	m.mu.Unlock()
	if news {
		m.wake.Kick()
	}
}

// setState changes what this member says of itself, here at once and to the
// others by gossip and on the peer links.
func (m *membership) setState(s State) error {
	m.mu.Lock()
	m.own.State = s
	meta := m.own
	m.mu.Unlock()
	m.wake.Kick()
	return m.gossip.announce(meta)
}

// setAppDown changes what this member says of the application beside it.
func (m *membership) setAppDown(down bool) error {
	m.mu.Lock()
	m.own.AppDown = down
	meta := m.own
	m.mu.Unlock()
	m.wake.Kick()
	return m.gossip.announce(meta)
}

func (m *membership) state() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own.State
}

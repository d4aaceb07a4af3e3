package node

import (
	"context"
	"slices"
	"time"
)

const (
	// enterWait bounds how long a node that starts waits to have heard from
	// every other one before it takes its place on the ring.
	enterWait = time.Second
	// A name whose boots ended flapDeaths times within flapWindow without a
	// good-bye is kept off the ring for flapHold, doubled for each death more,
	// flapMost at most: its partitions shall not move to and fro each time.
	flapWindow = time.Minute
	flapDeaths = 3
	flapHold   = 5 * time.Second
	flapMost   = time.Minute
)

// enter takes this node's place on the ring. Before that it waits until it has
// heard from all other nodes, so that its first ring is the one that they
// have, and until they let it in: see holdOff.
func (n *Node) enter(ctx context.Context) error {
	deadline := n.since() + enterWait
	if n.pulse.Until(ctx, recheck, func() bool { return n.heardAll() || n.since() >= deadline }) != nil {
		return context.Cause(ctx)
	}
	if err := n.checkName(ctx); err != nil { // started at the same moment as this one
		return err
	}
	hold := n.holdOff()
	if hold == 0 {
		return n.ready()
	}
	n.log.Warn("kept off the ring: boots of this name have ended too often", "name", n.id.Name, "within", flapWindow, "for", hold)
	n.events.Add("held-off", "member", n.id.Name, "ms", hold.Milliseconds())
	n.group.Go(func() {
		select {
		case <-n.ctx.Done():
		case <-time.After(hold):
			if err := n.ready(); err != nil {
				n.log.Error("take a place on the ring", "error", err)
			}
		}
	})
	return nil
}

func (n *Node) ready() error {
	if n.members.state() != StateJoining {
		return nil // drained before it was ready
	}
	return n.members.setState(StateReady)
}

// heardAll says whether every other node that takes part has answered once.
func (n *Node) heardAll() bool {
	view := n.View()
	return !slices.ContainsFunc(view.Members, func(m *Member) bool {
		if m.ID == n.id || !m.Up || m.Role != RoleNode {
			return false
		}
		l := n.linkTo(m.ID)
		return l == nil || l.heard.Load() == 0
	})
}

// holdOff returns how long this node has to wait by what the others say of its
// name's past.
func (n *Node) holdOff() time.Duration {
	deaths := 0
	for _, l := range n.allLinks() {
		deaths = max(deaths, int(l.deaths.Load()))
	}
	if deaths < flapDeaths {
		return 0
	}
	return min(flapMost, flapHold<<min(deaths-flapDeaths, 8))
}

// deathsOf returns how many boots of a name have ended without a good-bye
// within the last minute, as this member saw it.
func (m *membership) deathsOf(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pruneDeathsLocked()
	return min(len(m.deaths[name]), 255)
}

// noteDeath records that a boot has ended without a good-bye.
func (m *membership) noteDeath(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaths[name] = append(m.deaths[name], m.node.since())
	m.pruneDeathsLocked()
}

// pruneDeathsLocked forgets the deaths that count no more, of all names: one
// that never comes back is asked for by nobody.
func (m *membership) pruneDeathsLocked() {
	now := m.node.since()
	for name, ends := range m.deaths {
		if ends = slices.DeleteFunc(ends, func(at time.Duration) bool { return now-at > flapWindow }); len(ends) > 0 {
			m.deaths[name] = ends
		} else {
			delete(m.deaths, name)
		}
	}
}

package membership

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

const (
	// enterWait bounds how long a node that starts waits to have heard from
	// every other one before it takes its place on the ring.
	enterWait = time.Second
	// clusterWait is how long it waits for a cluster before it goes on waiting
	// in the background.
	clusterWait = 5 * time.Second
	// recheck is how often that wait looks all the same.
	recheck = 20 * time.Millisecond
	// aloneWarn is after what time a router warns that it knows no node.
	aloneWarn = 5 * time.Second
)

// Enter takes this member's place on the ring. Before that it waits until there
// is a cluster to join or to found, until its links work in both directions
// with most of it, as a node that others cannot ask would hold them up, and
// until heardAll says that all other nodes have been heard, so that its first
// ring is the one that they have. Where that takes long, or boots of its name
// have ended too often, it returns, and takes the place later, unless ctx ends.
// It fails with the cause of ctx, and where another process has this member's
// name.
func (m *Members) Enter(ctx context.Context, heardAll func() bool) error {
	if m.self().Waits {
		m.cfg.Go(m.tellWait)
	}
	if !m.await(ctx, clusterWait, m.mayEnter) && ctx.Err() == nil {
		return m.enterLater(heardAll)
	}
	return m.enter(ctx, heardAll)
}

// await waits until something is so, and says whether it is.
func (m *Members) await(ctx context.Context, limit time.Duration, is func() bool) bool {
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return m.cfg.Pulse.Until(wctx, recheck, is) == nil
}

// hasCluster says whether this member has joined a cluster, or is one of so
// many that may found one.
func (m *Members) hasCluster() bool {
	if m.knowsCluster() || planted.Is(planted.FoundsAlone) || m.self().Role == member.RoleRouter {
		return true
	}
	nodes := 1
	for _, who := range m.View().Members {
		if who.Up && who.Role == member.RoleNode && who.ID != m.cfg.Self {
			nodes++
		}
	}
	if names, _ := m.awaited(); len(names) > 0 {
		return false
	}
	return m.cfg.Expect > 0 && nodes >= m.cfg.Expect && (nodes > 1 || m.cfg.Clock.Since() >= m.cfg.FoundAfter)
}

// awaited returns the nodes that this member waits for before it founds a
// cluster, and why, so that no session is told as missing that one of them has,
// nor told as it was before: see missed. One without sessions waits for those that
// have some, who decide. One that has some waits for another one that waits itself:
// a disk that was put back from a copy knows of nobody who has come since.
func (m *Members) awaited() (names []string, why string) {
	if names = m.missed(); len(names) > 0 {
		return names, fmt.Sprintf("they were in the cluster when this node last ran, and may have sessions that are newer; it goes on without them %v after its start",
			m.cfg.StartWait)
	}
	keeps, patient := m.self().Keeps, m.patient()
	for _, who := range m.View().Members {
		if who.ID != m.cfg.Self && who.Brings() && (!keeps || who.Waits && patient) {
			names = append(names, who.Name)
		}
	}
	if keeps {
		return names, fmt.Sprintf("they wait for others who may have sessions that are newer; this node goes on without them %v after its start", m.cfg.StartWait)
	}
	return names, "of all nodes here they alone have sessions, from their disks"
}

// missed returns the nodes that were there when this one last ran with sessions
// from its disk, and are not yet. A router that ran on may tell of one which has
// ended as alive, so a word of gossip is not enough.
func (m *Members) missed() (names []string) {
	if !m.self().Keeps || !m.patient() {
		return nil
	}
	view := m.View()
	for _, name := range m.cfg.Awaited {
		if who := view.Named(name); (who == nil || !who.Up || !m.cfg.Connected(who.ID)) && name != m.cfg.Self.Name {
			names = append(names, name)
		}
	}
	return names
}

func (m *Members) patient() bool {
	return m.cfg.Clock.Since() < m.cfg.StartWait && !planted.Is(planted.NobodyAwaited)
}

// tellWait tells the others whether this member misses somebody, until it has its
// place on the ring.
func (m *Members) tellWait(ctx context.Context) {
	for m.State() == member.StateJoining {
		changed := func() bool { return m.State() != member.StateJoining || (len(m.missed()) > 0) != m.self().Waits }
		if m.cfg.Pulse.Until(ctx, recheck, changed) != nil {
			return
		}
		waits := len(m.missed()) > 0
		if err := m.announce(func(own *member.Meta) { own.Waits = waits }); err != nil {
			m.cfg.Log.Error("tell whether other nodes are waited for", "error", err)
			return
		}
	}
}

// Loading says whether this member has sessions from its disk and does not serve
// them yet.
func (m *Members) Loading() bool { return m.State() == member.StateJoining && m.self().Keeps }

// mayEnter says whether there is a cluster and this member is linked with it. A
// router has no peer port, and no place on the ring.
func (m *Members) mayEnter() bool {
	if !m.hasCluster() {
		return false
	}
	enough, _ := m.cfg.Linked()
	return enough || m.self().Role == member.RoleRouter
}

// Waiting says why this member has not entered the ring, "" if it has.
func (m *Members) Waiting() string {
	seeds := strings.Join(m.cfg.Seeds, ", ")
	names, why := m.awaited()
	switch {
	case m.State() != member.StateJoining:
		return ""
	case m.mayEnter():
		return "joining"
	case m.hasCluster():
		_, broken := m.cfg.Linked()
		return fmt.Sprintf("the links with %s do not work in both directions: can they reach the peer port of this node, %s, and does it reach theirs?",
			strings.Join(broken, ", "), m.self().Peer)
	case len(names) > 0:
		return "waits for " + strings.Join(names, ", ") + ": " + why
	case m.cfg.Expect == 1:
		return fmt.Sprintf("a cluster that knows this node's address may reach it; if none does within %v of its start, it founds one", m.cfg.FoundAfter)
	default:
		return fmt.Sprintf("no seed lets this node join: %s; do they run, with the same cluster name and gossip key? (%d nodes that see each other found a cluster)", seeds, m.cfg.Expect)
	}
}

// enterLater enters when there is a cluster that this member is linked with,
// however long that takes: to serve alone would be to answer for sessions that
// others hold.
func (m *Members) enterLater(heardAll func() bool) error {
	why := m.Waiting()
	m.cfg.Log.Warn("not serving yet", "why", why)
	m.cfg.Events.Add("waiting", "member", m.cfg.Self.Name, "why", why)
	m.cfg.Go(func(ctx context.Context) {
		if m.cfg.Pulse.Until(ctx, recheck, m.mayEnter) != nil {
			return
		}
		if err := m.enter(ctx, heardAll); err != nil && ctx.Err() == nil {
			m.cfg.Log.Error("take a place on the ring", "error", err)
		}
	})
	return nil
}

// enter takes the place when all others were heard.
func (m *Members) enter(ctx context.Context, heardAll func() bool) error {
	deadline := m.cfg.Clock.Since() + enterWait
	if m.cfg.Pulse.Until(ctx, recheck, func() bool { return heardAll() || m.cfg.Clock.Since() >= deadline }) != nil {
		return context.Cause(ctx)
	}
	if err := m.CheckName(ctx); err != nil { // started at the same moment as this one
		return err
	}
	hold := m.holdOff()
	if hold == 0 {
		return m.ready()
	}
	name := m.cfg.Self.Name
	m.cfg.Log.Warn("kept off the ring: boots of this name have ended too often", "name", name, "within", flapWindow, "for", hold)
	m.cfg.Events.Add("held-off", "member", name, "ms", hold.Milliseconds())
	m.cfg.Go(func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-time.After(hold):
			if err := m.ready(); err != nil {
				m.cfg.Log.Error("take a place on the ring", "error", err)
			}
		}
	})
	return nil
}

func (m *Members) ready() error {
	if m.State() != member.StateJoining {
		return nil // drained before it was ready
	}
	if m.self().Role == member.RoleNode && !m.knowsCluster() {
		// Worth a line: a cluster that there was is not known here.
		m.cfg.Log.Info("founded a cluster", "member", m.cfg.Self.Name)
		m.cfg.Events.Add("founded", "member", m.cfg.Self.Name)
	}
	return m.SetState(member.StateReady)
}

// knowsCluster says whether another node takes part that has its place on the
// ring, or had.
func (m *Members) knowsCluster() bool {
	return slices.ContainsFunc(m.View().Members, func(who *member.Member) bool {
		return who.Up && who.Role == member.RoleNode && who.ID != m.cfg.Self && who.State > member.StateJoining
	})
}

// WarnIfAlone warns, once, where this is a router that was told of no member to
// join and that none has joined: it would refuse all requests for ever.
func (m *Members) WarnIfAlone(ctx context.Context) {
	if m.self().Role != member.RoleRouter || len(m.cfg.Seeds) > 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(aloneWarn):
	}
	if len(m.View().Nodes()) == 0 {
		m.cfg.Log.Warn("no node is known, so every request is answered 503: give -join the -gossip address of a member, or start nodes that join this router")
	}
}

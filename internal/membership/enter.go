package membership

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
)

const (
	// enterWait bounds how long a node that starts waits to have heard from
	// every other one before it takes its place on the ring.
	enterWait = time.Second
	// recheck is how often that wait looks all the same.
	recheck = 20 * time.Millisecond
	// aloneWarn is after what time a router warns that it knows no node.
	aloneWarn = 5 * time.Second
)

// Enter takes this member's place on the ring. Before that it waits until
// heardAll says that all other nodes have been heard, so that its first ring is
// the one that they have, and until they let it in: where boots of its name
// have ended too often it returns, and takes the place later, unless ctx ends.
// It fails with the cause of ctx, and where another process has this member's
// name.
func (m *Members) Enter(ctx context.Context, heardAll func() bool) error {
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
	return m.SetState(member.StateReady)
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

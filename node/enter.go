package node

import (
	"context"
	"time"

	"github.com/seed-95a32959/holdfast/internal/membership"
)

const (
	// enterWait bounds how long a node that starts waits to have heard from
	// every other one before it takes its place on the ring.
	enterWait = time.Second
	// recheck is how often a wait for members looks all the same.
	recheck = 20 * time.Millisecond
)

// enter takes this node's place on the ring. Before that it waits until it has
// heard from all other nodes, so that its first ring is the one that they
// have, and until they let it in: see [membership.Members.HoldOff].
func (n *Node) enter(ctx context.Context) error {
	deadline := n.since() + enterWait
	if n.pulse.Until(ctx, recheck, func() bool { return n.mesh.HeardAll() || n.since() >= deadline }) != nil {
		return context.Cause(ctx)
	}
	if err := n.members.CheckName(ctx); err != nil { // started at the same moment as this one
		return err
	}
	hold := n.members.HoldOff()
	if hold == 0 {
		return n.ready()
	}
	n.log.Warn("kept off the ring: boots of this name have ended too often", "name", n.id.Name, "within", membership.FlapWindow, "for", hold)
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
	if n.members.State() != StateJoining {
		return nil // drained before it was ready
	}
	return n.members.SetState(StateReady)
}

// nameTaken stops this member: another process has its name.
func (n *Node) nameTaken(err error) {
	n.log.Error("stopping", "error", err)
	n.cancel(err)
}

// noNodeWarn is after what time a router warns that it knows no node.
const noNodeWarn = 5 * time.Second

// warnOfNoNode warns, once, of a router that was told of no member to join and
// that none has joined: it would refuse all requests for ever.
func (n *Node) warnOfNoNode(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(noNodeWarn):
	}
	if len(n.View().Nodes()) == 0 {
		n.log.Warn("no node is known, so every request is answered 503: give -join the -gossip address of a member, or start nodes that join this router")
	}
}

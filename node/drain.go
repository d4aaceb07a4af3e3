package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
)

// DrainStatus says how far a drain is.
type DrainStatus struct {
	// Partitions are those that this node still serves, or holds something of.
	Partitions int
	// Unsynced counts the records in them: what would be lost, as far as this
	// node knows, if it ended now.
	Unsynced int
}

const (
	drainPoll = 20 * time.Millisecond
	// drainLinger is how long a drained node goes on forwarding, so that every
	// router has stopped sending to it: a few rounds of gossip.
	drainLinger = 500 * time.Millisecond
	httpGrace   = 3 * time.Second
)

var errNobodyThere = errors.New("no other node is there")

// Drain takes the node out of the ring and returns when all that it held is
// confirmed elsewhere, or when ctx ends, with an error that says how much is
// not. progress, if not nil, is called as it goes. The node serves on, by
// forwarding, until [Node.Shutdown].
func (n *Node) Drain(ctx context.Context, progress func(DrainStatus)) error {
	if n.ctx.Err() != nil {
		return ErrStopped
	}
	if progress == nil {
		progress = func(DrainStatus) {}
	}
	if n.cfg.Role != RoleNode {
		progress(DrainStatus{})
		return nil
	}
	if err := n.beginDrain(ctx); err != nil {
		return err
	}
	defer func() { <-n.draining }()
	if n.ctx.Err() != nil { // the drain that this one waited for was followed by the end
		return ErrStopped
	}
	if n.members.State() != StateLeaving {
		n.log.Info("draining", "sessions", n.store.Stats().Sessions)
		n.events.Add("draining", "member", n.id.Name)
		progress(n.drainStatus()) // what there is to do; the announcement takes a moment
		if err := n.members.SetState(StateLeaving); err != nil {
			return fmt.Errorf("drain: %w", err)
		}
	}
	alone := time.Now()
	for {
		status := n.drainStatus()
		progress(status)
		if status.Partitions == 0 {
			// A copy may still arrive from a member that has not heard yet.
			if n.linger(ctx); n.drainStatus().Partitions == 0 {
				n.drained.Store(true)
				return nil
			}
			continue
		}
		if len(n.View().Nodes()) > 0 {
			alone = time.Now()
		} else if status.Unsynced == 0 {
			return nil // nobody is there to take over, and there is nothing to take
		} else if time.Since(alone) > time.Second {
			return fmt.Errorf("drain: %w to take %d records: unsynced=%d", errNobodyThere, status.Unsynced, status.Unsynced)
		}
		n.repairer.Recheck()
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: unsynced=%d: %w", status.Unsynced, ctx.Err())
		case <-n.ctx.Done():
			return ErrStopped
		case <-time.After(drainPoll):
		}
	}
}

// beginDrain waits until no other drain is under way, as long as ctx allows.
func (n *Node) beginDrain(ctx context.Context) error {
	select {
	case n.draining <- struct{}{}:
		return nil // also where ctx has ended: how much is left is to be told
	default:
	}
	select {
	case n.draining <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain: another one is under way: unsynced=%d: %w", n.drainStatus().Unsynced, ctx.Err())
	case <-n.ctx.Done():
		return ErrStopped
	}
}

// startDrain drains the node for an operator, who may leave: it goes on as long
// as DrainTimeout allows. What ended is told says what has become of the node
// where that failed.
func (n *Node) startDrain(progress func(partitions, unsynced int)) (ended <-chan error) {
	end := make(chan error, 1)
	n.group.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.DrainTimeout)
		defer cancel()
		end <- advise(n.Drain(ctx, func(s DrainStatus) { progress(s.Partitions, s.Unsynced) }))
	})
	return end
}

// advise adds to why a drain has failed what has become of the node: unlike
// after a signal it is still there, and only the operator can say what next.
func advise(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrStopped):
		return err
	case errors.Is(err, errNobodyThere):
		return fmt.Errorf("%w; the node stays, out of the ring: start another and drain again, or SIGTERM ends it without them", err)
	default:
		return fmt.Errorf("%w; the node stays, out of the ring: drain again, or SIGTERM ends it", err)
	}
}

func (n *Node) linger(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-n.ctx.Done():
	case <-time.After(drainLinger):
	}
}

func (n *Node) drainStatus() DrainStatus {
	var s DrainStatus
	for p := range ring.Partitions {
		count := n.store.Count(p)
		if n.owner.Gate().Phase(p) != ownership.Away || count > 0 {
			s.Partitions++
			s.Unsynced += count
		}
	}
	return s
}

// Shutdown drains a node, unless that has been done, and stops the member. It
// returns what could not be handed over as an error; ctx bounds the whole.
// Calling it again waits for the first call.
func (n *Node) Shutdown(ctx context.Context) error {
	var err error
	if n.ctx.Err() == nil && !n.drained.Load() {
		dctx, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
		if err = n.Drain(dctx, nil); errors.Is(err, ErrStopped) {
			err = nil
		}
		cancel()
	}
	n.stop(ErrStopped, true)
	return err
}

// stop ends the member: first the doors, so that what is under way is
// answered; then gossip, with a good-bye where there is time for one; then the
// links and every loop. It waits for all of them.
func (n *Node) stop(why error, leave bool) {
	if n.stopping.Swap(true) {
		<-n.done // somebody does it
		return
	}
	close(n.closing)
	if leave {
		n.closeDoors()
	}
	if leave {
		n.members.Leave()
	}
	n.cancel(why)
	if n.redis != nil && !leave {
		n.redis.Shutdown(n.ctx) // which has ended, so it waits for nobody
	}
	for _, l := range n.listeners {
		l.Close()
	}
	if n.admin != nil {
		n.admin.Close()
	}
	if n.endpoint != nil {
		n.endpoint.Cut()
	}
	n.members.Shutdown()
	if n.endpoint != nil {
		n.endpoint.Close()
	}
	if n.replicator != nil {
		n.replicator.Close()
	}
	n.group.Wait()
	n.log.Info("stopped", "name", n.id.Name, "why", why)
	close(n.done)
}

// closeDoors lets the requests under way end.
func (n *Node) closeDoors() {
	ctx, cancel := context.WithTimeout(context.Background(), httpGrace)
	defer cancel()
	if n.redis != nil {
		if err := n.redis.Shutdown(ctx); err != nil {
			n.log.Debug("commands were cut off", "error", err)
		}
	}
	if n.endpoint != nil {
		n.endpoint.Shutdown(ctx)
	}
	if n.admin != nil {
		if err := n.admin.Shutdown(ctx); err != nil {
			n.log.Debug("requests were cut off", "error", err)
		}
	}
}

package node

import (
	"context"
	"errors"
	"time"

	"github.com/seed-95a32959/holdfast/internal/drain"
)

// DrainStatus says how far a drain is: how many partitions the node still
// serves or holds something of, and, as Unsynced, how many records in them
// would be lost, as far as it knows, if it ended now.
type DrainStatus = drain.Status

// grace bounds how long commands under way, and what operators have asked, may
// take to end. Requests have what a drain has left of its time, and as long as
// this at least.
const grace = 3 * time.Second

// Drain takes the node out of the ring and returns when all that it held is
// confirmed elsewhere, or when ctx ends, with an error that says how much is
// not. progress, if not nil, is called as it goes. The node serves on, by
// forwarding, until [Node.Shutdown]. A router holds nothing, so it has nothing
// to drain.
func (n *Node) Drain(ctx context.Context, progress func(DrainStatus)) error {
	if progress == nil {
		progress = func(DrainStatus) {}
	}
	if n.drainer != nil {
		return n.drainer.Run(ctx, progress)
	}
	if n.ctx.Err() != nil {
		return ErrStopped
	}
	progress(DrainStatus{})
	return nil
}

// Shutdown drains a node, unless that has been done, lets the requests under
// way end where they run, and stops the member. It returns what could not be
// handed over as an error, unless no other node is there and all of it is on the
// disk; ctx and Config.DrainTimeout bound the whole. Calling it again waits for
// the first call.
func (n *Node) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
	defer cancel()
	var err error
	if n.ctx.Err() == nil && !(n.drainer != nil && n.drainer.Drained()) {
		if err = n.Drain(ctx, nil); errors.Is(err, ErrStopped) {
			err = nil
		}
	}
	n.stop(ErrStopped, func() { n.answerLast(ctx) })
	if errors.Is(err, ErrNobodyThere) && n.Saved() {
		err = nil
	}
	return err
}

// Saved says, once the node is Done, whether all that it held is on its disk, for
// the next one that starts with it.
func (n *Node) Saved() bool { return n.kept != nil && n.kept.saved }

// stop ends the member: first the endpoints, last letting what is under way be
// answered; then gossip, with a good-bye; then the links and every loop. It
// waits for all of them, and a second caller for the first. Without last it
// ends at once, and says no good-bye.
func (n *Node) stop(why error, last func()) {
	if !n.ending.CompareAndSwap(false, true) {
		<-n.done // not a sync.Once, whose second caller a simulation takes for busy
		return
	}
	close(n.closing)
	if last != nil {
		last()
		n.members.Leave()
	}
	n.cancel(why)
	if n.redis != nil && last == nil {
		_ = n.redis.Shutdown(n.ctx) // which has ended, so it waits for nobody
	}
	n.listeners.close()
	n.operator.Cut()
	n.endpoint.Cut()
	n.members.Shutdown()
	n.endpoint.Close()
	if n.replicator != nil {
		n.replicator.Close()
	}
	n.group.Wait()
	n.closeDisk()
	n.closeUpstream()
	n.cfg.Log.Info("stopped", "name", n.id.Name, "why", why)
	close(n.done)
}

// answerLast lets the requests under way end. Those of the application come
// first, and all endpoints stay open for them: it may read and save sessions at
// this node until it has answered.
func (n *Node) answerLast(ctx context.Context) {
	most, cancel := context.WithTimeout(context.Background(), patience(ctx))
	defer cancel()
	if err := n.pin.AwaitIdle(most); err != nil {
		n.cfg.Log.Warn("the application still works on requests", "after", patience(ctx))
	}
	least, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if n.redis != nil {
		if err := n.redis.Shutdown(least); err != nil {
			n.cfg.Log.Debug("commands were cut off", "error", err)
		}
	}
	n.endpoint.Shutdown(most)
	n.operator.Shutdown(least)
}

// patience is how long requests under way may take to end: until ctx ends, and
// for grace at least.
func patience(ctx context.Context) time.Duration {
	if until, ok := ctx.Deadline(); ok && ctx.Err() == nil {
		return max(grace, time.Until(until))
	}
	return grace
}

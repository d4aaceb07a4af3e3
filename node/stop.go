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

// grace bounds how long requests under way may take to end.
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

// Shutdown drains a node, unless that has been done, and stops the member. It
// returns what could not be handed over as an error; ctx bounds the whole.
// Calling it again waits for the first call.
func (n *Node) Shutdown(ctx context.Context) error {
	var err error
	if n.ctx.Err() == nil && !(n.drainer != nil && n.drainer.Drained()) {
		dctx, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
		if err = n.Drain(dctx, nil); errors.Is(err, ErrStopped) {
			err = nil
		}
		cancel()
	}
	n.stop(ErrStopped, true)
	return err
}

// stop ends the member: first the endpoints, so that what is under way is
// answered; then gossip, with a good-bye where there is time for one; then the
// links and every loop. It waits for all of them, and a second caller for the
// first.
func (n *Node) stop(why error, leave bool) {
	n.end.Do(func() {
		close(n.closing)
		if leave {
			n.answerLast()
			n.members.Leave()
		}
		n.cancel(why)
		if n.redis != nil && !leave {
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
		n.cfg.Log.Info("stopped", "name", n.id.Name, "why", why)
		close(n.done)
	})
}

// answerLast lets the requests under way end.
func (n *Node) answerLast() {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if n.redis != nil {
		if err := n.redis.Shutdown(ctx); err != nil {
			n.cfg.Log.Debug("commands were cut off", "error", err)
		}
	}
	n.endpoint.Shutdown(ctx)
	n.operator.Shutdown(ctx)
}

package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/pubsub"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/visits"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

// open starts everything, in the order in which others can make use of it: a
// member that gossip tells of must answer on its peer port, and one that owns
// partitions must answer at its endpoints.
func (n *Node) open(ctx context.Context) error {
	if err := n.members.Start(); err != nil {
		return err
	}
	if n.peer != nil {
		n.group.Go(func() { n.mesh.Accept(n.ctx, network.Listener{Listener: n.peer}) })
	}
	if err := n.members.Join(ctx); err != nil {
		return err
	}
	n.members.Update()
	n.serve("http", n.operator.Serve, n.admin)
	n.setApplication()
	n.serve("http", n.endpoint.Open(n.pin), n.http...)
	if n.redis != nil {
		n.serve("redis", n.redis.Serve, n.resp...)
	}
	n.runDisk()
	n.run()
	if err := n.members.Enter(ctx, n.heardAll); err != nil {
		return err
	}
	own := n.View().Member(n.id)
	n.cfg.Log.Info("started", "name", n.id.Name, "boot", n.id.Boot, "role", own.Role, "http", own.HTTP, "admin", own.Admin, "resp", own.RESP, "peer", own.Peer, "gossip", n.cfg.Gossip)
	n.events.Add("started", "member", n.id.Name, "boot", n.id.Boot)
	return nil
}

// serve has an endpoint answer at its listeners.
func (n *Node) serve(endpoint string, serve func(net.Listener) error, at ...net.Listener) {
	for _, l := range at {
		n.group.Go(func() {
			err := serve(l)
			ended := errors.Is(err, http.ErrServerClosed) || errors.Is(err, redis.ErrServerClosed) || errors.Is(err, net.ErrClosed)
			if !ended && n.ctx.Err() == nil {
				n.cfg.Log.Error(endpoint+" endpoint closed", "address", l.Addr(), "error", err)
			}
		})
	}
}

// setApplication makes what the configuration names the application of a node.
// A router runs none.
func (n *Node) setApplication() {
	switch {
	case n.cfg.Role != RoleNode:
	case n.cfg.Handler != nil:
		n.runProgram(n.cfg.Handler)
	case n.cfg.Demo:
		n.pin.Run(&visits.Counter{Sessions: n.Sessions(), Refuse: public.Unavailable})
	}
}

// run starts the loops.
func (n *Node) run() {
	loops := []func(context.Context){
		n.members.Run,
		n.members.Rejoin,
		n.members.Mender,
		n.members.WarnIfAlone,
		func(ctx context.Context) { n.members.WatchName(ctx, n.nameTaken) },
		n.census.Run,
		n.events.Run,
		n.keeper.Run,
	}
	if n.cfg.Role == RoleNode {
		loops = append(loops, n.owner.Run, n.repairer.Run, n.owner.Watch, n.members.WatchLinks, n.expire, n.dispatcher.WatchLag, n.pubsub.Run, n.pin.Watch, n.absence.Run)
	}
	if n.upstream != nil {
		loops = append(loops, n.upstream.Run)
	}
	for _, loop := range loops {
		n.goes(loop)
	}
	n.group.Go(func() {
		<-n.ctx.Done()
		go n.stop(context.Cause(n.ctx), nil) // ends the node also when the caller's context did; waits for this group
	})
}

// heardAll says whether every other node has been heard, and so also what their
// clocks say, which this one is then compared with.
func (n *Node) heardAll() bool {
	if !n.mesh.HeardAll() {
		return false
	}
	n.keeper.Look()
	return true
}

// goes runs f in a goroutine of the member, until its ctx ends.
func (n *Node) goes(f func(ctx context.Context)) { n.group.Go(func() { f(n.ctx) }) }

// nameTaken stops this member: another process has its name, of which the
// others took this one's place to be empty. What this one acknowledged
// meanwhile, on its side of a cut, nobody else has; so it hands that over first,
// and serves nobody any more: it is on no ring.
func (n *Node) nameTaken(err error) {
	n.cfg.Log.Error("stopping", "error", err)
	if n.cfg.Role == RoleNode && !planted.Is(planted.ReplacedDrops) {
		n.leaveToOther()
	}
	n.cancel(err)
}

// leaveToOther ends what clients ask of a node whose name another process has,
// and hands over what it holds, for as long as a drain may take.
func (n *Node) leaveToOther() {
	n.owner.Resign() // from here on nothing is acknowledged
	n.events.Add("replaced", "member", n.id.Name, "boot", n.id.Boot)
	for _, l := range slices.Concat(n.listeners.http, n.listeners.resp) {
		l.Close()
	}
	if n.redis != nil {
		ended, cancel := context.WithCancel(n.ctx)
		cancel()
		_ = n.redis.Shutdown(ended) // its error is only that commands were cut off
	}
	n.endpoint.Cut()
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.DrainTimeout)
	defer cancel()
	switch err := n.drainer.Run(ctx, func(DrainStatus) {}); {
	case n.ctx.Err() != nil: // it was stopped meanwhile
	case err != nil:
		n.cfg.Log.Error("what this node holds could not be handed over before its end; some of it may be lost", "error", err)
		n.events.Add("replaced-unsynced", "member", n.id.Name, "unsynced", n.drainer.Status().Unsynced)
	default:
		n.cfg.Log.Info("all that this node held is with the others", "name", n.id.Name)
	}
}

// viewChanged lets links and ownership follow a view. The membership loop
// calls it for each one.
func (n *Node) viewChanged(last, view *View) {
	n.census.SetView(view) // before the links: it asks them when they last heard of who is gone
	n.owner.SetView(view)  // before the links too: what they hear counts for members that it has
	n.mesh.Sync(view)
	if n.cfg.Role == RoleNode {
		n.syncSenders(view)
	}
	n.pubsub.SetView()
	if last.Table.Fingerprint() != view.Table.Fingerprint() {
		n.cfg.Log.Info("ring", "fingerprint", view.Table.Fingerprint(), "nodes", view.Table.Members())
		n.events.Add("ring", "fingerprint", view.Table.Fingerprint(), "nodes", view.Table.Members())
	}
	n.repairer.SetView(view)
	n.endpoint.SetView(view)
	n.dispatcher.SetView(last, view)
	n.owner.Recheck()
	n.repairer.Recheck()
}

// syncSenders ships changes to every node that takes part, and to no other.
func (n *Node) syncSenders(view *View) {
	for _, m := range view.Members {
		if l := n.mesh.Link(m.ID); m.Up && l != nil {
			n.replicator.Attach(n.ctx, m.ID.String(), l)
			continue
		}
		n.replicator.Detach(m.ID.String())
		n.repairer.Forget(m.ID.String())
	}
}

// expire looks after what ends by itself, each second.
func (n *Node) expire(ctx context.Context) {
	told := -repair.FullAgain
	wait.Every(ctx, time.Second, func() {
		n.expireSessions()
		told = n.repairer.TellFull(told)
		n.dispatcher.Tick()
	})
}

// expireSessions forgets what has ended, and says so of what was served here.
func (n *Node) expireSessions() {
	limit := 0
	if n.pubsub.Wanted() {
		limit = pubsub.MaxExpired
	}
	ended := n.sweep(limit)
	slices.Sort(ended)
	for _, key := range ended {
		n.pubsub.Event("expired", key)
	}
}

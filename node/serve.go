package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/node/api"
	"github.com/seed-95a32959/holdfast/peer"
	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// serveTimeout bounds one operation, waiting for a change of owner
	// included: a silent owner is declared dead within 1.4 s, and its
	// successor has claimed milliseconds later.
	serveTimeout = 3 * time.Second
	// recheck is how long an operation waits for news of its partition before
	// it looks again all the same.
	recheck = 20 * time.Millisecond
	// confirmTimeout bounds the wait of ack=replica and ack=all.
	confirmTimeout = 2 * time.Second
	// deleteTimeout bounds how long a logout waits for the other copies.
	deleteTimeout = 250 * time.Millisecond
	// maxHops is how often an operation is forwarded: once by a member whose
	// view is newer or older than the owner's, once more by the member that
	// was asked in vain.
	maxHops = 2
)

// Sessions is every member's door to all sessions of the cluster: it looks the
// owner up and serves there. It implements api.Sessions.
type Sessions struct{ node *Node }

// Do runs one operation where its key is owned: here, or forwarded there. ack
// says what a write waits for. Errors are those of package session, and
// api.ErrUnavailable or api.ErrUncertain.
func (s *Sessions) Do(ctx context.Context, op *session.Op, ack replication.Ack) (api.Reply, error) {
	return s.node.do(ctx, op, ack, false)
}

// doorSessions is Sessions for requests that come over the network.
type doorSessions struct{ node *Node }

// Do implements api.Sessions.
func (s doorSessions) Do(ctx context.Context, op *session.Op, ack replication.Ack) (api.Reply, error) {
	return s.node.do(ctx, op, ack, true)
}

// Get returns the session, or session.ErrNotFound or session.ErrDeleted.
func (s *Sessions) Get(ctx context.Context, key string) (*session.Record, error) {
	if s.node.owner.phaseOf(ring.Partition(key)) == warm && s.node.lease.held() {
		rec, err := s.node.store.Get(key)
		if !errors.Is(err, session.ErrNotServed) && s.node.lease.held() {
			return rec, err
		}
	}
	reply, err := s.Do(ctx, &session.Op{Kind: session.Get, Key: key}, replication.AckDefault)
	return reply.Record, err
}

// Put stores the whole value of a session. ttl is its idle time; 0 keeps what
// it has, or takes the node's default.
func (s *Sessions) Put(ctx context.Context, key string, fields []session.Field, ttl time.Duration) (*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Put, Key: key, Fields: fields, TTL: ttl}, replication.AckDefault)
	return reply.Record, err
}

// Patch sets the fields given, removes those that are Absent, and leaves the
// others alone.
func (s *Sessions) Patch(ctx context.Context, key string, fields []session.Field) (*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Patch, Key: key, Fields: fields}, replication.AckDefault)
	return reply.Record, err
}

// Touch slides the session's expiry.
func (s *Sessions) Touch(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Touch, Key: key}, replication.AckDefault)
	return err
}

// Delete logs the session out. Once it has returned nil no member serves the
// session again. Deleting what is not there is no error.
func (s *Sessions) Delete(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Delete, Key: key}, replication.AckDefault)
	return err
}

// request is one operation on its way through this member.
type request struct {
	op   *session.Op
	ack  replication.Ack
	part int
	hops int // how often it has been forwarded
	// epoch is that of the claim by which the forwarder took the receiver for
	// the owner, 0 if it went by the ring. A receiver with another claim has
	// been succeeded since, and perhaps become owner again.
	epoch uint64
	// id names the operation over all its attempts, and deadline ends them: it
	// must not be run after that, for its writer has gone on.
	id       uint64
	deadline time.Time
	// repeat says that an earlier attempt was sent and not answered, so it may
	// have been run, and may yet arrive.
	repeat bool
	// fenced says that whoever sent it may have sent it elsewhere since: it is
	// not passed on by a member that was out of touch while it had it.
	fenced bool
}

// do runs an operation that has come in at a door of this member.
func (n *Node) do(ctx context.Context, op *session.Op, ack replication.Ack, fenced bool) (api.Reply, error) {
	p := ring.Partition(op.Key)
	if n.owner.phaseOf(p) == warm && n.lease.held() { // the usual case, without timers
		if reply, err := n.serve(ctx, p, op, ack); !errors.Is(err, session.ErrNotServed) {
			return reply, err
		}
	}
	return n.dispatch(ctx, &request{
		op: op, ack: ack, part: p, id: rand.Uint64(), deadline: n.cfg.Now().Add(serveTimeout), fenced: fenced,
	})
}

// dispatch is where local or forward is decided, for every door and every kind
// of operation. It goes round until the operation has been run somewhere or
// its time is up, for ownership may move while it is on its way.
func (n *Node) dispatch(ctx context.Context, r *request) (api.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	for {
		changed := n.members.changed()
		reply, err := n.attempt(ctx, r)
		if !again(err) || r.hops >= maxHops { // whoever forwarded it last looks again
			return reply, err
		}
		r.repeat = r.repeat || errors.Is(err, errUnanswered)
		select {
		case <-changed:
		case <-time.After(recheck):
		case <-ctx.Done():
			n.stats.unavailable.Add(1)
			kind := api.ErrUnavailable
			if r.repeat {
				kind = api.ErrUncertain // an attempt may have been run
			}
			return n.reply(), fmt.Errorf("%s in partition %d: %w: %w", r.op.Kind, r.part, kind, err)
		}
	}
}

var (
	// errNoOwner says that nobody serves a partition at this moment.
	errNoOwner = errors.New("nobody serves the partition yet")
	// errNotSent says that a forwarded operation has not reached its owner.
	errNotSent = errors.New("not forwarded")
	// errUnanswered says that a forwarded operation may have been run, and may
	// be run again: its repetition ends as it does.
	errUnanswered = errors.New("forwarded and not answered")
	// errOtherEpoch says that an operation was meant for an owner by another
	// claim, and has not been run.
	errOtherEpoch = errors.New("sent by a claim that is not in force")
	// errOvertaken says that this member has been succeeded while it was out
	// of touch, and has not run the operation.
	errOvertaken = fmt.Errorf("%w: succeeded while out of touch", api.ErrUnavailable)
)

// again says whether an operation may succeed elsewhere or later.
func again(err error) bool {
	for _, kind := range []error{session.ErrNotServed, errNoOwner, errNoLink, errNotSent, errUnanswered} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func (n *Node) attempt(ctx context.Context, r *request) (api.Reply, error) {
	v := n.owner.route(r.part)
	switch {
	case v.phase == fetching || v.phase == warm:
		if r.epoch != 0 && r.epoch != v.epoch {
			return n.reply(), errOtherEpoch
		}
		return n.serveLeased(ctx, r)
	case v.to == nil:
		return n.reply(), errNoOwner
	case r.hops >= maxHops:
		return n.reply(), fmt.Errorf("after %d hops: %w", r.hops, session.ErrNotServed)
	default:
		return n.forward(ctx, v, r)
	}
}

// serveLeased is serve for an owner that may have to ask first, and to fetch.
func (n *Node) serveLeased(ctx context.Context, r *request) (api.Reply, error) {
	degraded, asked := false, false
	if !n.lease.held() {
		var err error
		if degraded, err = n.lease.ask(ctx); err != nil {
			return n.reply(), err
		}
		asked = true
	}
	switch ph := n.owner.phaseOf(r.part); {
	case ph == fetching:
		if err := n.owner.fetchThrough(ctx, r.part, r.op.Key, wholePartition(r.op)); err != nil {
			return n.reply(), fmt.Errorf("%w: %w", errNoOwner, err)
		}
	case ph == warm:
	case asked && r.fenced:
		// This member was out of touch and has been succeeded. Whoever sent
		// the operation may have sent it to the successor long ago, and gone
		// on: to run it there now could undo what has followed.
		return n.reply(), fmt.Errorf("%s: %w", r.op.Kind, errOvertaken)
	default:
		return n.reply(), errNoOwner // given up while asking
	}
	if degraded {
		reply, err := n.serveDegraded(ctx, r.part, r.op)
		reply.Degraded = true
		return reply, err
	}
	return n.serve(ctx, r.part, r.op, r.ack)
}

// serve runs the operation on this node's store and sees to its copies.
func (n *Node) serve(ctx context.Context, p int, op *session.Op, ack replication.Ack) (api.Reply, error) {
	if op.Kind.Writes() {
		if err := n.admit(ctx, op); err != nil {
			return api.Reply{}, err
		}
	}
	res, err := n.store.Do(op)
	if !n.lease.held() && !planted.Is(planted.LeaseSeenOnce) {
		return n.overtaken(p, op, res)
	}
	if n.owner.blind[p].Load() {
		return n.serveBlind(p, op, res, err)
	}
	reply := api.Reply{Result: res, Node: n.id.Name, Ring: n.View().Table.Fingerprint()}
	if err != nil {
		return reply, err
	}
	n.stats.served.Add(1)
	if !res.Changed {
		return reply, nil
	}
	if op.Kind == session.Delete || op.Kind == session.DeleteAll {
		n.copyDeletes(ctx, p, &reply, op, ack)
		return reply, nil
	}
	want := n.ackOf(ack)
	if want == replication.AckAsync {
		n.markAll(p, op, res)
		return reply, nil
	}
	reply.Acked, err = n.confirm(ctx, p, changedKeys(op, res), want)
	return reply, err
}

// serveBlind answers for a partition whose copies are all on members that
// cannot be reached: nobody knows what they hold, so a miss is no "not found".
func (n *Node) serveBlind(p int, op *session.Op, res session.Result, err error) (api.Reply, error) {
	reply := n.reply()
	reply.Result, reply.Degraded = res, true
	if errors.Is(err, session.ErrNotFound) {
		n.stats.blind.Add(1)
		return reply, fmt.Errorf("%s: %w: no member that held partition %d can be reached", op.Kind, api.ErrUnavailable, p)
	}
	if err != nil {
		return reply, err
	}
	n.stats.served.Add(1)
	n.stats.degraded.Add(1)
	if res.Changed {
		n.markAll(p, op, res)
		reply.Unconfirmed = true
	}
	return reply, nil
}

// markAll says that the other copies of what an operation has changed are behind.
func (n *Node) markAll(p int, op *session.Op, res session.Result) {
	holders := n.View().copyHolders(p)
	for _, key := range changedKeys(op, res) {
		n.replicator.Mark(holders, key)
	}
}

// overtaken deals with an operation during which the lease ran out, as when the
// process was stopped in the middle of it: somebody else may have served the
// partition by then, so the answer would be a guess. What was written travels
// to the others, where merge decides, and the operation is run again under a
// lease if that ends the same.
func (n *Node) overtaken(p int, op *session.Op, res session.Result) (api.Reply, error) {
	if res.Changed {
		n.markAll(p, op, res)
		if !repeatable(op) {
			return n.reply(), fmt.Errorf("%s while the lease ran out: %w", op.Kind, api.ErrUncertain)
		}
	}
	return n.reply(), fmt.Errorf("the lease ran out: %w", session.ErrNotServed)
}

// serveDegraded runs the operation although no other node can be reached. Its
// copies follow when one can be.
func (n *Node) serveDegraded(ctx context.Context, p int, op *session.Op) (api.Reply, error) {
	res, err := n.store.Do(op)
	reply := n.reply()
	reply.Result = res
	if err != nil {
		return reply, err
	}
	n.stats.served.Add(1)
	n.stats.degraded.Add(1)
	if res.Changed {
		n.markAll(p, op, res)
		reply.Unconfirmed = len(n.View().copyHolders(p)) > 0
	}
	return reply, ctx.Err()
}

func (n *Node) ackOf(ack replication.Ack) replication.Ack {
	if ack == replication.AckDefault {
		return n.cfg.Ack
	}
	return ack
}

func changedKeys(op *session.Op, res session.Result) []string {
	if len(res.Records) == 0 {
		return []string{op.Key}
	}
	keys := make([]string, len(res.Records))
	for i, rec := range res.Records {
		keys[i] = rec.Key()
	}
	return keys
}

// confirm copies keys to their partition's other holders and waits until ack
// is reached. A holder that is lost on the way is replaced by the next view's,
// so a crash of a successor costs a writer some milliseconds and no error.
func (n *Node) confirm(ctx context.Context, p int, keys []string, ack replication.Ack) (acked int, err error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	for {
		changed := n.members.changed()
		holders := n.View().copyHolders(p)
		want := ack.Copies(len(holders))
		acked = len(holders)
		for _, key := range keys {
			acked = min(acked, n.replicator.Wait(ctx, holders, key, want))
		}
		if acked >= want {
			return acked, nil
		}
		select {
		case <-changed:
		case <-time.After(recheck):
		case <-ctx.Done():
			return acked, fmt.Errorf("the write is at its owner, %d of %d copies confirmed it: %w: %w", acked, want, api.ErrUncertain, ctx.Err())
		}
	}
}

// copyDeletes waits for every holder that can be reached, but not for long: a
// logout must work while a member is silent.
func (n *Node) copyDeletes(ctx context.Context, p int, reply *api.Reply, op *session.Op, ack replication.Ack) {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	holders := n.View().copyHolders(p)
	reply.Acked = len(holders)
	for _, key := range changedKeys(op, reply.Result) {
		reply.Acked = min(reply.Acked, n.replicator.Wait(ctx, holders, key, len(holders)))
	}
	reply.Unconfirmed = reply.Acked < len(holders)
	if reply.Unconfirmed {
		n.stats.unconfirmed.Add(1)
	}
}

// uncertain says whether a call that broke may or may not have been applied.
func uncertain(err error) bool {
	return errors.Is(err, peer.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

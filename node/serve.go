package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/peer"
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
// session.ErrUnavailable or session.ErrUncertain.
func (s *Sessions) Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	r, err := s.node.do(ctx, opWork{op}, ack, attempt.Attempt{})
	return r.Reply, err
}

// Get returns the session, or session.ErrNotFound or session.ErrDeleted.
func (s *Sessions) Get(ctx context.Context, key string) (*session.Record, error) {
	p := ring.Partition(key)
	if s.node.owner.Decide(p).Verified() {
		rec, err := s.node.store.Get(key)
		if !errors.Is(err, session.ErrNotServed) && s.node.owner.Decide(p).Verified() {
			return rec, err
		}
	}
	reply, err := s.Do(ctx, &session.Op{Kind: session.Get, Key: key}, session.AckDefault)
	return reply.Record, err
}

// Put stores the whole value of a session. ttl is its idle time; 0 keeps what
// it has, or takes the node's default.
func (s *Sessions) Put(ctx context.Context, key string, fields []session.Field, ttl time.Duration) (*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Put, Key: key, Fields: fields, TTL: ttl}, session.AckDefault)
	return reply.Record, err
}

// Patch sets the fields given, removes those that are Absent, and leaves the
// others alone.
func (s *Sessions) Patch(ctx context.Context, key string, fields []session.Field) (*session.Record, error) {
	reply, err := s.Do(ctx, &session.Op{Kind: session.Patch, Key: key, Fields: fields}, session.AckDefault)
	return reply.Record, err
}

// Touch slides the session's expiry.
func (s *Sessions) Touch(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Touch, Key: key}, session.AckDefault)
	return err
}

// Delete logs the session out. Once it has returned nil no member serves the
// session again, unless a copy that could be reached did not confirm in time and
// the owner dies before it does: Do says so, by Reply.Unconfirmed. Deleting what
// is not there is no error.
func (s *Sessions) Delete(ctx context.Context, key string) error {
	_, err := s.Do(ctx, &session.Op{Kind: session.Delete, Key: key}, session.AckDefault)
	return err
}

// request is one piece of work on its way through this member.
type request struct {
	work work
	ack  session.Ack
	part int
	hops int // how often it has been forwarded
	// epoch is that of the claim by which the forwarder took the receiver for
	// the owner, 0 if it went by the ring. A receiver with another claim has
	// been succeeded since, and perhaps become owner again.
	epoch uint64
	attempt.Attempt
}

// do runs work that has come in at a door of this member, as that attempt.
func (n *Node) do(ctx context.Context, w work, ack session.Ack, a attempt.Attempt) (reply, error) {
	p := w.partition()
	if n.owner.Decide(p).Verdict == ownership.Serve && !a.Repeat { // the usual case, without timers
		if r, err := n.serve(ctx, p, w, ack); !errors.Is(err, session.ErrNotServed) {
			return r, err
		}
	}
	return n.dispatch(ctx, &request{work: w, ack: ack, part: p, Attempt: a.Named(n.cfg.Now(), serveTimeout)})
}

// dispatch is where local or forward is decided, for every door and every kind
// of work. It goes round until the work has been done somewhere or its time is
// up, for ownership may move while it is on its way.
func (n *Node) dispatch(ctx context.Context, r *request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	var rep reply
	var err error
	ended := n.pulse.Until(ctx, recheck, func() bool {
		rep, err = n.try(ctx, r)
		r.Repeat = r.Repeat || errors.Is(err, errUnanswered)
		return !again(err) || r.hops >= maxHops // whoever forwarded it last looks again
	})
	switch {
	case ended != nil:
		n.stats.unavailable.Add(1)
		kind := session.ErrUnavailable
		if r.Repeat {
			kind = session.ErrUncertain // an attempt may have been run
		}
		return n.reply(), fmt.Errorf("%s in partition %d: %w: %w", r.work.name(), r.part, kind, err)
	case r.Repeat && (errors.Is(err, errOvertaken) || errors.Is(err, attempt.ErrTooLate)):
		err = fmt.Errorf("%w: %w", session.ErrUncertain, err) // as another attempt may have been
	}
	return rep, err
}

var (
	// errNoOwner says that nobody serves a partition at this moment.
	errNoOwner = errors.New("nobody serves the partition yet")
	// errNotSent says that a forwarded operation has not reached its owner.
	errNotSent = errors.New("not forwarded")
	// errUnanswered says that a forwarded operation may have been run, and may
	// be run again: its repetition ends as it does.
	errUnanswered = errors.New("forwarded and not answered")
	// errLeaseOver says that this member may not answer without asking first.
	errLeaseOver = fmt.Errorf("the lease ran out: %w", session.ErrNotServed)
	// errOvertaken says that this member has been succeeded while it was out
	// of touch, and has not run the operation.
	errOvertaken = fmt.Errorf("%w: this member was out of touch and has been succeeded", session.ErrUnavailable)
	// errBlind says that a key is not here, and may be on a member that cannot
	// be reached.
	errBlind = fmt.Errorf("%w: no member that held the partition can be reached", session.ErrUnavailable)
)

// again says whether an operation may succeed elsewhere or later.
func again(err error) bool {
	for _, kind := range []error{session.ErrNotServed, errNoOwner, mesh.ErrNoLink, errNotSent, errUnanswered} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// try makes one attempt at the owner, here or there.
func (n *Node) try(ctx context.Context, r *request) (reply, error) {
	d := n.owner.Decide(r.part)
	switch {
	case d.Here():
		if r.epoch != 0 && r.epoch != d.Epoch {
			return n.reply(), attempt.ErrOtherEpoch
		}
		return n.serveOnce(ctx, r)
	case d.Verdict == ownership.Wait:
		return n.reply(), errNoOwner
	case r.hops >= maxHops:
		return n.reply(), fmt.Errorf("after %d hops: %w", r.hops, session.ErrNotServed)
	case r.work.writes() && n.stale(r.Attempt):
		n.stats.refusedLate.Add(1)
		return n.reply(), fmt.Errorf("%s: %w", r.work.name(), errOvertaken)
	default:
		return n.forward(ctx, d, r)
	}
}

// serveOnce is serveLeased for work of which other attempts may be under way:
// this one may have waited here, or gone astray and come back, while another was
// run and answered.
func (n *Node) serveOnce(ctx context.Context, r *request) (reply, error) {
	if done := n.fence.outcome(r); done != nil {
		return done.to(r.work)
	}
	if err := n.tooLate(r.Attempt); err != nil {
		n.stats.refusedLate.Add(1)
		return n.reply(), fmt.Errorf("%s: %w", r.work.name(), err)
	}
	rep, err := n.serveLeased(ctx, r)
	n.fence.note(r, rep, err)
	return rep, err
}

// serveLeased is serve for an owner that may have to ask first, and to fetch.
func (n *Node) serveLeased(ctx context.Context, r *request) (reply, error) {
	degraded, asked := false, false
	if !n.owner.Leased() {
		var err error
		if degraded, err = n.owner.Ask(ctx); err != nil {
			return n.reply(), err
		}
		asked = true
	}
	switch d := n.owner.Decide(r.part); {
	case d.Verdict == ownership.FetchFirst:
		if err := n.repairer.FetchThrough(ctx, r.part, r.work.keys); err != nil {
			return n.reply(), fmt.Errorf("%w: %w", errNoOwner, err)
		}
	case d.Verdict == ownership.Serve:
	case asked && r.Fenced && r.work.writes():
		// This member was out of touch and has been succeeded. Whoever sent
		// the operation may have sent it to the successor long ago, and gone
		// on: to run it there now could undo what has followed.
		return n.reply(), fmt.Errorf("%s: %w", r.work.name(), errOvertaken)
	default:
		return n.reply(), errNoOwner // given up while asking
	}
	if degraded {
		rep, err := n.serveDegraded(ctx, r.part, r.work)
		rep.Degraded = true
		return rep, err
	}
	return n.serve(ctx, r.part, r.work, r.ack)
}

// serve does the work on this node's store and sees to its copies.
func (n *Node) serve(ctx context.Context, p int, w work, ack session.Ack) (reply, error) {
	var at time.Time // reads take the store's own
	nowhere := false
	if w.writes() {
		if err := n.admit(ctx, w); err != nil {
			return reply{}, err
		}
		nowhere = n.nowhere(ctx, p, w)
		// First the time, then the lease: if this process stands still behind
		// the look at its lease, the write is as old as that, and gives way to
		// all that a successor has acknowledged.
		at = n.cfg.Now()
		if planted.Is(planted.StampedLate) {
			at = at.Add(time.Hour)
		}
	}
	d := n.owner.Decide(p)
	if !d.Leased {
		return n.reply(), errLeaseOver
	}
	blind := d.Unverified
	r, err := w.run(ctx, n, at, sight{blind: blind, nowhere: nowhere})
	if d := n.owner.Decide(p); !d.Leased && !planted.Is(planted.LeaseSeenOnce) || !blind && d.Unverified {
		return n.overtaken(p, w, r)
	}
	if blind {
		return n.serveBlind(p, w, r, err)
	}
	r.Node, r.Ring, r.Degraded = n.id.Name, n.View().Table.Fingerprint(), n.owner.Gate().Alone()
	if err != nil {
		return r, err
	}
	n.stats.served.Add(1)
	if r.Degraded {
		n.stats.degraded.Add(1)
	}
	if len(r.changed) == 0 {
		return r, nil
	}
	return n.copyOut(ctx, p, w, r, ack)
}

// copyOut brings what has changed to the partition's other holders: before the
// answer where the writer wants it, or where the answer would be a promise that
// a crash could break. A logout stays, and of two who asked for a lock (NX) at
// most one has it.
func (n *Node) copyOut(ctx context.Context, p int, w work, r reply, ack session.Ack) (reply, error) {
	if r.deleted {
		n.copyDeletes(ctx, p, &r)
		if w.deletes() {
			return r, nil
		}
	}
	want := n.ackOf(ack)
	if r.exact && want == session.AckAsync {
		want = session.AckReplica
	}
	if want == session.AckAsync {
		n.markAll(p, r)
		return r, nil
	}
	var err error
	r.Acked, err = n.confirm(ctx, p, r.changed, want)
	return r, err
}

// serveBlind answers for a partition whose copies are all on members that
// cannot be reached: nobody knows what they hold, so a miss is no "not found".
func (n *Node) serveBlind(p int, w work, r reply, err error) (reply, error) {
	r.Node, r.Ring, r.Degraded = n.id.Name, n.View().Table.Fingerprint(), true
	if len(r.changed) > 0 {
		n.markAll(p, r)
		r.Unconfirmed = true
	}
	if errors.Is(err, errBlind) {
		n.stats.blind.Add(1)
		return r, fmt.Errorf("%s in partition %d: %w", w.name(), p, err)
	}
	if err != nil {
		return r, err
	}
	n.stats.served.Add(1)
	n.stats.degraded.Add(1)
	return r, nil
}

// markAll says that the other copies of what has been changed are behind.
func (n *Node) markAll(p int, r reply) {
	holders := n.View().CopyHolders(p)
	for _, key := range r.changed {
		n.replicator.Mark(holders, key)
	}
}

// overtaken deals with work during which the lease ran out, as when the process
// was stopped in the middle of it, or the partition changed hands: somebody
// else may have served it by then, so the answer would be a guess. What was
// written travels to the others, where merge decides, and the work is done
// again under a lease if that ends the same.
func (n *Node) overtaken(p int, w work, r reply) (reply, error) {
	if len(r.changed) > 0 {
		n.markAll(p, r)
		if !w.repeatable() {
			return n.reply(), fmt.Errorf("%s while the lease ran out: %w", w.name(), session.ErrUncertain)
		}
	}
	return n.reply(), errLeaseOver
}

// serveDegraded does the work although no other node can be reached. Its copies
// follow when one can be.
func (n *Node) serveDegraded(ctx context.Context, p int, w work) (reply, error) {
	blind := n.owner.Decide(p).Unverified
	r, err := w.run(ctx, n, n.cfg.Now(), sight{blind: blind})
	if blind {
		return n.serveBlind(p, w, r, err)
	}
	r.Node, r.Ring = n.id.Name, n.View().Table.Fingerprint()
	if err != nil {
		return r, err
	}
	n.stats.served.Add(1)
	n.stats.degraded.Add(1)
	if len(r.changed) > 0 {
		n.markAll(p, r)
		r.Unconfirmed = len(n.View().CopyHolders(p)) > 0
	}
	return r, ctx.Err()
}

func (n *Node) ackOf(ack session.Ack) session.Ack {
	if ack == session.AckDefault {
		return n.cfg.Ack
	}
	return ack
}

// confirm copies keys to their partition's other holders and waits until ack
// is reached. A holder that is lost on the way is replaced by the next view's,
// so a crash of a successor costs a writer some milliseconds and no error.
func (n *Node) confirm(ctx context.Context, p int, keys []string, ack session.Ack) (acked int, err error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	want := 0
	err = n.pulse.Until(ctx, recheck, func() bool {
		holders := n.View().CopyHolders(p)
		want = ack.Copies(len(holders))
		acked = n.waitAll(ctx, holders, keys, want)
		return acked >= want
	})
	if err != nil {
		err = fmt.Errorf("the write is at its owner, %d of %d copies confirmed it: %w: %w", acked, want, session.ErrUncertain, err)
	}
	return acked, err
}

// waitBatch is how many keys are waited for at a time.
const waitBatch = 256

// waitAll waits until want of the holders have every key, and returns the least
// number that has one. Keys of one batch travel together.
func (n *Node) waitAll(ctx context.Context, holders, keys []string, want int) (acked int) {
	acked = len(holders)
	if len(keys) == 1 {
		return min(acked, n.replicator.Wait(ctx, holders, keys[0], want))
	}
	for batch := range slices.Chunk(keys, waitBatch) {
		confirmed := make([]int, len(batch))
		var wg sync.WaitGroup
		for i, key := range batch {
			wg.Go(func() { confirmed[i] = n.replicator.Wait(ctx, holders, key, want) })
		}
		wg.Wait()
		acked = min(acked, slices.Min(confirmed))
	}
	return acked
}

// copyDeletes waits for every holder that can be reached, but not for long: a
// logout must work while a member is silent.
func (n *Node) copyDeletes(ctx context.Context, p int, r *reply) {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	holders := n.View().CopyHolders(p)
	r.Acked = n.waitAll(ctx, holders, r.changed, len(holders))
	r.Unconfirmed = r.Acked < len(holders)
	if r.Unconfirmed {
		n.stats.unconfirmed.Add(1)
	}
}

// uncertain says whether a call that broke may or may not have been applied.
func uncertain(err error) bool {
	return errors.Is(err, peer.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

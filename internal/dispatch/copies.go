package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// copyOut brings what has changed to the partition's other holders: before the
// answer where the writer wants it, or where the answer would be a promise that
// a crash could break. A logout stays, and of two who asked for a lock (NX) at
// most one has it.
//
// With a disk that writers wait for, the change is on it before the answer.
//
// What was copied is known to a successor only if the holders had it when they
// agreed to the succession. So the lease is looked at again: the epoch is that
// of the claim by which the work was run.
func (d *Dispatcher) copyOut(ctx context.Context, p int, epoch uint64, w work, r reply, ack session.Ack) (reply, error) {
	r, err := d.copyToHolders(ctx, p, epoch, w, r, ack)
	if err != nil {
		return r, err
	}
	return d.save(ctx, w, r)
}

// save waits until what has changed is on the disk, where writers wait for that.
// A logout passes where the disk has failed: others have it.
func (d *Dispatcher) save(ctx context.Context, w work, r reply) (reply, error) {
	if d.cfg.Disk == nil || !d.cfg.Disk.Waits() || len(r.changed) == 0 {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	switch err := d.cfg.Disk.Wait(ctx); {
	case err == nil:
		return r, nil
	case w.deletes():
		r.Unconfirmed = true
		return r, nil
	default:
		return r, fmt.Errorf("the write is in memory, and not on the disk: %w: %w", session.ErrUncertain, err)
	}
}

// copyToHolders is copyOut but for the disk.
func (d *Dispatcher) copyToHolders(ctx context.Context, p int, epoch uint64, w work, r reply, ack session.Ack) (reply, error) {
	if r.deleted {
		d.copyDeletes(ctx, p, &r)
		_, unsealed := d.seal(ctx, p, epoch, r)
		r.Unconfirmed = r.Unconfirmed || unsealed != nil
		if w.deletes() {
			return r, nil
		}
	}
	want := d.ackOf(ack)
	if r.exact && want == session.AckAsync {
		want = session.AckReplica
	}
	if want == session.AckAsync {
		d.markAll(p, r)
		return r, nil
	}
	var err error
	if r.Acked, err = d.confirm(ctx, p, r.changed, want); err != nil {
		return r, err
	}
	return d.seal(ctx, p, epoch, r)
}

// seal makes sure that a write which has its copies is known to whoever serves
// the partition now. An owner whose lease has run out meanwhile asks the others
// once more.
func (d *Dispatcher) seal(ctx context.Context, p int, epoch uint64, r reply) (reply, error) {
	if d.cfg.Owner.Kept(p, epoch) {
		return r, nil
	}
	kept := func() bool { return d.cfg.Owner.Kept(p, epoch) }
	if !d.cfg.Owner.Decide(p).Here() { // given up, and its new owner tells of itself soon
		wctx, cancel := context.WithTimeout(ctx, sealTimeout)
		defer cancel()
		if d.cfg.Pulse.Until(wctx, recheck, kept) == nil {
			return r, nil
		}
	}
	degraded, err := d.cfg.Owner.Ask(ctx)
	switch {
	case err != nil:
		return r, fmt.Errorf("the write has %d copies, and the lease ran out: %w: %v", r.Acked, session.ErrUncertain, err)
	case kept():
		return r, nil
	case degraded && d.cfg.Owner.Decide(p).Epoch == epoch:
		r.Degraded, r.Unconfirmed = true, true
		return r, nil
	default:
		return r, fmt.Errorf("the write has %d copies, and another node may serve without them: %w", r.Acked, session.ErrUncertain)
	}
}

// confirm copies keys to their partition's other holders and waits until ack
// is reached. A holder that is lost on the way is replaced by the next view's,
// so a crash of a successor costs a writer some milliseconds and no error.
func (d *Dispatcher) confirm(ctx context.Context, p int, keys []string, ack session.Ack) (acked int, err error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	want := 0
	err = d.cfg.Pulse.Until(ctx, recheck, func() bool {
		holders := d.holders(p)
		want = ack.Copies(len(d.cfg.View().CopyHolders(p)))
		if d.cfg.Owner.IsLost() {
			want = max(1, want)
		}
		acked = d.waitAll(ctx, holders, keys, want)
		return acked >= want && d.stillLeased()
	})
	if err != nil {
		err = fmt.Errorf("the write is at its owner, %d of %d copies confirmed it: %w: %w", acked, want, session.ErrUncertain, err)
	}
	return acked, err
}

// ringSeen is a ring, and since when this member sees it.
type ringSeen struct {
	table *ring.Table
	since time.Duration
}

// stillLeased says, in mode Majority, whether a majority has given this member a
// lease since it sees the present ring. By that it knows who should have copies;
// a node on the lesser side of a cut sees another ring before its lease is over,
// by which they all are on its side.
func (d *Dispatcher) stillLeased() bool {
	if d.cfg.Mode != ownership.Majority {
		return true
	}
	r := d.ring.Load()
	return r == nil || r.table == d.cfg.View().Table && d.cfg.Owner.Gate().LeasedUntil() >= r.since+ownership.LeaseTime
}

// Confirms says whether the copies that were made of what was written here to
// partition p make it last, so that they may be told of. On the lesser side of a
// cut they do not, though by that side's ring they are all there.
func (d *Dispatcher) Confirms(p int) bool { return d.cfg.Owner.Confirms(p) && d.stillLeased() }

// waitBatch is how many keys are waited for at a time.
const waitBatch = 256

// waitAll waits until want of the holders have every key, and returns the least
// number that has one. Keys of one batch travel together.
func (d *Dispatcher) waitAll(ctx context.Context, holders, keys []string, want int) (acked int) {
	acked = len(holders)
	if len(keys) == 1 {
		return min(acked, d.cfg.Replicator.Wait(ctx, holders, keys[0], want))
	}
	for batch := range slices.Chunk(keys, waitBatch) {
		if ctx.Err() != nil { // nothing is waited for any more
			for _, key := range batch {
				d.cfg.Replicator.Mark(holders, key)
			}
			acked = 0
			continue
		}
		confirmed := make([]int, len(batch))
		var wg sync.WaitGroup
		for i, key := range batch {
			wg.Go(func() { confirmed[i] = d.cfg.Replicator.Wait(ctx, holders, key, want) })
		}
		wg.Wait()
		acked = min(acked, slices.Min(confirmed))
	}
	return acked
}

// copyDeletes waits for every holder that can be reached, but not for long: a
// logout must work while a member is silent. One that gossip holds for dead and
// that may be alive may have a copy too, and come back as the only one who has.
func (d *Dispatcher) copyDeletes(ctx context.Context, p int, r *reply) {
	batches := time.Duration(len(r.changed) / waitBatch)
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout+min(batches*deleteBatchTime, maxDeleteTime))
	defer cancel()
	holders := d.holders(p)
	r.Acked = d.waitAll(ctx, holders, r.changed, len(holders))
	r.Unconfirmed = r.Unconfirmed || r.Acked < len(holders) || d.cfg.View().Misses(d.cfg.Self) && !planted.Is(planted.LogoutAlone)
	if r.Unconfirmed {
		d.count.unconfirmed.Add(1)
	}
}

// maxAgain is how many tombstones are copied again with one request.
const maxAgain = 8 << 10

// behind returns those of some tombstones, of partition p and made before, that
// are to be copied again: those that another holder may lack. Of a user with
// millions of them they cannot all be copied with each request, so where they
// are too many it returns none, and that some may be lacking: they are on their
// way, or the comparison of copies brings them.
//
// A delete that is under way may not have marked its tombstones yet, so then
// all may be lacking; and so may they where a holder has not been equal yet.
func (d *Dispatcher) behind(p int, keys []string) (again []string, lacking bool) {
	holders := d.holders(p)
	if d.deleting[p].Load() == 1 && !slices.ContainsFunc(holders, func(id string) bool { return !d.cfg.Repairer.IsSynced(id, p) }) {
		keys = slices.DeleteFunc(keys, func(key string) bool { return !d.cfg.Replicator.Behind(holders, key) })
	}
	if len(keys) > maxAgain {
		return nil, true
	}
	return keys, false
}

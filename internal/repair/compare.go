package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

var errAway = errors.New("this node was away for long, and has not asked the others yet which of its copies are of use")

// pass compares every copy that this node and another one have to do with. It
// returns an error if it has to be repeated soon.
func (r *Repairer) pass(ctx context.Context, id member.ID) error {
	l := r.mesh.Link(id)
	if l == nil {
		return fmt.Errorf("%s: %w", id.Name, mesh.ErrNoLink)
	}
	if r.cfg.Away() {
		return errAway
	}
	return errors.Join(r.repair(ctx, l), r.handOver(ctx, l))
}

// repair compares the partitions that this node serves with their copies at
// another one.
func (r *Repairer) repair(ctx context.Context, l *mesh.Link) error {
	if planted.Is(planted.NotRebuilt) {
		return nil
	}
	view, id := r.cfg.View(), l.ID().String()
	var parts []int
	for p := range ring.Partitions {
		if r.owner.Gate().Phase(p) == ownership.Warm && slices.Contains(view.CopyHolders(p), id) {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return r.compare(ctx, l, parts)
}

// refused says whether a member does not take what it lacks.
func refused(err error) bool {
	return errors.Is(err, session.ErrFull) || errors.Is(err, replication.ErrClocks)
}

// compare makes the copies of parts at one member equal to the ones here.
func (r *Repairer) compare(ctx context.Context, l *mesh.Link, parts []int) error {
	id := l.ID().String()
	bulk := l.Bulk()
	differ, err := r.cfg.Replicator.Digests(ctx, bulk, parts)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, found := slices.BinarySearch(differ, p); !found {
			r.SetSynced(id, p)
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(differ), func(p int) bool { return r.IsSynced(id, p) })
	// One partition that fails, such as by a record that is refused there,
	// does not keep the others waiting.
	var errs []error
	for _, p := range fresh {
		if err := r.cfg.Replicator.Sync(ctx, bulk, p); err != nil {
			errs = append(errs, err)
			continue
		}
		r.SetSynced(id, p)
	}
	// The others were equal once: most often a change is merely on its way.
	again := slices.DeleteFunc(differ, func(p int) bool { _, found := slices.BinarySearch(fresh, p); return found })
	if len(again) == 0 || len(errs) > 0 && !l.Connected() {
		return errors.Join(errs...)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(secondLook):
	}
	if again, err = r.cfg.Replicator.Digests(ctx, bulk, again); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, p := range again {
		if err := r.cfg.Replicator.Sync(ctx, bulk, p); err != nil {
			errs = append(errs, err)
			if refused(err) {
				r.setBehind(id, p)
			}
		}
	}
	return errors.Join(errs...)
}

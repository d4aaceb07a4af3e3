package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// held returns the partitions that this node holds something of although it is
// neither their owner nor a successor, nor serves them still.
func (r *Repairer) held(view *member.View) []int {
	var parts []int
	for p := range ring.Partitions {
		if r.owner.Gate().Phase(p) != ownership.Away {
			continue
		}
		if sum, ok := r.cfg.Store.TrySum(p); ok && sum.Records == 0 {
			continue
		}
		if !slices.Contains(view.Table.Holders(p), r.cfg.Self.Name) {
			parts = append(parts, p)
		}
	}
	return parts
}

// handOver offers the partitions that this node should not hold to all that
// should, or that serve them, and drops a copy only after each of them has confirmed that it has
// everything in it.
func (r *Repairer) handOver(ctx context.Context) error {
	view := r.cfg.View()
	parts := r.held(view)
	if len(parts) == 0 {
		return nil
	}
	if planted.Is(planted.DroppedUnchecked) {
		for _, p := range parts {
			r.owner.DropIf(p, r.cfg.Store.Digest(p))
		}
	}
	before := make(map[int]uint64, len(parts))
	missing := make(map[int]int, len(parts)) // confirmations still to come
	byMember := make(map[string][]int)
	for i, sum := range owner.Sums(r.cfg.Store, parts, 0) {
		p := parts[i]
		if !sum.Known { // an operation holds it; another pass is soon
			missing[p] = 1
			continue
		}
		before[p] = sum.Digest
		holders := r.owner.Gate().Takers(p)
		missing[p] = len(holders)
		for _, id := range holders {
			byMember[id] = append(byMember[id], p)
		}
		if len(holders) == 0 {
			missing[p] = 1 // nobody to hand it to: keep it
		}
	}
	var mu sync.Mutex
	err := r.each(byMember, func(l *mesh.Link, parts []int) error {
		return r.offer(ctx, l, parts, func(p int) {
			mu.Lock()
			missing[p]--
			mu.Unlock()
		})
	})
	dropped, kept := 0, 0
	for _, p := range parts {
		// Something may have arrived, or the partition come back, meanwhile.
		if missing[p] == 0 && r.cfg.View().Table == view.Table && r.owner.DropIf(p, before[p]) {
			dropped++
		} else {
			kept++
		}
	}
	if dropped > 0 {
		r.cfg.Log.Info("handed over", "partitions", dropped)
		r.cfg.Events.Add("handed-over", "partitions", dropped)
	}
	if err == nil && kept > 0 {
		return fmt.Errorf("%d partitions could not be handed over yet", kept)
	}
	return err
}

// offer sends one member what it lacks of parts, and calls confirmed for each
// partition of which it then has everything.
func (r *Repairer) offer(ctx context.Context, l *mesh.Link, parts []int, confirmed func(p int)) error {
	bulk := l.Bulk()
	differ, err := r.cfg.Replicator.Digests(ctx, bulk, parts)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range parts {
		if _, found := slices.BinarySearch(differ, p); found {
			if err := r.cfg.Replicator.Offer(ctx, bulk, p); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		confirmed(p)
	}
	return errors.Join(errs...)
}

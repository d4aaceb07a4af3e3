package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// confirmLasts is for how long the word of a member counts that it has
// everything: as long as a few comparisons, so that a copy that is kept for
// another member is compared with this one again before it is dropped.
const confirmLasts = 10 * time.Second

// handover is how far a copy is that this node should not hold: who has
// confirmed, and when, that it has everything in it.
type handover struct {
	digest    uint64 // of what it says they have
	table     *ring.Table
	confirmed map[string]time.Duration
	kept      bool // all have confirmed, and are too few: see Kept
}

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
		if !view.Holds(r.cfg.Self, p) {
			parts = append(parts, p)
		}
	}
	return parts
}

// handOver offers the partitions that this node should not hold to one of those
// that should, or that serve them, and drops each copy that all of these have
// confirmed by then, unless they are too few.
func (r *Repairer) handOver(ctx context.Context, l *mesh.Link) error {
	view, id := r.cfg.View(), l.ID().String()
	parts := slices.DeleteFunc(r.held(view), func(p int) bool { return !slices.Contains(r.owner.Gate().Takers(p), id) })
	if len(parts) == 0 {
		return nil
	}
	if planted.Is(planted.DroppedUnchecked) {
		for _, p := range parts {
			r.owner.DropIf(p, r.cfg.Store.Digest(p))
		}
	}
	digests := make(map[int]uint64, len(parts))
	var known []int
	for i, sum := range owner.Sums(r.cfg.Store, parts, 0) {
		if sum.Known { // else an operation holds it
			digests[parts[i]] = sum.Digest
			known = append(known, parts[i])
		}
	}
	dropped, changed := 0, 0
	err := r.offer(ctx, l, known, func(p int) {
		switch {
		case !r.confirm(view, p, id, digests[p]): // others are still to say so
		case r.cfg.View().Table == view.Table && r.owner.DropIf(p, digests[p]):
			dropped++
		default: // something has arrived, or the partition come back, meanwhile
			changed++
		}
	})
	if dropped > 0 {
		r.cfg.Log.Info("handed over", "partitions", dropped)
		r.cfg.Events.Add("handed-over", "partitions", dropped)
	}
	if kept := len(parts) - len(known) + changed; err == nil && kept > 0 {
		return fmt.Errorf("%d partitions could not be handed over yet", kept)
	}
	return err
}

// confirm notes that a member has everything of a copy that should not be here,
// as of a digest, and says whether all have that must.
func (r *Repairer) confirm(view *member.View, p int, id string, digest uint64) (all bool) {
	now := r.cfg.Clock.Since()
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.handovers[p]
	if h == nil || h.digest != digest || h.table != view.Table {
		h = &handover{digest: digest, table: view.Table, confirmed: make(map[string]time.Duration)}
		r.handovers[p] = h
	}
	h.confirmed[id] = now
	if len(view.CopyHolders(p)) == 0 {
		return false // nobody keeps it up to date
	}
	for _, holder := range r.owner.Gate().Takers(p) {
		if at, has := h.confirmed[holder]; !has || now-at > confirmLasts {
			return false
		}
	}
	if h.kept = len(view.CopyHolders(p)) < view.Target() && view.Misses(r.cfg.Self); h.kept && !planted.Is(planted.DroppedTooFew) {
		return false
	}
	delete(r.handovers, p)
	return true
}

// Kept says whether this node holds a copy of partition p that all have who
// should, but these are fewer than there are to be, while a node is out of reach
// that may come back to be one more.
func (r *Repairer) Kept(p int) bool {
	table := r.cfg.View().Table
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.handovers[p]
	return h != nil && h.kept && h.table == table
}

// Unconfirmed returns the names of the members that have not confirmed what
// this node holds and should not.
func (r *Repairer) Unconfirmed() (names []string) {
	view, now := r.cfg.View(), r.cfg.Clock.Since()
	held := r.held(view)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range held {
		for _, holder := range r.owner.Gate().Takers(p) {
			h := r.handovers[p]
			if h != nil && h.table == view.Table {
				if at, has := h.confirmed[holder]; has && now-at <= confirmLasts {
					continue
				}
			}
			if id, err := member.ParseID(holder); err == nil {
				names = append(names, id.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// offer sends one member what it lacks of parts, and calls confirmed for each
// partition of which it then has everything.
func (r *Repairer) offer(ctx context.Context, l *mesh.Link, parts []int, confirmed func(p int)) error {
	if len(parts) == 0 {
		return nil
	}
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

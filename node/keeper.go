package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// repairInterval is how often the copies of a quiet cluster are compared.
	repairInterval = 2 * time.Second
	// secondLook is how long partitions that differ are left to the stream of
	// changes before they count as different.
	secondLook = 50 * time.Millisecond
	keeperSoon = 100 * time.Millisecond
	// keeperFull is the pause where what failed did so for want of memory
	// elsewhere.
	keeperFull = time.Second
)

// keeper sees to it that the right members hold copies, by comparison. It
// fills the copies of a new successor, finds and mends what the stream of
// changes has missed, and hands over what this node holds and should not.
type keeper struct {
	node *Node
	wake wait.Wake

	mu sync.Mutex // guards what follows
	// synced says, for each member and partition, that since this node serves
	// the partition the copy there has once been equal to the one here. From
	// then on the dirty set keeps it so.
	synced map[string]*[ring.Partitions]bool
	passes int
}

func newKeeper(n *Node) *keeper {
	return &keeper{node: n, wake: wait.NewWake(), synced: make(map[string]*[ring.Partitions]bool)}
}

func (k *keeper) run(ctx context.Context) {
	for {
		pause := repairInterval + rand.N(repairInterval/4)
		if err := k.pass(ctx); err != nil && ctx.Err() == nil {
			k.node.log.Debug("copies", "error", err)
			pause = keeperSoon
			if errors.Is(err, session.ErrFull) {
				pause = keeperFull
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-time.After(pause):
		}
	}
}

// claimed starts the account of a partition that this node serves from now on.
// equal are the members that were found to hold the same.
func (k *keeper) claimed(p int, equal []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, parts := range k.synced {
		parts[p] = false
	}
	for _, id := range equal {
		k.entryLocked(id)[p] = true
	}
}

func (k *keeper) entryLocked(id string) *[ring.Partitions]bool {
	parts := k.synced[id]
	if parts == nil {
		parts = new([ring.Partitions]bool)
		k.synced[id] = parts
	}
	return parts
}

// forget drops the account of a member: it has ended, or the stream of changes
// to it has been interrupted.
func (k *keeper) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.synced, id)
}

// viewChanged drops the accounts of copies that nobody keeps up to date any more.
func (k *keeper) viewChanged(view *View) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, parts := range k.synced {
		for p := range parts {
			if parts[p] && !slices.Contains(view.CopyHolders(p), id) {
				parts[p] = false
			}
		}
	}
}

func (k *keeper) setSynced(id string, p int) {
	if !slices.Contains(k.node.View().CopyHolders(p), id) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entryLocked(id)[p] = true
}

// setBehind says that the copy at a member is not equal any more, and that the
// dirty set does not mend that: the member has no room.
func (k *keeper) setBehind(id string, p int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entryLocked(id)[p] = false
}

func (k *keeper) isSynced(id string, p int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	parts := k.synced[id]
	return parts != nil && parts[p]
}

// belowTarget counts the keys that fewer members are known to hold than
// should, of those that this node serves.
func (k *keeper) belowTarget() (keys int) {
	for _, p := range k.partsBelowTarget() {
		keys += k.node.store.Count(p)
	}
	return keys
}

func (k *keeper) partsBelowTarget() (parts []int) {
	view := k.node.View()
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range ring.Partitions {
		if !k.node.owner.decide(p).Here() {
			continue
		}
		lacks := func(id string) bool { synced := k.synced[id]; return synced == nil || !synced[p] }
		if slices.ContainsFunc(view.CopyHolders(p), lacks) {
			parts = append(parts, p)
		}
	}
	return parts
}

// pass compares every copy once. It returns an error if it has to be repeated
// soon.
func (k *keeper) pass(ctx context.Context) error {
	err := errors.Join(k.repair(ctx), k.handOver(ctx))
	k.mu.Lock()
	k.passes++
	k.mu.Unlock()
	return err
}

// repair compares the partitions that this node serves with their copies.
func (k *keeper) repair(ctx context.Context) error {
	if planted.Is(planted.NotRebuilt) {
		return nil
	}
	view := k.node.View()
	byMember := make(map[string][]int)
	for p := range ring.Partitions {
		if k.node.owner.gate.Phase(p) != ownership.Warm {
			continue
		}
		for _, id := range view.CopyHolders(p) {
			byMember[id] = append(byMember[id], p)
		}
	}
	return k.each(byMember, func(l *mesh.Link, parts []int) error { return k.compare(ctx, l, parts) })
}

// each runs f for every member at once and returns what failed.
func (k *keeper) each(byMember map[string][]int, f func(l *mesh.Link, parts []int) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for id, parts := range byMember {
		wg.Go(func() {
			err := fmt.Errorf("%s: %w", id, mesh.ErrNoLink)
			if l := k.node.linkNamed(id); l != nil {
				err = f(l, parts)
			}
			if err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// compare makes the copies of parts at one member equal to the ones here.
func (k *keeper) compare(ctx context.Context, l *mesh.Link, parts []int) error {
	id := l.ID().String()
	bulk := l.Bulk()
	differ, err := k.node.replicator.Digests(ctx, bulk, parts)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, found := slices.BinarySearch(differ, p); !found {
			k.setSynced(id, p)
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(differ), func(p int) bool { return k.isSynced(id, p) })
	// One partition that fails, such as by a record that is refused there,
	// does not keep the others waiting.
	var errs []error
	for _, p := range fresh {
		if err := k.node.replicator.Sync(ctx, bulk, p); err != nil {
			errs = append(errs, err)
			continue
		}
		k.setSynced(id, p)
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
	if again, err = k.node.replicator.Digests(ctx, bulk, again); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, p := range again {
		if err := k.node.replicator.Sync(ctx, bulk, p); err != nil {
			errs = append(errs, err)
			if errors.Is(err, session.ErrFull) {
				k.setBehind(id, p)
			}
		}
	}
	return errors.Join(errs...)
}

// held returns the partitions that this node holds something of although it is
// neither their owner nor a successor, nor serves them still.
func (k *keeper) held(view *View) []int {
	var parts []int
	for p := range ring.Partitions {
		if k.node.owner.gate.Phase(p) != ownership.Away {
			continue
		}
		if sum, ok := k.node.store.TrySum(p); ok && sum.Records == 0 {
			continue
		}
		if !slices.Contains(view.Table.Holders(p), k.node.id.Name) {
			parts = append(parts, p)
		}
	}
	return parts
}

// handOver offers the partitions that this node should not hold to all that
// should, and drops a copy only after each of them has confirmed that it has
// everything in it.
func (k *keeper) handOver(ctx context.Context) error {
	view := k.node.View()
	parts := k.held(view)
	if len(parts) == 0 {
		return nil
	}
	if planted.Is(planted.DroppedUnchecked) {
		for _, p := range parts {
			k.node.owner.dropIf(p, k.node.store.Digest(p))
		}
	}
	before := make(map[int]uint64, len(parts))
	missing := make(map[int]int, len(parts)) // confirmations still to come
	byMember := make(map[string][]int)
	for i, sum := range k.node.sums(parts, 0) {
		p := parts[i]
		if !sum.Known { // an operation holds it; another pass is soon
			missing[p] = 1
			continue
		}
		before[p] = sum.Digest
		holders := view.CopyHolders(p)
		missing[p] = len(holders)
		for _, id := range holders {
			byMember[id] = append(byMember[id], p)
		}
		if len(holders) == 0 {
			missing[p] = 1 // nobody to hand it to: keep it
		}
	}
	var mu sync.Mutex
	err := k.each(byMember, func(l *mesh.Link, parts []int) error {
		return k.offer(ctx, l, parts, func(p int) {
			mu.Lock()
			missing[p]--
			mu.Unlock()
		})
	})
	dropped, kept := 0, 0
	for _, p := range parts {
		// Something may have arrived, or the partition come back, meanwhile.
		if missing[p] == 0 && k.node.View().Table == view.Table && k.node.owner.dropIf(p, before[p]) {
			dropped++
		} else {
			kept++
		}
	}
	if dropped > 0 {
		k.node.log.Info("handed over", "partitions", dropped)
		k.node.events.Add("handed-over", "partitions", dropped)
	}
	if err == nil && kept > 0 {
		return fmt.Errorf("%d partitions could not be handed over yet", kept)
	}
	return err
}

// offer sends one member what it lacks of parts, and calls confirmed for each
// partition of which it then has everything.
func (k *keeper) offer(ctx context.Context, l *mesh.Link, parts []int, confirmed func(p int)) error {
	bulk := l.Bulk()
	differ, err := k.node.replicator.Digests(ctx, bulk, parts)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range parts {
		if _, found := slices.BinarySearch(differ, p); found {
			if err := k.node.replicator.Offer(ctx, bulk, p); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		confirmed(p)
	}
	return errors.Join(errs...)
}

// linkNamed returns the link to a boot by its whole name, nil if there is none.
func (n *Node) linkNamed(id string) *mesh.Link {
	parsed, err := member.ParseID(id)
	if err != nil {
		return nil
	}
	return n.mesh.Link(parsed)
}

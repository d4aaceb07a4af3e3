package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// fetchAll completes partitions that were claimed with holders whose copies
// differ: it merges each holder's copy, partition by partition, and makes the
// partition warm. Requests do not wait for it, see fetchThrough.
func (o *ownership) fetchAll(ctx context.Context, epoch uint64, parts []int) {
	begin := o.node.since()
	left := parts
	for pause := 10 * time.Millisecond; len(left) > 0; pause = min(2*pause, time.Second) {
		left = o.fetchEach(ctx, epoch, left)
		switch {
		case ctx.Err() != nil:
			return
		case len(left) == 0:
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	o.node.events.Add("fetched", "partitions", len(parts), "ms", (o.node.since() - begin).Milliseconds())
	o.node.members.broadcast()
	o.node.keeper.kick()
}

// fetchAtOnce is how many partitions are completed at a time: while a source is
// slow with one, because an operation holds it there, the others go on.
const fetchAtOnce = 4

// fetchEach returns the partitions that could not be completed.
func (o *ownership) fetchEach(ctx context.Context, epoch uint64, parts []int) (failed []int) {
	var mu sync.Mutex // guards failed
	var group errgroup.Group
	group.SetLimit(fetchAtOnce)
	for _, p := range parts {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := o.fetchPartition(ctx, p, epoch); err != nil {
				o.node.log.Debug("fetch", "partition", p, "error", err)
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, p)
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return failed
}

// fetchPartition merges what the sources of p hold and makes it warm. A source
// whose process has ended is given up: what it alone had is lost with it. While no
// source is heard from, and one of them may come back, the partition stays cold.
func (o *ownership) fetchPartition(ctx context.Context, p int, epoch uint64) error {
	var got sourced
	for _, l := range o.sourcesOf(p, epoch) {
		err := o.node.replicator.Fetch(ctx, bulkLink{l}, p)
		if err != nil && o.node.View().Up(l.id) {
			return err
		}
		got.note(o.node, l.id, err)
	}
	if o.unreached(p, epoch, &got) {
		return fmt.Errorf("no source of partition %d can be reached: %w", p, got.err)
	}
	o.mu.Lock()
	if part := &o.parts[p]; part.phase == fetching && part.holder.epoch == epoch {
		o.setPhaseLocked(p, warm)
	}
	o.mu.Unlock()
	return nil
}

// sourced is what became of asking the sources of a partition, those apart that
// are alive and were not understood.
type sourced struct {
	some bool  // one has given what it had
	err  error // why one that may come back has not
}

func (s *sourced) note(n *Node, source ID, err error) {
	if err == nil {
		s.some = true
	} else if !n.View().HasEnded(source) && !n.rings.settled() {
		s.err = err
	}
}

// unreached says whether nothing was heard of a partition that is being fetched,
// though there may be something, and takes note of that: see serveBlind.
func (o *ownership) unreached(p int, epoch uint64, got *sourced) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	part := &o.parts[p]
	if part.phase != fetching || part.holder.epoch != epoch {
		return false
	}
	unreached := got.err != nil && !got.some
	if unreached != part.unreached {
		part.unreached = unreached
		o.blind[p].Store(unreached)
	}
	return unreached
}

func (o *ownership) sourcesOf(p int, epoch uint64) []*link {
	o.mu.Lock()
	defer o.mu.Unlock()
	if part := &o.parts[p]; part.phase == fetching && part.holder.epoch == epoch {
		return o.present(part.sources)
	}
	return nil
}

// present returns the links that there are now to the members of links: one that
// was forgotten and has come back has another.
func (o *ownership) present(links []*link) []*link {
	links = slices.Clone(links)
	for i, l := range links {
		if now := o.node.linkTo(l.id); now != nil {
			links[i] = now
		}
	}
	return links
}

// fetchThrough makes sure that the copies here of what the work looks at are as
// new as any that the holders of its cold partition have. It never lets a miss
// be answered before they were asked.
func (o *ownership) fetchThrough(ctx context.Context, p int, w work) (err error) {
	whole := w.keys(func(key string) {
		if err == nil {
			err = o.fetchKey(ctx, p, key)
		}
	})
	if err == nil && whole {
		o.mu.Lock()
		epoch := o.parts[p].holder.epoch
		o.mu.Unlock()
		return o.fetchPartition(ctx, p, epoch)
	}
	return err
}

// fetchKey merges what the sources of a cold partition hold of one key.
func (o *ownership) fetchKey(ctx context.Context, p int, key string) error {
	o.mu.Lock()
	part := &o.parts[p]
	_, have := part.fetched[key]
	sources, epoch, ph := o.present(part.sources), part.holder.epoch, part.phase
	o.mu.Unlock()
	if ph != fetching || have || planted.Is(planted.MissWhileCold) {
		return nil // or warm by now, or yielded: the store says which
	}
	errs := make([]error, len(sources))
	var wg sync.WaitGroup
	for i, l := range sources {
		wg.Go(func() { errs[i] = o.node.replicator.FetchKeys(ctx, l, p, key) })
	}
	wg.Wait()
	var got sourced
	for i, err := range errs {
		if id := sources[i].id; err != nil && o.node.View().Up(id) {
			return fmt.Errorf("fetch from %s: %w", id.Name, err)
		}
		got.note(o.node, sources[i].id, err)
	}
	if o.unreached(p, epoch, &got) {
		return nil // whoever runs the work sees that it is blind
	}
	o.mu.Lock()
	if part := &o.parts[p]; part.phase == fetching && part.holder.epoch == epoch {
		part.fetched[strings.Clone(key)] = struct{}{} // the caller's may be part of a buffer
	}
	o.mu.Unlock()
	o.node.stats.fetchedThrough.Add(1)
	return nil
}

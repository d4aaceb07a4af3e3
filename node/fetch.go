package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// fetchAll completes partitions that were claimed with holders whose copies
// differ: it merges each holder's copy, partition by partition, and makes the
// partition warm. Requests do not wait for it, see fetchThrough.
func (o *owner) fetchAll(ctx context.Context, epoch uint64, parts []int) {
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
	o.node.pulse.Beat()
	o.node.keeper.wake.Kick()
}

// fetchAtOnce is how many partitions are completed at a time: while a source is
// slow with one, because an operation holds it there, the others go on.
const fetchAtOnce = 4

// fetchEach returns the partitions that could not be completed.
func (o *owner) fetchEach(ctx context.Context, epoch uint64, parts []int) (failed []int) {
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

// pull is what was fetched, by single keys, of a partition that is being
// fetched. It is there as long as the partition is.
type pull struct{ fetched map[string]struct{} }

// sourcesOf returns the holders to fetch p from, by the claim of an epoch.
func (o *owner) sourcesOf(p int, epoch uint64) (sources []ID) {
	o.look(func(core *ownership.Core, _ time.Duration) {
		if ids, by, fetching := core.Sources(p); fetching && by == epoch {
			sources = ids
		}
	})
	return sources
}

// fetchPartition merges what the sources of p hold and makes it warm. A source
// whose process has ended is given up: what it alone had is lost with it. While no
// source is heard from, and one of them may come back, the partition stays cold.
func (o *owner) fetchPartition(ctx context.Context, p int, epoch uint64) error {
	var got sourced
	for _, id := range o.sourcesOf(p, epoch) {
		err := mesh.ErrNoLink
		if l := o.node.mesh.Link(id); l != nil {
			err = o.node.replicator.Fetch(ctx, l.Bulk(), p)
		}
		if err != nil && o.node.View().Up(id) {
			return err
		}
		got.note(o, id, err)
	}
	if o.unreached(p, epoch, &got) {
		return fmt.Errorf("no source of partition %d can be reached: %w", p, got.err)
	}
	o.step(func(core *ownership.Core, _ time.Duration) ownership.Todo {
		core.Fetched(p, epoch)
		if core.Gate().Phase(p) != ownership.Fetching {
			delete(o.pulls, p)
		}
		return ownership.Todo{}
	})
	return nil
}

// sourced is what became of asking the sources of a partition, those apart that
// are alive and were not understood.
type sourced struct {
	some bool  // one has given what it had
	err  error // why one that may come back has not
}

func (s *sourced) note(o *owner, source ID, err error) {
	if err == nil {
		s.some = true
		return
	}
	settled := false
	o.look(func(core *ownership.Core, now time.Duration) { settled = core.Settled(now) })
	if !settled && !o.node.View().HasEnded(source) {
		s.err = err
	}
}

// unreached says whether nothing was heard of a partition that is being fetched,
// though there may be something, and takes note of that: see serveBlind.
func (o *owner) unreached(p int, epoch uint64, got *sourced) (unreached bool) {
	o.look(func(core *ownership.Core, _ time.Duration) {
		unreached = core.SetUnreached(p, epoch, got.err != nil && !got.some)
	})
	return unreached
}

// fetchThrough makes sure that the copies here of what the work looks at are as
// new as any that the holders of its cold partition have. It never lets a miss
// be answered before they were asked.
func (o *owner) fetchThrough(ctx context.Context, p int, w work) (err error) {
	whole := w.keys(func(key string) {
		if err == nil {
			err = o.fetchKey(ctx, p, key)
		}
	})
	if err == nil && whole {
		return o.fetchPartition(ctx, p, o.decide(p).Epoch)
	}
	return err
}

// fetchKey merges what the sources of a cold partition hold of one key.
func (o *owner) fetchKey(ctx context.Context, p int, key string) error {
	sources, epoch, needed := o.sourcesFor(p, key)
	if !needed || planted.Is(planted.MissWhileCold) {
		return nil // or warm by now, or yielded: the store says which
	}
	errs := make([]error, len(sources))
	var wg sync.WaitGroup
	for i, id := range sources {
		wg.Go(func() {
			errs[i] = mesh.ErrNoLink
			if l := o.node.mesh.Link(id); l != nil {
				errs[i] = o.node.replicator.FetchKeys(ctx, l, p, key)
			}
		})
	}
	wg.Wait()
	var got sourced
	for i, err := range errs {
		if id := sources[i]; err != nil && o.node.View().Up(id) {
			return fmt.Errorf("fetch from %s: %w", id.Name, err)
		}
		got.note(o, sources[i], err)
	}
	if o.unreached(p, epoch, &got) {
		return nil // what runs the work sees that the partition is unverified
	}
	o.look(func(core *ownership.Core, _ time.Duration) {
		if _, by, fetching := core.Sources(p); fetching && by == epoch {
			o.pulls[p].fetched[strings.Clone(key)] = struct{}{} // the caller's may be part of a buffer
		}
	})
	o.node.stats.fetchedThrough.Add(1)
	return nil
}

// sourcesFor returns the holders to fetch a key from, unless that was done or
// its partition is not being fetched.
func (o *owner) sourcesFor(p int, key string) (sources []ID, epoch uint64, needed bool) {
	o.look(func(core *ownership.Core, _ time.Duration) {
		var fetching bool
		if sources, epoch, fetching = core.Sources(p); fetching {
			_, have := o.pulls[p].fetched[key]
			needed = !have
		}
	})
	return sources, epoch, needed
}

package repair

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// Fetch implements owner.Copies: it completes partitions that were claimed with
// holders whose copies differ: it merges each holder's copy, partition by
// partition, and makes the partition warm. Requests do not wait for it, see
// FetchThrough.
func (r *Repairer) Fetch(ctx context.Context, epoch uint64, parts []int) {
	begin := r.cfg.Clock.Since()
	left := parts
	for pause := 10 * time.Millisecond; len(left) > 0; pause = min(2*pause, time.Second) {
		left = r.fetchEach(ctx, epoch, left)
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
	r.cfg.Events.Add("fetched", "partitions", len(parts), "ms", (r.cfg.Clock.Since() - begin).Milliseconds())
	r.cfg.Pulse.Beat()
	r.Recheck()
}

// fetchAtOnce is how many partitions are completed at a time from the same
// sources: while one is slow with one, because an operation holds it there, the
// others go on.
const fetchAtOnce = 4

// fetchEach returns the partitions that could not be completed. Those that have
// other sources do not wait for one that is silent.
func (r *Repairer) fetchEach(ctx context.Context, epoch uint64, parts []int) (failed []int) {
	bySources := make(map[string][]int)
	for _, p := range parts {
		sources := fmt.Sprint(r.sourcesOf(p, epoch))
		bySources[sources] = append(bySources[sources], p)
	}
	var mu sync.Mutex // guards failed
	var all sync.WaitGroup
	for _, parts := range bySources {
		all.Go(func() {
			var group errgroup.Group
			group.SetLimit(fetchAtOnce)
			for _, p := range parts {
				if ctx.Err() != nil {
					break
				}
				group.Go(func() error {
					if err := r.fetchPartition(ctx, p, epoch); err != nil {
						r.cfg.Log.Debug("fetch", "partition", p, "error", err)
						mu.Lock()
						defer mu.Unlock()
						failed = append(failed, p)
					}
					return nil
				})
			}
			_ = group.Wait() // none returns an error
		})
	}
	all.Wait()
	return failed
}

// pull is what was fetched, by single keys, of a partition that is being
// fetched by the claim of an epoch.
type pull struct {
	epoch   uint64
	fetched map[string]struct{}
}

// hasFetched says whether a key was fetched by the claim of an epoch.
func (r *Repairer) hasFetched(p int, epoch uint64, key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	pulled := r.pulls[p]
	if pulled == nil || pulled.epoch != epoch {
		return false
	}
	_, has := pulled.fetched[key]
	return has
}

func (r *Repairer) setFetched(p int, epoch uint64, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch pulled := r.pulls[p]; {
	case pulled == nil || pulled.epoch < epoch:
		r.pulls[p] = &pull{epoch, make(map[string]struct{})}
	case pulled.epoch > epoch:
		return // a late one, of a claim before
	}
	r.pulls[p].fetched[strings.Clone(key)] = struct{}{} // the caller's may be part of a buffer
}

// endPull forgets what was fetched of a partition that is complete.
func (r *Repairer) endPull(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pulls, p)
}

// sourcesOf returns the holders to fetch p from, by the claim of an epoch.
func (r *Repairer) sourcesOf(p int, epoch uint64) (sources []member.ID) {
	r.owner.Look(func(core *ownership.Core, _ time.Duration) {
		if ids, by, fetching := core.Sources(p); fetching && by == epoch {
			sources = ids
		}
	})
	return sources
}

// fetchPartition merges what the sources of p hold and makes it warm. A source
// whose process has ended is given up: what it alone had is lost with it, and
// what others have that are out of reach is not known. While one is not heard
// from that may come back with more, the partition stays cold.
func (r *Repairer) fetchPartition(ctx context.Context, p int, epoch uint64) error {
	var got sourced
	for _, id := range r.sourcesOf(p, epoch) {
		err := mesh.ErrNoLink
		if l := r.mesh.Link(id); l != nil {
			err = r.cfg.Replicator.Fetch(ctx, l.Bulk(), p)
		}
		if err != nil && r.cfg.View().Up(id) {
			return err
		}
		r.note(&got, id, err)
	}
	if r.unreached(p, epoch, &got) {
		return fmt.Errorf("a source of partition %d cannot be reached: %w", p, got.err)
	}
	r.owner.Step(func(core *ownership.Core, _ time.Duration) ownership.Todo {
		core.Fetched(p, epoch)
		return ownership.Todo{}
	})
	if r.owner.Gate().Phase(p) != ownership.Fetching {
		r.endPull(p)
	}
	return nil
}

// sourced is what became of asking the sources of a partition, those apart that
// are alive and were not understood.
type sourced struct {
	heard  []member.ID // who have given what they had
	silent []member.ID // who have not, and may come back
	ended  []member.ID // who have not, and never will
	err    error       // why a silent one has not
}

// note takes in what came of asking one source.
func (r *Repairer) note(s *sourced, source member.ID, err error) {
	if err == nil {
		s.heard = append(s.heard, source)
		return
	}
	settled := false
	r.owner.Look(func(core *ownership.Core, now time.Duration) { settled = core.Settled(now) })
	switch {
	case settled:
	case r.cfg.View().HasEnded(source):
		s.ended = append(s.ended, source)
	default:
		s.silent, s.err = append(s.silent, source), err
	}
}

// unreached says whether there may be more of a partition that is being fetched
// than was given, and takes note of that: see ownership.Core.SetUnreached.
func (r *Repairer) unreached(p int, epoch uint64, got *sourced) (unreached bool) {
	r.owner.Look(func(core *ownership.Core, _ time.Duration) {
		unreached = core.SetUnreached(p, epoch, got.heard, got.silent, got.ended)
	})
	return unreached
}

// FetchThrough makes sure that the copies here of what some work looks at are
// as new as any that the holders of its cold partition have. It never lets a
// miss be answered before they were asked. keys calls f with each key that the
// work looks at; whole says that it looks at everything in the partition
// instead.
func (r *Repairer) FetchThrough(ctx context.Context, p int, keys func(f func(key string)) (whole bool)) (err error) {
	whole := keys(func(key string) {
		if err == nil {
			err = r.fetchKey(ctx, p, key)
		}
	})
	if err == nil && whole {
		return r.fetchPartition(ctx, p, r.owner.Decide(p).Epoch)
	}
	return err
}

// fetchKey merges what the sources of a cold partition hold of one key.
func (r *Repairer) fetchKey(ctx context.Context, p int, key string) error {
	sources, epoch, needed := r.sourcesFor(p, key)
	if !needed || planted.Is(planted.MissWhileCold) {
		return nil // or warm by now, or yielded: the store says which
	}
	errs := make([]error, len(sources))
	var wg sync.WaitGroup
	for i, id := range sources {
		wg.Go(func() {
			errs[i] = mesh.ErrNoLink
			if l := r.mesh.Link(id); l != nil {
				errs[i] = r.cfg.Replicator.FetchKeys(ctx, l, p, key)
			}
		})
	}
	wg.Wait()
	var got sourced
	for i, err := range errs {
		if id := sources[i]; err != nil && r.cfg.View().Up(id) {
			return fmt.Errorf("fetch from %s: %w", id.Name, err)
		}
		r.note(&got, sources[i], err)
	}
	if r.unreached(p, epoch, &got) {
		return nil // what runs the work sees that the partition is unverified
	}
	r.setFetched(p, epoch, key)
	if r.owner.Gate().Phase(p) != ownership.Fetching {
		r.endPull(p) // the whole partition has come meanwhile, or it is another's
	}
	r.fetchedThrough.Add(1)
	return nil
}

// sourcesFor returns the holders to fetch a key from, unless that was done or
// its partition is not being fetched.
func (r *Repairer) sourcesFor(p int, key string) (sources []member.ID, epoch uint64, needed bool) {
	r.owner.Look(func(core *ownership.Core, _ time.Duration) { sources, epoch, needed = core.Sources(p) })
	return sources, epoch, needed && !r.hasFetched(p, epoch, key)
}

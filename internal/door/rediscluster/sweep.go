package rediscluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// sweepers is how many partitions are asked at a time where all of them are.
const sweepers = 32

// mine says whether this member serves the partition.
func (c *Cluster) mine(p int) bool {
	return c.cfg.Owner.Decide(p).Here()
}

// each calls f with every partition, or with those that this member serves,
// some at a time, until one fails.
func (c *Cluster) each(ctx context.Context, local bool, f func(ctx context.Context, p int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, sweepers)
	var wg sync.WaitGroup
	for p := range ring.Partitions {
		if local && !c.mine(p) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			if err := f(ctx, p); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Count implements redis.Cluster.
func (c *Cluster) Count(ctx context.Context, local bool) (int, error) {
	var mu sync.Mutex
	total := 0
	err := c.each(ctx, local, func(ctx context.Context, p int) error {
		v, err := c.ask(ctx, command.CountBatch(p))
		if err == nil && len(v.Elems) != 2 {
			err = fmt.Errorf("count of partition %d: %d numbers, 2 are accepted: %w", p, len(v.Elems), session.ErrMalformed)
		}
		if err != nil {
			return err
		}
		mu.Lock()
		total += int(v.Elems[0].Int)
		mu.Unlock()
		return nil
	})
	return total, err
}

// Flush implements redis.Cluster. Like every delete it leaves tombstones.
func (c *Cluster) Flush(ctx context.Context, local bool) error {
	return c.each(ctx, local, func(ctx context.Context, p int) error {
		for {
			v, err := c.ask(ctx, command.FlushBatch(p))
			if err == nil && v.Kind != resp.Int {
				err = fmt.Errorf("flush of partition %d: answer of kind %q, one number is accepted: %w", p, byte(v.Kind), session.ErrMalformed)
			}
			if err != nil || v.Int < command.FlushPage {
				return err
			}
		}
	})
}

// Scan implements redis.Cluster. It takes pages of the partitions in order until
// it has seen as many keys as it was to. As most partitions of a small cluster
// hold little, it asks several at a time; not at once, for what the first ones
// have may be enough, and a large one behind them be looked at for nothing.
func (c *Cluster) Scan(ctx context.Context, r redis.ScanRequest) (redis.ScanResult, error) {
	found := redis.ScanResult{Next: r.From}
	end := cmp.Or(r.Until, ring.Partitions)
	for several := 1; found.Next.Partition < end && found.Seen < r.Count; several = min(2*several, sweepers) {
		first := found.Next.Partition
		n := min(several, end-first)
		pages, err := c.pages(ctx, r, found.Next, n, r.Count-found.Seen)
		if err != nil {
			return found, err
		}
		for i := 0; i < n && found.Seen < r.Count; i++ {
			found.Keys = append(found.Keys, pages[i].Keys...)
			found.Seen += pages[i].Seen
			found.Next = redis.Cursor{Partition: first + i + 1}
			if pages[i].More {
				found.Next = redis.Cursor{Partition: first + i, Position: pages[i].Next}
				break
			}
		}
	}
	return found, nil
}

// pages asks n partitions for their keys, the first from a position on.
func (c *Cluster) pages(ctx context.Context, r redis.ScanRequest, from redis.Cursor, n, count int) ([]command.Page, error) {
	pages, errs := make([]command.Page, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		p, position := from.Partition+i, uint64(0)
		if i == 0 {
			position = from.Position
		}
		if r.Local && !c.mine(p) {
			continue
		}
		wg.Go(func() {
			v, err := c.ask(ctx, command.ScanBatch(p, position, count, r.Match, r.Type))
			page, ok := command.PageOf(v)
			if err == nil && !ok {
				err = fmt.Errorf("scan of partition %d: %w", p, session.ErrMalformed)
			}
			pages[i], errs[i] = page, err
		})
	}
	wg.Wait()
	return pages, errors.Join(errs...)
}

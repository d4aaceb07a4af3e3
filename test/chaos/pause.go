package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
	"github.com/seed-95a32959/holdfast/test/internal/operator"
)

const (
	shortestPause = 500 * time.Millisecond
	longestPause  = 10 * time.Second
	// ambushSize is how many requests wait in a frozen node's sockets when it
	// goes on. They are the first thing it sees, before any timer of its own
	// has told it that it stood still.
	ambushSize = 256
	ambushLead = 50 * time.Millisecond
	// lateSize is how many sessions are written to from the moment their owner
	// is frozen.
	lateSize = 64
)

// runPause freezes nodes under load. What a node answers from old memory when
// it goes on is an answer older than an acknowledged write.
func runPause(ctx context.Context, e *env, r *report) error {
	b, err := e.newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	g, err := b.newGiveUps(ctx)
	if err != nil {
		return err
	}
	var pauses, whole []time.Duration
	var cost losses
	for i := range e.count {
		m, d := e.pick(b.cluster), e.between(shortestPause, longestPause)
		b.tally.during("pause %d, of %s for %s", i+1, m.Name, short(d))
		before := b.tally.all()
		at := time.Now()
		b.load.start(ctx)
		up, err := b.pauseOnce(ctx, m, d, g)
		b.load.stop()
		if err != nil {
			return err
		}
		pauses, whole = append(pauses, d), append(whole, up)
		cost.add(b.load.settle(ctx, b.router().door), b.tally.all().minus(before).by[failed], at)
		replica, async := b.tally.of("replica"), b.tally.of("async")
		e.progress("pause %d of %d, of %s for %s: one view after %s; stale answers replica %d, async %d; %d failed",
			i+1, e.count, m.Name, short(d), short(up), replica.by[stale], async.by[stale], cost.failed[i])
	}
	b.common(r)
	r.figure("pauses", "%d of %v to %v: %s", e.count, shortestPause, longestPause, spread(pauses))
	r.figure("one view and all copies after the end of a pause", "%s", spread(whole))
	r.figure("failed requests per pause", "%s", counts(cost.failed))
	r.never("writes undone by one that was given up at the frozen node's endpoint", len(g.undone), g.wrote, g.undone[:min(len(g.undone), 5)])
	b.lossRows(r, &cost)
	return nil
}

// pauseOnce freezes m for d and returns how long the cluster took afterwards.
func (b *bench) pauseOnce(ctx context.Context, m *member, d time.Duration, g *giveUps) (time.Duration, error) {
	if !nursery.Sleep(ctx, 300*time.Millisecond) {
		return 0, ctx.Err()
	}
	keys, err := b.owned(ctx, m, "", ambushSize)
	if err != nil {
		return 0, err
	}
	if err := b.pause(m); err != nil {
		return 0, err
	}
	frozen := time.Now()
	repeated := b.overtake(ctx, keys[:min(lateSize, len(keys))])
	defer repeated.Wait()
	var lasting map[string]string
	if d >= giveUpPause {
		if lasting, err = b.giveUp(ctx, m, g); err != nil {
			return 0, fmt.Errorf("write elsewhere while %s is frozen: %w", m.Name, err)
		}
	}
	if !nursery.Sleep(ctx, d-ambushLead-time.Since(frozen)) {
		return 0, ctx.Err()
	}
	trap := b.setAmbush(ctx, m, keys)
	slept := nursery.Sleep(ctx, ambushLead)
	if err := b.resume(m); err != nil {
		return 0, err
	}
	if err := <-trap; err != nil {
		return 0, fmt.Errorf("requests waiting in %s: %w", m.Name, err)
	}
	if !slept {
		return 0, ctx.Err()
	}
	took, err := b.settle(ctx, settleTimeout)
	b.judgeGiveUps(ctx, g, lasting)
	return took, err
}

// overtake lets writes wait in a frozen node's sockets, where the router leaves
// them when it sends them to the successor, and then writes to each
// field again. When the node goes on it reads what came first, which
// must undo nothing.
func (b *bench) overtake(ctx context.Context, ledgers []*ledger) *sync.WaitGroup {
	var group sync.WaitGroup
	for _, g := range ledgers {
		group.Go(func() {
			for range 2 * lanes {
				b.load.write(ctx, g, b.router().door)
			}
		})
	}
	return &group
}

// owned returns the ledgers whose sessions m owns, of one kind or, if ack is
// empty, of both, most at most.
func (b *bench) owned(ctx context.Context, m *member, ack string, most int) ([]*ledger, error) {
	r, err := b.router().admin.Ring(ctx)
	if err != nil {
		return nil, err
	}
	var list []*ledger
	for _, g := range b.load.ledgers {
		if operator.OwnerOf(r, g.key) == m.Name && (ack == "" || ack == g.ack) && len(list) < most {
			list = append(list, g)
		}
	}
	return list, nil
}

// setAmbush sends reads to a frozen node, and judges the answers when they
// come. What had been acknowledged elsewhere until then must be in them.
func (b *bench) setAmbush(ctx context.Context, m *member, ledgers []*ledger) <-chan error {
	requests, floors := make([]request, len(ledgers)), make([]floor, len(ledgers))
	for i, g := range ledgers {
		requests[i] = request{method: "GET", path: g.path()}
		floors[i] = g.floor()
	}
	done := make(chan error, 1)
	go func() {
		c, err := dial(ctx, m.door.address)
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		answers := make([]answer, len(requests))
		_ = c.exchange(ctx, requests, answers, requestTimeout) // told by each answer
		for i, a := range answers {
			b.load.note(ledgers[i], false, floors[i], a, false)
		}
		done <- nil
	}()
	return done
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// change is a change of members that is repeated under reads.
type change struct {
	name string
	// planned says that nothing may be lost or fail, whatever writes wait for.
	planned bool
	// begin starts the cluster; nil for one of this build.
	begin func(ctx context.Context, e *env) (*bench, error)
	// prepare, if not nil, is called before each round, while no load runs.
	prepare func(ctx context.Context, e *env, b *bench) error
	// do is one round; it returns when the cluster has settled again.
	do func(ctx context.Context, e *env, b *bench) error
}

func runJoin(ctx context.Context, e *env, r *report) error {
	var m *member
	makePlace := func(_ context.Context, e *env, b *bench) error {
		m = b.add() // a name that was never there, so other partitions move each time
		b.load.doors = append(b.doors()[:e.nodes+1], m.door)
		return nil
	}
	return underReads(ctx, e, r, change{name: "join", planned: true, prepare: makePlace, do: func(ctx context.Context, e *env, b *bench) error {
		if err := b.start(m); err != nil {
			return err
		}
		if _, err := b.cluster.settle(ctx, settleTimeout); err != nil {
			return err
		}
		if !nursery.Sleep(ctx, e.between(0, time.Second)) {
			return ctx.Err()
		}
		if err := b.terminate(ctx, m); err != nil { // so that the next one is as new
			return err
		}
		_, err := b.cluster.settle(ctx, settleTimeout)
		return err
	}})
}

func runDrain(ctx context.Context, e *env, r *report) error {
	return underReads(ctx, e, r, change{name: "drain", planned: true, do: func(ctx context.Context, e *env, b *bench) error {
		m := e.pick(b.cluster)
		if err := b.drain(ctx, m); err != nil {
			return err
		}
		if _, err := b.cluster.settle(ctx, settleTimeout); err != nil {
			return err
		}
		return b.comeBack(ctx, m)
	}})
}

func runRolling(ctx context.Context, e *env, r *report) error {
	return underReads(ctx, e, r, change{name: "rolling restart", planned: true, do: func(ctx context.Context, e *env, b *bench) error {
		for _, m := range b.nodes() {
			if err := b.terminate(ctx, m); err != nil {
				return err
			}
			if err := b.comeBack(ctx, m); err != nil {
				return err
			}
		}
		return nil
	}})
}

// runRestart kills a node and starts it within milliseconds: too fast for
// gossip to notice, while the node has forgotten everything.
func runRestart(ctx context.Context, e *env, r *report) error {
	// readOn is how long everything is read after the cluster says it is whole.
	const readOn = 1500 * time.Millisecond
	var k killer
	var m *member
	return underReads(ctx, e, r, change{name: "fast restart",
		prepare: func(ctx context.Context, e *env, b *bench) (err error) {
			m, err = k.next(ctx, e, b.cluster)
			return err
		},
		do: func(ctx context.Context, e *env, b *bench) error {
			if _, err := k.kill(b.cluster, m); err != nil {
				return err
			}
			if !nursery.Sleep(ctx, e.between(0, 200*time.Millisecond)) {
				return ctx.Err()
			}
			if err := b.comeBack(ctx, m); err != nil {
				return err
			}
			nursery.Sleep(ctx, readOn)
			return ctx.Err()
		}})
}

func (b *bench) comeBack(ctx context.Context, m *member) error {
	if err := b.start(m); err != nil {
		return err
	}
	_, err := b.cluster.settle(ctx, settleTimeout)
	return err
}

// underReads repeats a change while every session is read again and again, and
// some written, until there have been as many reads as asked for.
func underReads(ctx context.Context, e *env, r *report, c change) error {
	begin := c.begin
	if begin == nil {
		begin = func(ctx context.Context, e *env) (*bench, error) { return e.newBench(ctx) }
	}
	b, err := begin(ctx, e)
	if err != nil {
		return err
	}
	defer b.close()
	var took []time.Duration
	var cost losses
	for i := 0; i < e.count || b.tally.all().reads < e.reads; i++ {
		if c.prepare != nil {
			if err := c.prepare(ctx, e, b); err != nil {
				return err
			}
		}
		b.tally.during("%s %d", c.name, i+1)
		before, at := b.tally.all(), time.Now()
		flood := &load{doors: b.load.doors, ledgers: b.load.ledgers, tally: b.tally, seed: e.random.Uint64(), rate: e.readRate, flood: true}
		b.load.start(ctx)
		flood.start(ctx)
		err := c.do(ctx, e, b)
		took = append(took, time.Since(at))
		flood.stop()
		b.load.stop()
		if err != nil {
			return err
		}
		cost.add(b.load.settle(ctx, b.router().door), b.tally.all().minus(before).by[failed], at)
		now := b.tally.all()
		e.progress("%s %d took %s: %s of %s reads, %d read as missing, %d failed, lost replica %d, async %d", c.name, i+1,
			short(took[i]), thousands(now.reads), thousands(e.reads), now.by[absent], now.by[failed], cost.sum("replica"), cost.sum("async"))
	}
	b.common(r)
	r.figure("times, and how long each took, with its last reads", "%d: %s", len(took), spread(took))
	r.figure("failed requests each time", "%s", counts(cost.failed))
	b.lossRows(r, &cost)
	if c.planned {
		all := b.tally.all()
		r.never("failed requests in a planned change", all.by[failed], all.total(), nil)
		r.promise("acknowledged writes lost, `async`, in a planned change", fmt.Sprint(cost.sum("async")), "0", cost.sum("async") == 0, b.tally.examples("async", "lost"))
	}
	return nil
}

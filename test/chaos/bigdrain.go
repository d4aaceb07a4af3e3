package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
	"github.com/seed-95a32959/holdfast/test/internal/operator"
)

// bigValue makes a session of about 1 KB.
var bigValue = strings.Repeat("v", 1000)

// runBigDrain drains a node that holds many sessions, and compares what users
// of the other nodes feel with what they felt before.
func runBigDrain(ctx context.Context, e *env, r *report) error {
	small := *e
	small.nodes, small.sessions = 3, 500
	b, err := small.newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	m := b.nodes()[len(b.nodes())-1]
	// Of three nodes with two copies each holds about two thirds, and the
	// smallest a tenth less.
	stored := e.held * 17 / 10
	if err := fill(ctx, e, b, stored); err != nil {
		return err
	}
	if _, err := b.cluster.settle(ctx, 2*time.Minute); err != nil {
		return err
	}
	held, err := m.admin.Stats(ctx)
	if err != nil {
		return err
	}
	ring, err := b.router().admin.Ring(ctx)
	if err != nil {
		return err
	}
	var others []*ledger
	for _, g := range b.load.ledgers {
		if operator.OwnerOf(ring, g.key) != m.Name {
			others = append(others, g)
		}
	}
	b.load.ledgers, b.load.doors = others, b.load.doors[:1]
	e.say("%s holds %s sessions; measuring before it drains", m.Name, thousands(held.Sessions))
	before, err := b.measure(ctx, "before the drain", func() error { nursery.Sleep(ctx, 10*time.Second); return ctx.Err() })
	if err != nil {
		return err
	}
	e.say("draining")
	begun := time.Now()
	var took time.Duration
	during, err := b.measure(ctx, "the drain", func() error {
		err := b.drain(ctx, m)
		took = time.Since(begun)
		return err
	})
	if err != nil {
		return err
	}
	found := b.load.settle(ctx, b.router().door)
	all := during.all()
	r.figure("sessions held by the node, about 1 KB each", "%s", thousands(held.Sessions))
	r.figure("from `POST /admin/drain` to the end of its process", "%s", short(took))
	for _, t := range []struct {
		when string
		*tally
	}{{"before", before}, {"during", during}} {
		r.figure("requests to other nodes' sessions "+t.when, "%s: p50 %s, p99 %s, max %s", thousands(t.all().total()),
			short(t.quantile(0.5)), short(t.quantile(0.99)), short(t.worst()))
	}
	cases := append(during.examples("replica", "absent"), during.examples("async", "absent")...)
	r.never("a session that lives read as missing", all.by[absent], all.total(), cases)
	r.never("failed requests", all.by[failed], all.total(), append(during.examples("replica", "failed"), during.examples("async", "failed")...))
	lost := len(found.lost["replica"]) + len(found.lost["async"])
	r.never("acknowledged writes lost", lost, all.writes, append(during.examples("replica", "lost"), during.examples("async", "lost")...))
	missing, err := b.count(ctx, stored)
	if err != nil {
		return err
	}
	r.never("sessions missing afterwards", missing, stored, nil)
	return nil
}

// measure runs the load while f runs, with a tally of its own.
func (b *bench) measure(ctx context.Context, occasion string, f func() error) (*tally, error) {
	t := newTally()
	t.during("%s", occasion)
	b.tally, b.load.tally = t, t
	b.load.start(ctx)
	defer b.load.stop()
	return t, f()
}

func bigKey(i int) string { return fmt.Sprintf("big-%d", i) }

// fillers store and count the many sessions.
const fillers = 4

// fill stores count sessions of about 1 KB.
func fill(ctx context.Context, e *env, b *bench, count int) error {
	body, err := json.Marshal(map[string]string{"value": bigValue})
	if err != nil {
		return err
	}
	e.say("storing %s sessions", thousands(count))
	return b.inBatches(ctx, count, func(i int) request {
		return request{method: "PUT", path: "/v1/sessions/" + bigKey(i) + "?ttl=2h", body: string(body)}
	}, func(i int, a answer) error {
		if !a.ok() {
			return fmt.Errorf("store %s: %v", bigKey(i), a)
		}
		return nil
	})
}

// count reads the many sessions back and returns how many are missing.
func (b *bench) count(ctx context.Context, count int) (missing int, err error) {
	var mu sync.Mutex
	err = b.inBatches(ctx, count, func(i int) request {
		return request{method: "GET", path: "/v1/sessions/" + bigKey(i)}
	}, func(i int, a answer) error {
		if !a.ok() || !strings.Contains(string(a.body), bigValue) {
			mu.Lock()
			missing++
			mu.Unlock()
		}
		return nil
	})
	return missing, err
}

// inBatches sends count requests through the nodes' doors, pipelined.
func (b *bench) inBatches(ctx context.Context, count int, question func(i int) request, take func(i int, a answer) error) error {
	var group sync.WaitGroup
	errs := make([]error, fillers)
	for w := range fillers {
		group.Go(func() {
			var requests [batch]request
			var answers [batch]answer
			for from := w * batch; from < count && errs[w] == nil && ctx.Err() == nil; from += fillers * batch {
				n := min(batch, count-from)
				for i := range n {
					requests[i] = question(from + i)
				}
				_, _ = b.router().door.send(ctx, requests[:n], answers[:n], requestTimeout) // told by each answer
				for i := range n {
					if err := take(from+i, answers[i]); err != nil {
						errs[w] = err
					}
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

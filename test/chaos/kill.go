package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// pollEvery is the pace at which a key of a killed node is asked for.
	pollEvery = 1500 * time.Microsecond
	// burstRate is how many writes a second a node gets for burstLead before it
	// is killed, beside the even load.
	burstRate = 3000
	burstLead = 150 * time.Millisecond
	// pollMost bounds the polls under way.
	pollMost = 2000
	// flapWindow and flapDeaths are documented: a name that dies that often in
	// that time is kept off the ring for a while. Here each node is killed less
	// often, because it is failover that is measured.
	flapWindow = time.Minute + 2*time.Second
	flapDeaths = 3
)

// killer keeps account of the deaths that it causes.
type killer struct{ deaths map[*member][]time.Time }

// next returns a node that runs and has not died too often lately, and waits
// for one if there is none.
func (k *killer) next(ctx context.Context, e *env, c *cluster) (*member, error) {
	for {
		order := e.random.Perm(len(c.nodes()))
		for _, i := range order {
			if m := c.nodes()[i]; m.running() && k.recent(m) < flapDeaths-1 {
				return m, nil
			}
		}
		if !nursery.Sleep(ctx, 100*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

func (k *killer) recent(m *member) (n int) {
	for _, at := range k.deaths[m] {
		if time.Since(at) < flapWindow {
			n++
		}
	}
	return n
}

func (k *killer) kill(c *cluster, m *member) (time.Time, error) {
	if k.deaths == nil {
		k.deaths = make(map[*member][]time.Time)
	}
	at, err := c.kill(m)
	k.deaths[m] = append(k.deaths[m], at)
	return at, err
}

// runKill measures what a crash costs.
func runKill(ctx context.Context, e *env, r *report) error {
	b, err := e.newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	var first, whole []time.Duration
	var cost losses
	var k killer
	for i := range e.count {
		m, err := k.next(ctx, e, b.cluster)
		if err != nil {
			return err
		}
		b.tally.during("kill %d, of %s", i+1, m.Name)
		before := b.tally.all()
		b.load.start(ctx)
		down, up, at, err := b.killOnce(ctx, e, &k, m, i)
		if err == nil && !nursery.Sleep(ctx, 500*time.Millisecond) {
			err = ctx.Err()
		}
		b.load.stop()
		if err != nil {
			return err
		}
		first, whole = append(first, down), append(whole, up)
		cost.add(b.load.settle(ctx, b.router().door), b.tally.all().minus(before).by[failed], at)
		e.progress("kill %d of %d: first answer after %s, whole again after %s, %d failed, lost replica %d, async %d in all",
			i+1, e.count, short(down), short(up), cost.failed[i], cost.sum("replica"), cost.sum("async"))
	}
	b.common(r)
	r.figure("kills", "%d, of %d nodes", e.count, e.nodes)
	r.figure("first answer for a key of the dead node", "%s", spread(first))
	r.figure("one view and all copies again after the start", "%s", spread(whole))
	r.figure("failed requests per kill", "%s", counts(cost.failed))
	b.lossRows(r, &cost)
	return nil
}

// killOnce kills m under load and starts it again. down is the time to the
// first answer for one of its keys, up that from its start to one view and all
// copies.
func (b *bench) killOnce(ctx context.Context, e *env, k *killer, m *member, i int) (down, up time.Duration, at time.Time, err error) {
	keys, err := b.keysOf(ctx, m, fmt.Sprintf("poll-%d", i), 1)
	if err != nil {
		return 0, 0, at, err
	}
	key := &ledger{key: keys[0], prefix: "f", ack: "replica"}
	if err := create(ctx, b.router().door, []*ledger{key}); err != nil {
		return 0, 0, at, err
	}
	p := startPolls(ctx, b.router().door, key, m.Name)
	defer p.stop()
	if !nursery.Sleep(ctx, e.between(300*time.Millisecond, 600*time.Millisecond)) {
		return 0, 0, at, ctx.Err()
	}
	burst, err := b.startBurst(ctx, e, m)
	if err != nil {
		return 0, 0, at, err
	}
	nursery.Sleep(ctx, burstLead)
	at, err = k.kill(b.cluster, m)
	burst.stop()
	if err != nil {
		return 0, 0, at, err
	}
	if down, err = p.firstAfter(ctx, at); err != nil {
		return 0, 0, at, err
	}
	if !nursery.Sleep(ctx, e.between(0, 2*time.Second)) {
		return 0, 0, at, ctx.Err()
	}
	if err := b.start(m); err != nil {
		return 0, 0, at, err
	}
	up, err = b.settle(ctx, settleTimeout)
	return down, up, at, err
}

// startBurst sends writes that wait for nothing to sessions of m alone, as fast
// as it takes them. Under the even load hardly a write is acknowledged within
// the replication lag before a kill, so hardly one could be lost.
func (b *bench) startBurst(ctx context.Context, e *env, m *member) (*load, error) {
	ledgers, err := b.owned(ctx, m, "async", len(b.load.ledgers))
	if err != nil {
		return nil, err
	}
	if len(ledgers) == 0 {
		return nil, fmt.Errorf("%s owns none of the sessions; give more of them with -sessions", m.Name)
	}
	l := &load{doors: b.load.doors[:1], ledgers: ledgers, tally: b.tally, seed: e.random.Uint64(), rate: burstRate, writes: 1}
	l.start(ctx)
	return l, nil
}

// lossRows adds what faults have cost in acknowledged writes.
func (b *bench) lossRows(r *report, cost *losses) {
	r.promise("acknowledged writes lost, `replica`", counts(cost.lost["replica"]), "0", cost.sum("replica") == 0, b.tally.examples("replica", "lost"))
	r.figure("acknowledged writes lost, `async`, per fault", "%s", counts(cost.lost["async"]))
	r.figure("age of those when the fault came", "%s", spread(cost.ages))
	missing := append(b.tally.examples("replica", "missing"), b.tally.examples("async", "missing")...)
	r.promise("sessions that could not be read back", fmt.Sprint(cost.missing), "0", cost.missing == 0, missing)
}

// polls asks for one key again and again, whether or not earlier questions
// have been answered, and keeps when each answer came.
type polls struct {
	door   *door
	key    *ledger
	owner  string // whose answers do not count: it is the one to be killed
	cancel context.CancelFunc
	group  sync.WaitGroup
	found  chan poll
}

type poll struct{ sent, answered time.Time }

var errNoPoll = errors.New("no answer")

func startPolls(ctx context.Context, d *door, key *ledger, owner string) *polls {
	ctx, cancel := context.WithCancel(ctx)
	p := &polls{door: d, key: key, owner: owner, cancel: cancel, found: make(chan poll, pollMost)}
	p.group.Go(func() {
		slots := make(chan struct{}, pollMost)
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case slots <- struct{}{}:
				p.group.Go(func() { p.ask(ctx); <-slots })
			default: // so many unanswered: it does not matter any more
			}
		}
	})
	return p
}

func (p *polls) ask(ctx context.Context) {
	sent := time.Now()
	a, _ := p.door.one(ctx, request{method: "GET", path: p.key.path()}, requestTimeout)
	if !a.ok() || a.node == p.owner {
		return
	}
	select {
	case p.found <- poll{sent, time.Now()}:
	default: // nobody is interested any more
	}
}

// firstAfter returns how long after at the first answer came to a question
// asked after it.
func (p *polls) firstAfter(ctx context.Context, at time.Time) (time.Duration, error) {
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case f := <-p.found:
			if f.sent.After(at) {
				return f.answered.Sub(at), nil
			}
		case <-timeout.C:
			return 0, fmt.Errorf("%s, owned by %s: %w for 30 s after the kill", p.key.key, p.owner, errNoPoll)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// stop ends the polls; those under way are cut off.
func (p *polls) stop() {
	p.cancel()
	p.group.Wait()
}

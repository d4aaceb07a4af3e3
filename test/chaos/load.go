package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// requestTimeout is after how long a request counts as failed. It is longer
	// than the longest pause, so that what a frozen node answers when it goes
	// on is seen too.
	requestTimeout = 15 * time.Second
	// workers send the requests of a load: so many that those which wait for a
	// frozen owner to be succeeded leave enough for the others.
	workers = 256
	// batch is how many requests are pipelined where many are sent.
	batch = 32
)

// load sends reads and writes at a bounded rate and judges every answer.
type load struct {
	doors   []*door // the first one gets half of the requests
	ledgers []*ledger
	tally   *tally
	seed    uint64
	rate    int     // requests a second
	writes  float64 // share of writes
	flood   bool    // only reads, many pipelined at a time

	missed atomic.Int64 // requests not sent because all workers were waiting
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// newLedgers makes count sessions whose writes wait for a replica and as many
// whose writes do not.
func newLedgers(prefix string, count int) []*ledger {
	var list []*ledger
	for i := range count {
		for _, ack := range []string{"replica", "async"} {
			list = append(list, &ledger{key: fmt.Sprintf("%s-%s-%d", prefix, ack, i), prefix: "f", ack: ack})
		}
	}
	return list
}

// create stores sessions through a door.
func create(ctx context.Context, d *door, ledgers []*ledger) error {
	for len(ledgers) > 0 {
		part := ledgers[:min(batch, len(ledgers))]
		ledgers = ledgers[len(part):]
		requests, answers := make([]request, len(part)), make([]answer, len(part))
		for i, l := range part {
			requests[i] = l.creation()
		}
		if _, err := d.send(ctx, requests, answers, requestTimeout); err != nil {
			return fmt.Errorf("store sessions through %s: %w", d.name, err)
		}
		for i, a := range answers {
			if !a.ok() {
				return fmt.Errorf("store %s through %s: %v", part[i].key, d.name, a)
			}
		}
	}
	return nil
}

// start begins to send. stop ends it; then it may be started again.
func (l *load) start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	tokens := make(chan struct{}, workers)
	l.group.Go(func() { l.pace(ctx, tokens) })
	for i := range workers {
		r := rand.New(rand.NewPCG(l.seed, uint64(i)))
		l.group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-tokens:
					l.step(ctx, r)
				}
			}
		})
	}
	l.seed += 1 << 32
}

// pace gives out the right to send, evenly; what nobody takes is lost.
func (l *load) pace(ctx context.Context, tokens chan<- struct{}) {
	const every = 2 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	owed, last := 0.0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			owed += now.Sub(last).Seconds() * float64(l.rate)
			last = now
		}
		for each := l.each(); owed >= each; owed -= each {
			select {
			case tokens <- struct{}{}:
			default:
				l.missed.Add(1)
			}
		}
	}
}

// each is how many requests a worker sends at a time.
func (l *load) each() float64 {
	if l.flood {
		return batch
	}
	return 1
}

// stop ends the load and waits until every request has its answer or has
// failed, a few seconds after a fault at most.
func (l *load) stop() {
	l.cancel()
	l.group.Wait()
}

func (l *load) step(ctx context.Context, r *rand.Rand) {
	g := l.ledgers[r.IntN(len(l.ledgers))]
	d := l.pick(r)
	// A request under way is let end when the load stops: cut off, it would
	// be one more write of which nobody knows whether it was done.
	ctx = context.WithoutCancel(ctx)
	switch {
	case l.flood:
		l.readMany(ctx, r, d)
	case r.Float64() < l.writes:
		l.write(ctx, g, d)
	default:
		l.read(ctx, g, d)
	}
}

func (l *load) pick(r *rand.Rand) *door {
	if len(l.doors) == 1 || r.IntN(2) == 0 {
		return l.doors[0]
	}
	if d := l.doors[1+r.IntN(len(l.doors)-1)]; !d.down.Load() {
		return d
	}
	return l.doors[0]
}

func (l *load) write(ctx context.Context, g *ledger, d *door) {
	if !g.writing.TryLock() {
		return // its last write still waits for an answer
	}
	defer g.writing.Unlock()
	before := g.floor()
	k, r := g.write(d.name)
	a, ours := d.one(ctx, r, requestTimeout)
	if errors.Is(a.err, errBusy) {
		g.unsent(k)
		return
	}
	g.written(k, a)
	// A PATCH answers with the session as it is then, which must have all that
	// was acknowledged before, and this write.
	before[k%lanes] = k
	l.note(g, true, before, a, ours)
}

func (l *load) read(ctx context.Context, g *ledger, d *door) {
	before := g.floor()
	a, ours := d.one(ctx, request{method: "GET", path: g.path()}, requestTimeout)
	if !errors.Is(a.err, errBusy) {
		l.note(g, false, before, a, ours)
	}
}

// readMany reads a batch of random sessions over one connection.
func (l *load) readMany(ctx context.Context, r *rand.Rand, d *door) {
	var requests [batch]request
	var answers [batch]answer
	var ledgers [batch]*ledger
	var floors [batch]floor
	for i := range ledgers {
		g := l.ledgers[r.IntN(len(l.ledgers))]
		ledgers[i], floors[i], requests[i] = g, g.floor(), request{method: "GET", path: g.path()}
	}
	ours, err := d.send(ctx, requests[:], answers[:], requestTimeout)
	if errors.Is(err, errBusy) {
		return
	}
	for i, a := range answers {
		if !errors.Is(a.err, errResend) {
			l.note(ledgers[i], false, floors[i], a, ours)
		}
	}
}

// note judges an answer and counts it.
func (l *load) note(g *ledger, write bool, before floor, a answer, ours bool) {
	v, why := judge(g, before, a, ours)
	l.tally.add(g, write, a, v, why)
}

func judge(g *ledger, before floor, a answer, ours bool) (v verdict, why string) {
	switch {
	case a.err != nil && ours:
		return doorLost, ""
	case a.absent():
		g.note("said not to exist: %v", a)
		return absent, ""
	case !a.ok():
		return failed, ""
	}
	if why = g.judge(before, a); why != "" {
		return stale, why
	}
	return fine, ""
}

// settled is what reading back every session has shown.
type settled struct {
	lost    map[string][]lostWrite // by ack
	missing int                    // sessions that could not be read at all
}

// settle reads every session back through a door while nobody writes.
func (l *load) settle(ctx context.Context, d *door) settled {
	s := settled{lost: make(map[string][]lostWrite)}
	for rest := l.ledgers; len(rest) > 0; {
		part := rest[:min(batch, len(rest))]
		rest = rest[len(part):]
		for i, a := range readAll(ctx, d, part) {
			g := part[i]
			if !a.ok() {
				s.missing++
				g.note("read back: %v", a)
				l.tally.keep(g.ack, "missing", fmt.Sprintf("%v\n    %s", a, g.story()))
				continue
			}
			lost, wrong := g.settle(a)
			s.lost[g.ack] = append(s.lost[g.ack], lost...)
			if wrong != "" {
				l.tally.keep(g.ack, "lost", wrong+"\n    "+g.story())
			}
		}
	}
	return s
}

// readAll reads sessions, and again for a few seconds what says to come back.
func readAll(ctx context.Context, d *door, part []*ledger) []answer {
	answers := make([]answer, len(part))
	requests := make([]request, len(part))
	for i, g := range part {
		requests[i] = request{method: "GET", path: g.path()}
	}
	for range 25 {
		_, err := d.send(ctx, requests, answers, requestTimeout)
		again := err != nil
		for _, a := range answers {
			again = again || a.err != nil || a.status/100 == 5
		}
		if !again || !nursery.Sleep(ctx, 200*time.Millisecond) {
			break
		}
	}
	return answers
}

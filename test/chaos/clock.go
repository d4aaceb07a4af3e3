package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	clockNodes = 3
	clockRate  = 200 // requests a second
	// clockHolds is how long a clock stays where it was set to.
	clockHolds = 2500 * time.Millisecond
	// clockSeen is how far the clock that a node says its host has may be off
	// what it was set to.
	clockSeen = 500 * time.Millisecond
	// shortLife is the time to live of the session that is to end while a clock
	// is wrong, endsEarly what counts as too early, and endsWithin as too late.
	shortLife  = time.Second
	endsEarly  = 900 * time.Millisecond
	endsWithin = 15 * time.Second
	// startsWrong is how far the clock of a host is off whose node starts.
	startsWrong = time.Hour
	// startLooks is for how long such a node is looked at.
	startLooks = 5 * time.Second
)

// clockJumps are what the clock of a host is set to while its node serves, one
// after the other, and right in between.
var clockJumps = []time.Duration{5 * time.Second, -time.Hour, 365 * 24 * time.Hour}

// clocks is a cluster in which the clock of one node's host can be set.
type clocks struct {
	*bench
	node   *member
	file   string // of the clock
	visits *visits
	report *report
}

// runClock sets the clock of one host while its node serves, and has the node
// start with a wrong one. That node is of a build of this module for tests: the
// clock of one process cannot be set otherwise.
func runClock(ctx context.Context, e *env, r *report) error {
	bin := filepath.Join(e.dir, "holdfast-testclock")
	if err := nursery.Build(ctx, bin, "testclock"); err != nil {
		return err
	}
	c := &clocks{file: filepath.Join(e.dir, "clock"), report: r}
	if err := c.set(0); err != nil {
		return err
	}
	small := *e
	small.nodes, small.sessions, small.rate = clockNodes, islandSessions, clockRate
	which := fmt.Sprintf("node-%d", 1+e.random.IntN(clockNodes))
	b, err := small.newBenchAt(ctx, loopback(e.basePort), func(m *member) {
		if m.Name == which {
			c.node, m.bin, m.env = m, bin, []string{"HOLDFAST_TEST_CLOCK_FILE=" + c.file}
		}
	})
	if err != nil {
		return err
	}
	defer b.close()
	c.bench = b
	c.visits = startVisits(ctx, b.members)
	defer c.visits.stop()
	b.load.start(ctx)
	err = c.faults(ctx, e)
	b.load.stop()
	if err != nil {
		return err
	}
	cost := &losses{}
	cost.add(b.load.settle(ctx, b.router().door), 0, time.Now())
	b.common(r)
	b.lossRows(r, cost)
	return nil
}

// set sets the clock.
func (c *clocks) set(off time.Duration) error {
	next := c.file + ".next"
	if err := os.WriteFile(next, []byte(off.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.file)
}

func (c *clocks) faults(ctx context.Context, e *env) error {
	for _, by := range clockJumps {
		if err := c.jump(ctx, e, by); err != nil {
			return fmt.Errorf("the clock of %s is off by %v: %w", c.node.Name, by, err)
		}
	}
	// What the node has confirmed while its clock was wrong is elsewhere too.
	if _, err := c.kill(c.node); err != nil {
		return err
	}
	if _, err := c.settle(ctx, settleTimeout); err != nil {
		return err
	}
	return c.startWrong(ctx, e)
}

// jump sets the clock of the node's host, looks on, and sets it right again.
func (c *clocks) jump(ctx context.Context, e *env, by time.Duration) error {
	what := fmt.Sprintf("the clock of a node that serves is set by %v", by)
	c.tally.during("%s", what)
	e.say("%s", what)
	begun := time.Now()
	if err := c.set(by); err != nil {
		return err
	}
	if err := c.seen(ctx, by); err != nil {
		return err
	}
	life, err := c.shortSession(ctx, by)
	if err != nil {
		return err
	}
	if !nursery.Sleep(ctx, time.Until(begun.Add(clockHolds))) {
		return ctx.Err()
	}
	if err := c.settled(ctx); err != nil { // it is on the ring and ready all the same
		c.report.promise(what+": it goes on serving", "no", "yes", false, []string{err.Error()})
	}
	if err := c.set(0); err != nil {
		return err
	}
	if err := c.seen(ctx, 0); err != nil {
		return err
	}
	c.visits.during(begun, time.Now()).row(c.report, what+", and back: new sessions served everywhere", allShare)
	c.report.promise(fmt.Sprintf("%s: a session of %v that it owns ends after", what, shortLife), short(life),
		fmt.Sprintf("%v to %v", endsEarly, endsWithin), life >= endsEarly && life < endsWithin, nil)
	return nil
}

// seen waits until the node says that its host's clock is off by so much: it
// has noticed, and goes on by the time before.
func (c *clocks) seen(ctx context.Context, off time.Duration) error {
	deadline := time.Now().Add(settleTimeout)
	for {
		s, err := c.node.admin.Stats(ctx)
		host := time.Duration(s.ClockHost * float64(time.Millisecond))
		if err == nil && (host-off).Abs() < clockSeen {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("it says that its host's clock is off by %v", host), err)
		}
		if !nursery.Sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// shortSession stores a session that the node owns and that lives for a moment,
// and returns after how long it had ended.
func (c *clocks) shortSession(ctx context.Context, by time.Duration) (time.Duration, error) {
	keys, err := c.keysOf(ctx, c.node, fmt.Sprintf("short-%v", by), 1)
	if err != nil {
		return 0, err
	}
	d, path := c.router().door, "/v1/sessions/"+keys[0]
	begun := time.Now()
	if a, _ := d.one(ctx, request{method: "PUT", path: fmt.Sprintf("%s?ttl=%v", path, shortLife), ack: "replica", body: "{}"}, requestTimeout); !a.ok() {
		return 0, fmt.Errorf("store %s: %v", keys[0], a)
	}
	for {
		a, _ := d.one(ctx, request{method: "GET", path: path}, requestTimeout)
		if life := time.Since(begun); a.absent() || life > endsWithin {
			return life, nil
		}
		if !nursery.Sleep(ctx, 50*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
}

// startWrong starts the node on a host whose clock is wrong, and sets it.
func (c *clocks) startWrong(ctx context.Context, e *env) error {
	what := fmt.Sprintf("a node starts whose clock is off by %v", startsWrong)
	c.tally.during("%s", what)
	e.say("%s", what)
	if err := c.set(startsWrong); err != nil {
		return err
	}
	c.node.outside = true
	if err := c.start(c.node); err != nil {
		return err
	}
	if _, ready := c.watchReady(ctx, c.node, time.Now().Add(startLooks/2)); ready {
		c.report.promise(what+": it becomes ready", "yes", "no", false, nil)
	}
	joined := time.Now() // long ago enough for it to pass requests on
	why, ready := c.watchReady(ctx, c.node, joined.Add(startLooks/2))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.report.promise(what+": `/readyz`", or(why, "nothing"), "`503`, and says that it is the clock", !ready && strings.Contains(why, "clock"), nil)
	wrong := c.agreed(ctx)
	c.report.promise(what+": it is on no ring", map[bool]string{true: "yes", false: "no"}[wrong == nil], "yes", wrong == nil, nil)
	c.visits.during(joined, time.Now()).row(c.report, what+": new sessions served everywhere, there too", allShare)
	if err := c.set(0); err != nil {
		return err
	}
	c.node.outside = false
	took, err := c.settle(ctx, settleTimeout)
	if err != nil {
		return fmt.Errorf("%s, and is set: %w", what, err)
	}
	c.report.figure("its clock is set: the node is on the ring and ready after", "%s", short(took))
	return nil
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// scenario is one kind of accident.
type scenario struct {
	name, title string
	// tools are the programs that it needs to make networks or disks of its own,
	// for which it needs root too; none if it needs neither.
	tools []string
	run   func(ctx context.Context, e *env, r *report) error
}

var scenarios = []scenario{
	{"kill", "kill -9 the owner at load, start it again", nil, runKill},
	{"pause", "freeze a node for 0.5 to 10 s", nil, runPause},
	{"restart", "kill -9 and back at once", nil, runRestart},
	{"join", "a new node joins, and leaves", nil, runJoin},
	{"drain", "a node drains, and comes back", nil, runDrain},
	{"rolling", "rolling restart of all nodes", nil, runRolling},
	{"mixed", "roll up from the last release and back down", nil, runMixed},
	{"logout", "log out while nodes die and freeze", nil, runLogout},
	{"partition", "cut the network between hosts, and heal it", []string{"ip"}, runPartition},
	{"majority", "cut a cluster in mode majority again and again, after a rolling restart", []string{"ip"}, runMajority},
	{"firewall", "have a firewall drop or refuse what comes to a peer port", []string{"ip", "ss", "nft"}, runFirewall},
	{"clock", "set the clock of a node's host, while it serves and before it starts", nil, runClock},
	{"longdrain", "SIGTERM to a node whose application works on requests of 8 s", nil, runLongDrain},
	{"fullstop", "kill -9 of all nodes at once, with disks, and start them again", nil, runFullStop},
	{"flip", "kill -9 of all nodes, and start them after one node's files were damaged", nil, runFlip},
	{"diskfull", "fill up the disk of a node, and of all nodes", []string{"mount", "umount"}, runDiskFull},
	{"bigdrain", "drain a node with 100,000 sessions of 1 KB", nil, runBigDrain},
}

// options are what the command line says.
type options struct {
	seed     uint64
	count    int // faults a scenario
	reads    int // reads of each scenario that looks for false not-founds
	logouts  int
	nodes    int
	sessions int // of each of the two kinds
	rate     int // requests a second beside what a scenario does
	readRate int // reads a second where false not-founds are looked for
	cuts     []time.Duration
	old      string // file of an earlier build, for mixed; empty for the last release
	held     int    // sessions that a node has when it drains in bigdrain
	basePort int
}

// env is what a scenario runs with.
type env struct {
	options
	bin    string
	dir    string // for logs, its own
	random *rand.Rand
	last   time.Time // when progress was told last
}

// say tells what is going on.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
	e.last = time.Now()
}

// progress tells how far a scenario is, every few seconds.
func (e *env) progress(format string, args ...any) {
	if time.Since(e.last) > 10*time.Second {
		e.say(format, args...)
	}
}

// bench is a cluster on loopback with sessions and a load.
type bench struct {
	*cluster
	load  *load
	tally *tally
}

// newBench starts a cluster and stores the sessions. The load does not run yet.
func (e *env) newBench(ctx context.Context) (*bench, error) {
	return e.newBenchAt(ctx, loopback(e.basePort), func(*member) {})
}

// newBenchAt starts the cluster in a place, as startClusterWith does.
func (e *env) newBenchAt(ctx context.Context, at place, prepare func(*member)) (*bench, error) {
	c, err := startClusterWith(ctx, e.bin, e.dir, e.nodes, at, prepare)
	if err != nil {
		return nil, err
	}
	b := &bench{cluster: c, tally: newTally()}
	b.load = &load{
		doors: c.doors(), ledgers: newLedgers("s", e.sessions), tally: b.tally,
		seed: e.random.Uint64(), rate: e.rate, writes: 0.5,
	}
	if err := create(ctx, c.router().door, b.load.ledgers); err != nil {
		c.close()
		return nil, err
	}
	e.say("%d nodes and a router run, %s sessions are stored; logs are in %s", e.nodes, thousands(len(b.load.ledgers)), e.dir)
	return b, nil
}

// pick returns a random node that runs.
func (e *env) pick(c *cluster) *member {
	var list []*member
	for _, m := range c.nodes() {
		if m.running() {
			list = append(list, m)
		}
	}
	return list[e.random.IntN(len(list))]
}

// between returns a random duration.
func (e *env) between(low, high time.Duration) time.Duration {
	return low + time.Duration(e.random.Int64N(int64(high-low)+1))
}

// losses adds up what rounds of faults have cost.
type losses struct {
	failed  []int            // requests without a good answer, per fault
	lost    map[string][]int // acknowledged writes, per fault, by ack
	ages    []time.Duration  // async: how long before the fault a lost write had been acknowledged
	missing int
}

func (s *losses) add(found settled, failed int, at time.Time) {
	if s.lost == nil {
		s.lost = make(map[string][]int)
	}
	s.failed = append(s.failed, failed)
	s.missing += found.missing
	for _, ack := range []string{"replica", "async"} {
		s.lost[ack] = append(s.lost[ack], len(found.lost[ack]))
	}
	for _, w := range found.lost["async"] {
		s.ages = append(s.ages, max(0, at.Sub(w.ackedAt)))
	}
}

func (s *losses) sum(ack string) (n int) {
	for _, k := range s.lost[ack] {
		n += k
	}
	return n
}

// common adds the rows that every scenario under load has.
func (b *bench) common(r *report) {
	replica, async, all := b.tally.of("replica"), b.tally.of("async"), b.tally.all()
	r.figure("requests", "%s reads, %s writes", thousands(all.reads), thousands(all.writes))
	r.figure("latency through the router", "p50 %s, p99 %s, p99.9 %s, max %s", short(b.tally.quantile(0.5)), short(b.tally.quantile(0.99)), short(b.tally.quantile(0.999)), short(b.tally.worst()))
	cases := append(b.tally.examples("replica", "absent"), b.tally.examples("async", "absent")...)
	r.never("a session that lives read as missing", all.by[absent], all.total(), cases)
	r.never("answers older than a write acknowledged with `replica`", replica.by[stale], replica.total(), b.tally.examples("replica", "stale"))
	r.figure("answers older than a write acknowledged with `async`", "%s of %s", thousands(async.by[stale]), thousands(async.total()))
	failedCases := append(b.tally.examples("replica", "failed"), b.tally.examples("async", "failed")...)
	r.rows = append(r.rows, row{what: "failed requests", measured: fmt.Sprintf("%s of %s", thousands(all.by[failed]), thousands(all.total())), cases: failedCases})
	if b.load == nil {
		return
	}
	if n := b.load.missed.Load(); n > 0 {
		r.figure("requests not sent because all workers waited", "%s", thousands(int(n)))
	}
}

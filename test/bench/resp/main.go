// Command resp compares what the Redis door costs with what redis-server
// costs: CPU time of all server processes for a million commands, which says
// more on a busy machine than the rate does. It starts redis-server, one node,
// and three nodes with two copies, each on loopback ports of its own and with
// nothing on disk, and runs redis-benchmark against each by turns, so that what
// disturbs one disturbs all. It ends what it has started, and nothing else.
//
//	go run ./test/bench/resp -holdfast bin/holdfast
//
// With -disk it shows what a disk costs instead: redis-server and one node, each
// without a disk and with one that is synced once a second.
//
//	go run ./test/bench/resp -holdfast bin/holdfast -disk /var/tmp
//
// redis-server and redis-benchmark of Redis 7 must be installed (Debian:
// redis-server, redis-tools).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	holdfast, redis, benchmark string
	disk                       string // a directory; "" to measure without
	rounds, requests, keys     int
	port                       int
	limit                      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.holdfast, "holdfast", "bin/holdfast", "the holdfast `program`")
	flag.StringVar(&o.redis, "redis", "redis-server", "the redis-server `program`")
	flag.StringVar(&o.benchmark, "benchmark", "redis-benchmark", "the redis-benchmark `program`")
	flag.StringVar(&o.disk, "disk", "", "compare with and without a disk, with files in a new directory in this `directory`")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each figure is taken")
	flag.IntVar(&o.requests, "n", 100_000, "commands of one run without a pipeline; with one, four times as many")
	flag.IntVar(&o.keys, "keys", 100_000, "random keys")
	flag.IntVar(&o.port, "port", 28500, "first of 40 loopback ports")
	flag.DurationVar(&o.limit, "limit", 20*time.Minute, "give up after so long")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := o.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/resp:", err)
		os.Exit(1)
	}
}

// sides are the servers that are compared, each of them one or three processes.
// Those with a disk are there with -disk, and three without.
type sides struct{ redis, one, three, redisOnDisk, oneOnDisk *side }

func (o *options) run(ctx context.Context, w io.Writer) (err error) {
	if o.rounds < 1 || o.requests < 1000 || o.keys < 1 {
		return fmt.Errorf("%d rounds of %d commands on %d keys: at least 1, 1000 and 1 are needed", o.rounds, o.requests, o.keys)
	}
	dir, err := os.MkdirTemp(o.disk, "benchresp")
	if err != nil {
		return err
	}
	s := starter{ctx: ctx, dir: dir, port: o.port}
	defer func() { err = errors.Join(err, s.stop(), os.RemoveAll(dir)) }()
	all, err := o.start(&s)
	if err != nil {
		return err
	}
	cases := o.cases(all)
	fmt.Fprintf(w, "load %s at the start\n", load())
	for round := range o.rounds + 1 { // the first one fills the servers and is not counted
		for i := range cases {
			if err := o.measure(ctx, &cases[i], round > 0); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(w, "load %s at the end\n\n", load())
	table(w, cases)
	if o.disk != "" {
		return nil
	}
	return o.memory(ctx, w, all)
}

func (o *options) start(s *starter) (all sides, err error) {
	redis, errRedis := s.redis(o.redis)
	one, errOne := s.nodes(o.holdfast, 1)
	all = sides{redis: redis, one: one}
	if o.disk == "" {
		three, err := s.nodes(o.holdfast, 3)
		all.three = three
		return all, errors.Join(errRedis, errOne, err)
	}
	var errs [2]error
	all.redisOnDisk, errs[0] = s.redis(o.redis, "--appendonly", "yes", "--appendfsync", "everysec")
	all.oneOnDisk, errs[1] = s.nodes(o.holdfast, 1, "-data-dir", filepath.Join(s.dir, "sessions"))
	return all, errors.Join(errRedis, errOne, errs[0], errs[1])
}

// benchCase is one line of the table.
type benchCase struct {
	name     string
	side     *side
	cluster  bool // the client knows who owns what
	set      bool
	pipeline int
	against  int // the case that it is compared with, -1 for none
	runs     []result
}

// cases are in the order in which they are run: what is compared, one after the
// other.
func (o *options) cases(all sides) (list []benchCase) {
	if o.disk != "" {
		for _, pipeline := range []int{1, 16} {
			base := len(list)
			list = append(list,
				benchCase{name: "redis-server", side: all.redis, against: -1},
				benchCase{name: "redis-server, AOF everysec", side: all.redisOnDisk, against: base},
				benchCase{name: "one node", side: all.one, against: -1},
				benchCase{name: "one node, -fsync everysec", side: all.oneOnDisk, against: base + 2},
			)
			for i := base; i < len(list); i++ {
				list[i].set, list[i].pipeline = true, pipeline
			}
		}
		return list
	}
	for _, pipeline := range []int{1, 16} {
		for _, set := range []bool{true, false} {
			base := len(list)
			list = append(list,
				benchCase{name: "redis-server", side: all.redis, against: -1},
				benchCase{name: "one node", side: all.one, against: base},
				benchCase{name: "three nodes, plain client", side: all.three, against: base},
				benchCase{name: "three nodes, cluster client", side: all.three, cluster: true, against: base},
			)
			for i := base; i < len(list); i++ {
				list[i].set, list[i].pipeline = set, pipeline
			}
		}
	}
	return list
}

func (c *benchCase) command() string {
	if c.set {
		return "SET"
	}
	return "GET"
}

func table(w io.Writer, cases []benchCase) {
	fmt.Fprintln(w, "| command | -P | servers | CPU s per million, median (least to most) | ratio | commands/s | p99 ms |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	for i := range cases {
		c := &cases[i]
		cpu := c.of(func(r result) float64 { return r.cpu })
		ratio := ""
		if c.against >= 0 {
			ratio = fmt.Sprintf("%.2f", median(ratios(c, &cases[c.against])))
		}
		fmt.Fprintf(w, "| %s | %d | %s | %.2f (%.2f to %.2f) | %s | %.0f | %.1f |\n", c.command(), c.pipeline, c.name,
			median(cpu), cpu[0], cpu[len(cpu)-1], ratio,
			median(c.of(func(r result) float64 { return r.rate })), median(c.of(func(r result) float64 { return r.p99 })))
	}
}

// ratios compares runs of the same round, which the same things have disturbed.
func ratios(c, base *benchCase) (list []float64) {
	for i := range c.runs {
		list = append(list, c.runs[i].cpu/base.runs[i].cpu)
	}
	return sorted(list)
}

// load is the machine's load average, over 1, 5 and 15 minutes.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) >= 3 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const usage = `usage: go run ./test/chaos [flags]

Starts real clusters on this machine, breaks them under load, and prints what was measured
as Markdown. Exits with 1 when a promise broke, and shows the first cases in full.

  go run ./test/chaos                                 # a short round of everything
  go run ./test/chaos -run kill -count 200            # two hundred kills
  go run ./test/chaos -run join,drain,rolling,restart -reads 250000
  go run ./test/chaos -run partition -cuts 5s,31s,120s -require-root
  go run ./test/chaos -duration 2h                    # again and again, other seeds

Scenarios:
`

var program = nursery.Program[config]{Name: "chaos", Parse: parse, Test: campaign}

func main() { program.Main() }

// config is what the command line says beside what scenarios see.
type config struct {
	options
	nursery.Holdfast
	scenarios   []scenario
	duration    time.Duration
	requireRoot bool
	checkRoot   func(context.Context, ...string) error // why tools that need root cannot be used here
}

func parse(args []string, stderr io.Writer) (config, error) {
	c := config{options: options{seed: rand.Uint64N(1e6)}, checkRoot: checkRoot}
	f := nursery.Flags("chaos", usage, func() {
		for _, s := range scenarios {
			fmt.Fprintf(stderr, "  %-10s %s%s\n", s.name, s.title, s.needs())
		}
	}, stderr)
	c.Flags(f)
	names := f.String("run", "", "`scenarios` to run, separated by commas; all when empty")
	cuts := f.String("cuts", "5s", "how long links stay cut in partition, `durations` separated by commas")
	f.Uint64Var(&c.seed, "seed", c.seed, "`number` that decides what happens when; by chance when not given, and printed")
	f.IntVar(&c.count, "count", 5, "`faults` in each of kill, pause, fullstop, flip and diskfull, and at least in join, drain, rolling, restart")
	f.IntVar(&c.reads, "reads", 50000, "`reads` under each of join, drain, rolling and restart, which go on until there were as many")
	f.IntVar(&c.logouts, "logouts", 500, "`sessions` ended in logout")
	f.IntVar(&c.nodes, "nodes", 5, "`nodes` of a cluster in kill, pause, restart, join, drain, rolling, logout")
	f.IntVar(&c.sessions, "sessions", 500, "`sessions` of each kind (ack=replica, ack=async) under load")
	f.IntVar(&c.rate, "rate", 600, "`requests` a second, half of them writes")
	f.IntVar(&c.readRate, "read-rate", 4000, "`reads` a second, beside -rate, in join, drain, rolling and restart")
	f.IntVar(&c.held, "held", 100000, "`sessions` of 1 KB that the node has that drains in bigdrain")
	f.StringVar(&c.old, "old", "", "`file` of an earlier build, for mixed; the last of RELEASES, built from git, when empty")
	f.IntVar(&c.basePort, "base-port", 24080, "first `port` on loopback; ten for each member follow")
	f.DurationVar(&c.duration, "duration", 0, "repeat with other seeds until so `long` has passed; 0 runs once")
	f.BoolVar(&c.requireRoot, "require-root", false, "fail when a scenario has to be skipped because it needs root")
	if err := nursery.Parse(f, args, "scenarios are named with -run"); err != nil {
		return c, err
	}
	var err error
	if c.scenarios, err = parseScenarios(*names); err != nil {
		return c, err
	}
	if c.cuts, err = parseCuts(*cuts); err != nil {
		return c, err
	}
	return c, c.options.validate()
}

func parseScenarios(names string) ([]scenario, error) {
	if names == "" {
		return scenarios, nil
	}
	var list []scenario
	var known []string
	for _, s := range scenarios {
		known = append(known, s.name)
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(known, strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("-run %q: must be of %s", name, strings.Join(known, ", "))
		}
		list = append(list, scenarios[i])
	}
	return list, nil
}

func parseCuts(cuts string) ([]time.Duration, error) {
	var list []time.Duration
	for s := range strings.SplitSeq(cuts, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(s))
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("-cuts %q: must be durations over 0, such as 5s,31s", s)
		}
		list = append(list, d)
	}
	return list, nil
}

func (o options) validate() error {
	for _, f := range []struct {
		name            string
		value, low, top int
	}{
		{"count", o.count, 1, 1e6}, {"reads", o.reads, 0, 1e9}, {"logouts", o.logouts, 1, 1e7}, {"nodes", o.nodes, 3, 50},
		{"sessions", o.sessions, 1, 1e6}, {"rate", o.rate, 1, 1e5}, {"read-rate", o.readRate, 1, 1e6}, {"held", o.held, 1, 1e7},
		{"base-port", o.basePort, 1024, 64000},
	} {
		if f.value < f.low || f.value > f.top {
			return fmt.Errorf("-%s %d: must be %d to %d", f.name, f.value, f.low, f.top)
		}
	}
	return nil
}

// campaign runs the scenarios, again and again when a duration was given, and
// reports whether every promise was kept.
func campaign(ctx context.Context, c config, stdout, stderr io.Writer) (kept bool, err error) {
	dir, err := os.MkdirTemp("", "holdfast-chaos-")
	if err != nil {
		return false, err
	}
	if err := c.Build(ctx, dir); err != nil {
		return false, err
	}
	kept = true
	begun := time.Now()
	for round := uint64(0); ; round++ {
		ok, err := c.round(ctx, dir, c.seed+round, stdout)
		kept = kept && ok
		if err != nil || time.Since(begun) >= c.duration {
			if kept && err == nil && !c.Keep {
				return true, os.RemoveAll(dir)
			}
			fmt.Fprintf(stderr, "the members' logs are in %s\n", dir)
			return kept, err
		}
	}
}

// round runs each scenario once.
func (c config) round(ctx context.Context, dir string, seed uint64, stdout io.Writer) (kept bool, err error) {
	kept = true
	for i, s := range c.scenarios {
		r := newReport(s.name+": "+s.title, c.command(s, seed))
		e := &env{options: c.options, bin: c.Bin, random: rand.New(rand.NewPCG(seed, uint64(i)))}
		e.say("%s, seed %d", s.name, seed)
		if len(s.tools) > 0 {
			if err := c.checkRoot(ctx, s.tools...); err != nil {
				r.skipped = err.Error()
				kept = kept && !c.requireRoot
			}
		}
		if r.skipped == "" {
			if e.dir, err = os.MkdirTemp(dir, s.name+"-"); err != nil {
				return false, err
			}
			if err := s.run(ctx, e, r); ctx.Err() != nil {
				return kept, fmt.Errorf("%s was interrupted: %w", s.name, ctx.Err())
			} else if err != nil {
				r.fail(err)
			}
		}
		r.end()
		r.write(stdout)
		kept = kept && !r.broken()
	}
	return kept, nil
}

// command is the command line that repeats a scenario.
func (c config) command(s scenario, seed uint64) string {
	words := []string{"go run ./test/chaos -run", s.name, "-seed", fmt.Sprint(seed)}
	add := func(flag string, value any) { words = append(words, "-"+flag, fmt.Sprint(value)) }
	switch s.name {
	case "fullstop", "flip", "diskfull":
		add("count", c.count)
	case "kill", "pause":
		add("count", c.count)
		add("nodes", c.nodes)
	case "join", "drain", "rolling", "restart", "mixed":
		add("count", c.count)
		add("reads", c.reads)
	case "logout":
		add("logouts", c.logouts)
	case "partition":
		var cuts []string
		for _, d := range c.cuts {
			cuts = append(cuts, d.String())
		}
		add("cuts", strings.Join(cuts, ","))
	case "bigdrain":
		add("held", c.held)
	}
	return strings.Join(words, " ")
}

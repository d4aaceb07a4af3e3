// Command explore tries every order of messages, faults and time for a few
// members, within bounds, and says whether what claims and leases promise held.
// In the last quarter of its time it walks far at random, with members, faults
// and beginnings drawn by a seed:
//
//	go run ./test/explore
//	go run ./test/explore -for 10m -only freeze
//	go run ./test/explore -walks -seed 1000 -for 10m
//	go run ./test/explore \
//		-try "members=4 mode=majority freezes=2 claims=1 ticks=5"
//
// A promise that broke is printed with the shortest way there, as a scenario
// for internal/ownership/testdata. It exits with 1 unless all that broke is in
// expected.txt, which says why.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership/explore"
)

//go:embed expected.txt
var expectedText string

const (
	// memory is from which on memory is spared rather than time, in bytes, and
	// kept how many states of a depth are kept whole: some gigabyte.
	memory = 3 << 30
	kept   = 100_000
)

// report gathers what all plans have found.
type report struct {
	expected map[string]string // reasons, by promise
	broke    map[string]int    // in how many plans, by promise
	steps    map[string]int    // of the shortest way
	ways     bool              // print those to what is expected too
	bad      bool
}

func main() {
	all := flag.Duration("for", 2*time.Minute, "time for all plans together; one that is seen whole leaves its rest to the others")
	only := flag.String("only", "", "run the plans whose names begin so")
	try := flag.String("try", "", `a plan of your own, such as "members=4 mode=majority ordered freezes=2 claims=1 ticks=5"`)
	depth := flag.Int("depth", 0, "the most steps of a way, 0 for any")
	sample := flag.Int("sample", 20, "look at one state in so many for what follows when faults stop")
	ways := flag.Bool("ways", false, "print the ways to what is expected to break too")
	walks := flag.Bool("walks", false, "only walk at random")
	seed := flag.Uint64("seed", 1, "of the first walk; the others follow")
	stop := flag.Bool("stop", false, "stop at the first promise that breaks and is not expected to")
	flag.Parse()
	runtime.GOMAXPROCS(1) // others use the machine
	debug.SetGCPercent(300)
	debug.SetMemoryLimit(memory)
	plans, err := choose(*only, *try)
	if err != nil {
		fmt.Fprintln(os.Stderr, "explore:", err)
		os.Exit(2)
	}
	rep := &report{expected: reasons(expectedText), broke: make(map[string]int), steps: make(map[string]int), ways: *ways}
	whole := *only == "" && *try == "" && !*walks
	end := time.Now().Add(*all)
	searched := end
	switch {
	case *walks:
		plans = nil
	case whole:
		searched = end.Add(-*all / 4)
	}
	for i, p := range plans {
		if rep.bad && *stop {
			break
		}
		share := time.Until(searched) / time.Duration(len(plans)-i)
		s := &explore.Search{Plan: p, Until: time.Now().Add(share), Depth: *depth, Sample: *sample, Worlds: kept}
		if *stop {
			s.Enough = func(promise string) bool { return rep.expected[promise] == "" }
		}
		rep.add(p, s.Run())
	}
	if whole || *walks {
		rep.walk(*seed, end, *stop)
	}
	rep.close(whole)
	if rep.bad {
		os.Exit(1)
	}
}

func choose(only, try string) (plans []explore.Plan, err error) {
	if try != "" {
		p, err := explore.ParsePlan(try)
		return []explore.Plan{p}, err
	}
	for _, p := range explore.Plans() {
		if strings.HasPrefix(p.Name, only) {
			plans = append(plans, p)
		}
	}
	if plans == nil {
		return nil, fmt.Errorf("-only %q: no such plan", only)
	}
	return plans, nil
}

// reasons reads lines of a promise, a colon and why it is known to break.
func reasons(text string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(text) {
		if promise, why, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(line, "#") {
			all[promise] = why
		}
	}
	return all
}

func (rep *report) add(p explore.Plan, r explore.Result) {
	whole := ""
	if r.Whole {
		whole = ", all"
	}
	fmt.Printf("%-17s %-9s %8d states, %8d steps, depth %2d%s, %.0f states/s, %d recoveries, %v\n", p.Name, p.Config.Mode,
		r.States, r.Steps, r.Depth, whole, float64(r.States)/r.Took.Seconds(), r.Recoveries, r.Took.Round(100*time.Millisecond))
	for _, f := range r.Found {
		rep.found("", f)
	}
}

// found takes in what broke, where that is to be said.
func (rep *report) found(where string, f explore.Found) {
	rep.broke[f.Promise]++
	if least := rep.steps[f.Promise]; least == 0 || f.Steps < least {
		rep.steps[f.Promise] = f.Steps
	}
	_, known := rep.expected[f.Promise]
	rep.bad = rep.bad || !known
	fmt.Printf("    %s broke after %d steps: %v\n", where, f.Steps, f.Violation)
	if !known || rep.ways {
		fmt.Printf("\n%s\n", f.Way)
	}
}

// walk takes walks one seed after the other until the time is up.
func (rep *report) walk(seed uint64, end time.Time, stop bool) {
	first, steps, began := seed, 0, time.Now()
	for ; time.Now().Before(end) && !(rep.bad && stop); seed++ {
		found, n := explore.NewWalk(seed).Run()
		if steps += n; found != nil {
			rep.found(fmt.Sprintf("walk %d", seed), *found)
		}
	}
	fmt.Printf("%d walks from seed %d on, %d steps, %.0f steps/s, %v\n", seed-first, first, steps, float64(steps)/time.Since(began).Seconds(), time.Since(began).Round(100*time.Millisecond))
}

// close tells of each promise whether it held. With all plans run, an expected
// violation that did not occur is told of.
func (rep *report) close(all bool) {
	fmt.Println()
	for _, promise := range explore.Promises {
		why, known := rep.expected[promise]
		switch n := rep.broke[promise]; {
		case n == 0 && known && all:
			fmt.Printf("%-32s held, though it is expected to break: mended, or seen only in more time\n", promise)
		case n == 0:
			fmt.Printf("%-32s held\n", promise)
		case known:
			fmt.Printf("%-32s broke %d times, first after %d steps, as expected: %s\n", promise, n, rep.steps[promise], why)
		default:
			fmt.Printf("%-32s BROKE %d times, first after %d steps\n", promise, n, rep.steps[promise])
		}
	}
}

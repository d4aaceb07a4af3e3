// Command explore tries every order of messages, faults and time for a few
// members, within bounds, and says whether what claims and leases promise held:
//
//	go run ./internal/explore
//	go run ./internal/explore -for 10m -only freeze
//
// It exits with 1 where a promise broke that is not known to break, and prints
// the shortest way there as a scenario for internal/ownership/testdata.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership/explore"
)

func main() {
	all := flag.Duration("for", 2*time.Minute, "time for all plans together; a plan that is done early leaves its rest to the others")
	only := flag.String("only", "", "run the plans whose names begin so")
	sample := flag.Int("sample", 20, "look at one state in so many for what follows when faults stop")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	var plans []explore.Plan
	for _, p := range explore.Plans() {
		if strings.HasPrefix(p.Name, *only) {
			plans = append(plans, p)
		}
	}
	end := time.Now().Add(*all)
	bad := false
	for i, p := range plans {
		share := time.Until(end) / time.Duration(len(plans)-i)
		s := &explore.Search{Plan: p, Until: time.Now().Add(share), Sample: *sample, Worlds: 500_000}
		r := s.Run()
		fmt.Printf("%-18s %-10s %9d states, %10d steps, depth %2d%s, %5.0f states/s, %d recoveries, %v\n",
			p.Name, p.Config.Mode, r.States, r.Steps, r.Depth, map[bool]string{true: " (all)", false: ""}[r.Whole],
			float64(r.States)/r.Took.Seconds(), r.Recoveries, r.Took.Round(100*time.Millisecond))
		for _, f := range r.Found {
			bad = true
			fmt.Printf("   %v after %d steps\n%s\n", f.Violation, f.Steps, f.Way)
		}
	}
	if bad {
		os.Exit(1)
	}
}

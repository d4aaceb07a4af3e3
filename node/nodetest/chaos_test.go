package nodetest

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	seedsFlag  = flag.Int("seeds", 10, "how many seeds TestChaos and TestChaosSplit run, from 1 on")
	lengthFlag = flag.Duration("length", time.Minute, "virtual time that the faults of each seed take")
)

// TestChaos plays random schedules of everything but cut networks, so that
// every promise about order holds throughout.
func TestChaos(t *testing.T) { chaos(t, false) }

// TestChaosSplit plays random schedules in which the network is cut too.
func TestChaosSplit(t *testing.T) { chaos(t, true) }

func chaos(t *testing.T, split bool) {
	seeds := make([]uint64, 0, *seedsFlag)
	for i := range *seedsFlag {
		seeds = append(seeds, uint64(i+1))
	}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			hosts := 3 + int(seed%3)
			schedule := Plan(seed, hosts, *lengthFlag, split)
			scenario{
				options: Options{Hosts: hosts, Seed: seed}, nodes: hosts,
				faults: func(c *Cluster) { c.Play(schedule) },
			}.run(t)
			if t.Failed() {
				t.Logf("schedule:\n%s", schedule)
			}
		})
	}
}

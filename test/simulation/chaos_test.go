package simulation

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var (
	seedsFlag  = flag.Int("seeds", fewer(8, 1), "how many seeds TestChaos, TestChaosSplit and TestSoak run, from -first on")
	firstFlag  = flag.Uint64("first", 1, "the first of these seeds")
	lengthFlag = flag.Duration("length", time.Minute, "virtual time that the faults of each seed take, about")
	quietFlag  = flag.Duration("quiet", time.Minute, "virtual time that TestSoak leaves each seed's cluster alone between faults")
)

// fewer is n, or with, which is less, where the race detector makes everything
// slow.
func fewer(n, with int) int {
	if raceEnabled {
		return with
	}
	return n
}

// manySeeds is from how many on a run tells of its progress, so often.
const manySeeds = 50

// TestChaos plays random schedules of everything but cut networks, so that
// every promise about order holds throughout.
func TestChaos(t *testing.T) {
	t.Parallel()
	eachSeed(t, func(seed uint64, hosts int) func(*Cluster) {
		schedule := Plan(seed, hosts, *lengthFlag, false)
		return func(c *Cluster) { c.Play(schedule) }
	})
}

// TestChaosSplit plays random schedules in which the network is cut too.
func TestChaosSplit(t *testing.T) {
	t.Parallel()
	eachSeed(t, func(seed uint64, hosts int) func(*Cluster) {
		schedule := Plan(seed, hosts, *lengthFlag, true)
		return func(c *Cluster) { c.Play(schedule) }
	})
}

// soakRounds is how often TestSoak goes from faults to quiet.
const soakRounds = 3

// TestSoak lives the long life of a cluster: a while of faults, with cuts at
// odd seeds, then a longer while without any and with few calls, during which
// everything happens that takes minutes; and so on.
func TestSoak(t *testing.T) {
	t.Parallel()
	eachSeed(t, func(seed uint64, hosts int) func(*Cluster) {
		return func(c *Cluster) {
			for round := range uint64(soakRounds) {
				c.Play(Plan(seed*soakRounds+round, hosts, *lengthFlag/soakRounds, seed%2 == 1))
				c.Rest(*quietFlag / soakRounds)
			}
		}
	})
}

// eachSeed runs a scenario for each seed, and says in the end what all of them
// came to.
func eachSeed(t *testing.T, faultsOf func(seed uint64, hosts int) func(*Cluster)) {
	first, last := *firstFlag, *firstFlag+uint64(*seedsFlag)-1
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	var sum Tally
	began, broken := time.Now(), 0
	for seed := first; seed <= last; seed++ {
		held := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			hosts := [...]int{5, 3, 3, 4, 3, 3, 3, 4, 3, 3}[seed%10]
			tally := scenario{
				options: Options{Hosts: hosts + spares, Seed: seed}, nodes: hosts, within: agreeWithin + heldOff,
				faults: faultsOf(seed, hosts), alone: true,
			}.run(t)
			sum.Add(tally)
		})
		if !held {
			broken++
		}
		line := fmt.Sprintf("%d seeds in %v, %d with a broken promise: %s", seed-first+1, time.Since(began).Round(time.Second), broken, sum)
		switch {
		case last-first+1 < manySeeds:
			if seed == last {
				t.Log(line)
			}
		case seed == last || (seed-first+1)%manySeeds == 0:
			fmt.Fprintln(os.Stderr, line) // at once, not when the test ends
		}
	}
}

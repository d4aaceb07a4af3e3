package simulation

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
)

var swarmsFlag = flag.Int("swarms", fewer(10, 1), "how many seeds TestSwarm runs, from -first on; -run TestSwarm/SEED runs one")

func init() {
	flag.IntVar(&swarmRounds, "rounds", swarmRounds, "how often TestSwarm goes from mishaps to peace")
	flag.BoolVar(&verifiedAfterHeal, "verified-after-heal", verifiedAfterHeal, "let TestSwarm demand what verifiedAfterHeal says")
	flag.IntVar(&tailLines, "lines", tailLines, "how many lines of the nodes' logs a failure prints")
}

// servedShare is the share of a run that must be served, whatever happens
// meanwhile. Two faults at once leave three nodes in mode majority without a
// majority for as long as the longer one lasts: the least of 1,000 runs was 0.47.
const servedShare = 0.4

// TestSwarm draws a configuration for each seed, and plays mishaps that overlap.
func TestSwarm(t *testing.T) {
	t.Parallel()
	first, last := *firstFlag, *firstFlag+uint64(*swarmsFlag)-1
	if seed, ok := seedOfRun(); ok {
		first, last = seed, seed
	}
	drawn, steps := make(map[[2]string]int), Tally{}
	least := 1.0
	began, broken := time.Now(), 0
	for seed := first; seed <= last; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := DrawSwarm(seed)
			for _, draw := range s.draws() {
				drawn[draw]++
			}
			tally, share := runSwarm(t, s)
			steps.Add(tally)
			for by, n := range tally.By {
				drawn[[2]string{"calls", by}] += n
			}
			for what, n := range tally.Messages {
				drawn[[2]string{"messages", what}] += n
			}
			least = min(least, share)
		}) {
			broken++
		}
		if n := seed - first + 1; seed == last || n%manySeeds == 0 {
			fmt.Fprintf(os.Stderr, "%d swarms in %v, %d with a broken promise, served at least %.2f: %s\n", n, time.Since(began).Round(time.Second), broken, least, steps)
		}
	}
	t.Logf("drawn:\n%s", table(drawn))
}

// seedOfRun is the seed that -run names, as in TestSwarm/17, which need not be
// one of those that run otherwise.
func seedOfRun() (uint64, bool) {
	named := regexp.MustCompile(`^\^?TestSwarm\$?/\^?(\d+)\$?$`).FindStringSubmatch(flag.Lookup("test.run").Value.String())
	if named == nil {
		return 0, false
	}
	seed, err := strconv.ParseUint(named[1], 10, 64)
	return seed, err == nil
}

// table writes how often each value was drawn, a line for each name.
func table(drawn map[[2]string]int) string {
	lines := make(map[string][]string)
	for _, draw := range slices.SortedFunc(maps.Keys(drawn), func(a, b [2]string) int { return strings.Compare(a[1], b[1]) }) {
		lines[draw[0]] = append(lines[draw[0]], fmt.Sprintf("%s: %d", draw[1], drawn[draw]))
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "%-12s %s\n", name, strings.Join(lines[name], ", "))
	}
	return b.String()
}

func runSwarm(t *testing.T, s Swarm) (tally Tally, share float64) {
	rounds := s.Rounds()
	t.Log(s)
	var history *History
	synctest.Test(t, func(t *testing.T) {
		c := New(t, s.options())
		history = c.History()
		c.StartAll(s.Hosts)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		stopWatch := c.Watch()
		stopWindows := c.tendWindows()
		load := c.Load(LoadOptions{Workers: s.Workers, Clients: s.Clients, All: true, Acks: s.Acks, Large: s.Large})
		time.Sleep(2 * time.Second)
		c.PlaySwarm(rounds)
		load.Stop()
		share = load.share()
		took, err := c.Agree(agreeWithin + heldOff)
		if err != nil {
			c.History().Break("convergence: %v", err)
		}
		stopWindows()
		if c.History().splitNow() {
			c.History().rejoined()
		}
		load.ReadAll()
		stopWatch()
		tally = history.Tally()
		if share < servedShare {
			history.Break("only %.0f %% of the calls, or of the clients' time, were served", 100*share)
		}
		t.Logf("%s; %.1f %% served; agreed after %v", history.Summary(), 100*share, took)
		if len(history.Check())+len(history.Broken()) > 0 {
			t.Errorf("replay with: go test ./test/simulation -run 'TestSwarm/%d' -rounds %d -count 10\n%s\n%s", s.Seed, swarmRounds, s, schedule(rounds))
		}
		report(t, history, s.Seed)
	})
	checkLinear(t, history, s.Seed)
	return tally, share
}

// TestDrawSwarm: every kind of mishap and every mode is drawn, the same for one
// seed, and rounds that are not reckless end no more processes at once than
// there are copies to spare.
func TestDrawSwarm(t *testing.T) {
	t.Parallel()
	drawn := make(map[[2]string]int)
	for seed := range uint64(200) {
		s := DrawSwarm(seed)
		require.Equal(t, s, DrawSwarm(seed))
		for _, draw := range s.draws() {
			drawn[draw]++
		}
		for _, round := range s.Rounds() {
			deaths, mishaps := 0, 0
			for i, m := range round {
				if m.ofRouter() {
					require.Less(t, m.Host, s.Routers)
				} else {
					require.Contains(t, s.Kinds, m.What)
				}
				require.LessOrEqual(t, m.At+m.For, roundLength+roundEnd)
				require.True(t, i == 0 || m.At >= round[i-1].At)
				if d := mishapOf(m.What).deaths; d > 0 {
					deaths, mishaps = deaths+d, mishaps+1
				}
			}
			require.True(t, s.Mode != node.PartitionMajority || 2*mishaps < s.Hosts)
			require.True(t, s.Reckless || mishaps <= max(1, s.Copies-1), "%d deaths in %v", deaths, round)
		}
	}
	for _, m := range mishaps {
		require.NotZero(t, drawn[[2]string{"kind", m.name}], m.name)
	}
	for _, draw := range [][2]string{{"mode", "majority"}, {"mode", "available"}, {"hosts", "9"}, {"copies", "1"}, {"copies", "3"}, {"reckless", "true"},
		{"client", byAPI}, {"client", byHTTP}, {"client", byRouter}, {"client", byRedis}, {"routers", "2"}} {
		require.NotZero(t, drawn[draw], draw)
	}
}

package simulation

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

var seedFlag = flag.Uint64("seed", 0, "run the tests with this seed; 0 takes each test's own")

const (
	// agreeWithin is the time that a cluster has to agree after the last fault.
	agreeWithin = 30 * time.Second
	// heldOff is how long a node that was restarted too often stays off the
	// ring at most.
	heldOff = time.Minute
)

// scenario is one test of a cluster under load: nodes nodes are started, the
// load runs, faults does something to the cluster, and in the end everything
// must be agreed and every promise kept.
type scenario struct {
	options Options
	nodes   int
	load    LoadOptions
	within  time.Duration
	alone   bool // no other scenario runs beside it
	faults  func(c *Cluster)
}

func (s scenario) run(t *testing.T) (tally Tally) {
	t.Helper()
	if !s.alone {
		t.Parallel()
	}
	if *seedFlag != 0 {
		s.options.Seed = *seedFlag
	}
	if s.within == 0 {
		s.within = agreeWithin
	}
	var history *History
	synctest.Test(t, func(t *testing.T) {
		c := New(t, s.options)
		history = c.History()
		c.StartAll(s.nodes)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		stopWatch := c.Watch()
		load := c.Load(s.load)
		time.Sleep(2 * time.Second)
		s.faults(c)
		time.Sleep(2 * time.Second)
		load.Stop()
		took, err := c.Agree(s.within)
		if err != nil {
			c.History().Break("convergence: %v", err)
		}
		if c.History().splitNow() {
			c.History().rejoined()
		}
		load.ReadAll()
		stopWatch()
		tally = history.Tally()
		t.Logf("%s; agreed after %v", c.History().Summary(), took)
		report(t, c.History(), s.options.Seed)
	})
	checkLinear(t, history, s.options.Seed)
	return tally
}

// report fails the test with everything that is known of a broken promise.
func report(t *testing.T, h *History, seed uint64) {
	t.Helper()
	complaints := h.Check()
	broken := h.Broken()
	if len(complaints)+len(broken) == 0 {
		return
	}
	t.Errorf("promises were broken; replay with: go test ./test/simulation -run '^%s$' -seed %d -count 10\nfaults:\n%s", t.Name(), seed, h.Faults())
	for _, b := range broken {
		t.Errorf("broken: %s", b)
	}
	for i, complaint := range complaints {
		if i == 3 {
			t.Errorf("and %d keys more", len(complaints)-i)
			break
		}
		t.Errorf("broken: %s: %s\nhistory of the key:\n%s", complaint.Key, complaint.Text, h.Dump(complaint.Key))
	}
}

func must(c *Cluster, err error) {
	if err != nil {
		c.history.Break("%v", err)
	}
}

func TestSteady(t *testing.T) {
	scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
		time.Sleep(10 * time.Second)
		served := make(map[string]string)
		for key, calls := range c.History().Calls() {
			for _, call := range calls {
				if call.Served == "" {
					continue
				}
				if was := served[key]; was != "" && was != call.Served {
					c.history.Break("affinity: %s was served by %s and by %s", key, was, call.Served)
				}
				served[key] = call.Served
			}
		}
	}}.run(t)
}

// TestCrash also looks whether whoever takes a partition over had a copy of it:
// a failover moves no data.
func TestCrash(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		n, _ := c.Hosts[0].Node()
		before := n.View().Table
		c.Hosts[1].Kill()
		time.Sleep(5 * time.Second)
		must(c, c.AwaitSettled(agreeWithin))
		after := n.View().Table
		for p := range ring.Partitions {
			if successor := after.Owner(p); !slices.Contains(before.Holders(p), successor) {
				c.history.Break("failover: partition %d is now of %s, and was held by %v", p, successor, before.Holders(p))
			}
		}
		must(c, c.Hosts[1].Start())
		must(c, c.AwaitSettled(agreeWithin))
	}}.run(t)
}

// TestReset breaks an owner's connections under everything that is on its way
// on a slow network, again and again, and then kills it.
func TestReset(t *testing.T) {
	scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
		c.shape(func(p *Path) { p.Delay = 10 * time.Millisecond })
		for _, h := range c.Hosts {
			for range 20 {
				time.Sleep(50 * time.Millisecond)
				for _, other := range c.others(h) {
					c.Reset(h, other)
				}
			}
			h.Kill()
			must(c, c.AwaitSettled(recoverWithin))
			must(c, h.Start())
			must(c, c.AwaitSettled(recoverWithin))
		}
		c.Heal()
	}}.run(t)
}

// TestGrow doubles the cluster in one moment, and halves it in another:
// partitions pass to nodes none of whose holders had them.
func TestGrow(t *testing.T) {
	for seed := range uint64(fewer(3, 1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			scenario{options: Options{Hosts: 8, Seed: seed}, nodes: 4, faults: func(c *Cluster) {
				must(c, c.atOnce(c.Hosts[4:], (*Host).Start))
				time.Sleep(time.Second)
				must(c, c.AwaitSettled(recoverWithin))
				must(c, c.atOnce(c.Hosts[:4], func(h *Host) error { return h.Drain(c.t.Context()) }))
			}}.run(t)
		})
	}
}

func TestFastRestart(t *testing.T) {
	scenario{options: Options{Hosts: 3}, nodes: 3, faults: func(c *Cluster) {
		for _, h := range c.Hosts {
			must(c, h.Restart())
			must(c, c.AwaitSettled(agreeWithin))
		}
	}}.run(t)
}

func TestJoinUnderLoad(t *testing.T) {
	scenario{options: Options{Hosts: 6}, nodes: 3, faults: func(c *Cluster) {
		for _, h := range c.Hosts[3:] {
			must(c, h.Start())
			time.Sleep(time.Second)
		}
	}}.run(t)
}

func TestDrain(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		must(c, c.Hosts[2].Drain(c.t.Context()))
		time.Sleep(time.Second)
		must(c, c.Hosts[0].Drain(c.t.Context()))
	}}.run(t)
}

func TestRollingRestart(t *testing.T) {
	scenario{options: Options{Hosts: 4}, nodes: 4, faults: func(c *Cluster) {
		for _, h := range c.Hosts {
			must(c, h.Drain(c.t.Context()))
			must(c, h.Start())
			must(c, c.AwaitSettled(agreeWithin))
		}
	}}.run(t)
}

func TestFiveAtOnce(t *testing.T) {
	for seed := range uint64(fewer(5, 1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			scenario{options: Options{Hosts: 5, Seed: seed}, nodes: 5, faults: func(*Cluster) {}}.run(t)
		})
	}
}

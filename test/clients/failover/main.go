// Command failover measures what clients see when an owner dies: 500 commands
// a second on 1,000 keys, half GET, half SET EX, at three real nodes, one of
// which is killed after some seconds. It prints a table, and fails if a bar is
// missed: with a cluster client's default settings no command may fail (but
// writes that the client sends once only), and none may take over a second,
// with a plain client at a surviving node none over 300 ms, and no acknowledged
// write may be lost but those of the last moments before the kill, which copies
// were still to be made of.
//
//	go run ./failover -runs 3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/clients/cluster"
)

// bar is what a client may see at most.
type bar struct {
	slowest time.Duration
	writes  bool // may fail, for the client sends them once only
}

// rueidis waits up to a second, at random, before it asks who owns what now,
// and each time that it repeats a command twice as long as the time before.
const rueidisSlowest = 2100 * time.Millisecond

var (
	clusterBar = bar{slowest: time.Second}
	repeatBar  = bar{slowest: rueidisSlowest}
	onceBar    = bar{slowest: rueidisSlowest, writes: true}
	plainBar   = bar{slowest: 300 * time.Millisecond}
)

var contestants = []struct {
	name string
	bar  bar
	dial func(addresses []string) (client, error) // the last node is the one that is killed
}{
	{"go-redis ClusterClient", clusterBar, dialGoRedisCluster},
	{"rueidis, DisableCache, writes ToRetryable", repeatBar, dialRueidis(true)},
	{"rueidis, DisableCache", onceBar, dialRueidis(false)},
	{"go-redis Client at a survivor", plainBar, dialGoRedis},
}

// lag is how long before the kill a write may be lost: the replication lag,
// which is some milliseconds where the machine is not overloaded.
const lag = 100 * time.Millisecond

func main() {
	runs := flag.Int("runs", 1, "how often each client is tried")
	only := flag.String("run", "", "only clients whose name contains this")
	base := flag.Int("base-port", 27100, "first of the 30 loopback ports that the nodes take")
	before := flag.Duration("before", 3*time.Second, "load before the kill")
	after := flag.Duration("after", 5*time.Second, "load after it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *runs, *only, *base, *before, *after)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int, only string, base int, before, after time.Duration) error {
	dir, err := os.MkdirTemp("", "holdfast-failover-")
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, dir, base)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("| client | commands | failed reads | failed writes | slowest | acknowledged writes lost | of these older than the lag | last failed or over 100 ms, after the kill | load average |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	var missed []error
	for _, who := range contestants {
		for range runs {
			if !strings.Contains(who.name, only) {
				continue
			}
			r, err := measure(ctx, c, who.dial, before, after)
			if err != nil {
				return fmt.Errorf("%s: %w", who.name, err)
			}
			fmt.Printf("| %s | %d | %d | %d | %d ms | %d | %d | %d ms | %s |\n", who.name, r.commands, r.failedReads, r.failedWrites, r.slowest.Milliseconds(),
				r.lost, r.lostEarly, r.recovered.Milliseconds(), loadAverage())
			if err := r.misses(who.bar); err != nil {
				missed = append(missed, fmt.Errorf("%s: %w", who.name, err))
			}
		}
	}
	if len(missed) == 0 {
		return os.RemoveAll(dir)
	}
	return errors.Join(missed...)
}

// loadAverage is the machine's, without which times say little.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

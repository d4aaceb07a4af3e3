package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/clients/cluster"
)

const (
	keys      = 1000
	perSecond = 500
	victim    = cluster.Nodes - 1
	// slow is what nobody would notice; "recovered" is when there is no slower
	// and no failed command any more.
	slow = 100 * time.Millisecond
	// patience bounds one command, far beyond any bar.
	patience = 30 * time.Second
)

// result is what one run has shown.
type result struct {
	commands, failedReads, failedWrites int
	lost, lostEarly                     int // acknowledged writes; those older than lag
	slowest, recovered                  time.Duration
	firstError                          error
}

func (r *result) misses(b bar) error {
	switch {
	case r.failedReads > 0 || r.failedWrites > 0 && !b.writes:
		return fmt.Errorf("%d reads and %d writes failed, the first: %w", r.failedReads, r.failedWrites, r.firstError)
	case r.slowest > b.slowest:
		return fmt.Errorf("the slowest command took %v, over %v", r.slowest, b.slowest)
	case r.lostEarly > 0:
		return fmt.Errorf("%d writes were lost that had been acknowledged more than %v before the kill", r.lostEarly, lag)
	}
	return nil
}

// write is the last acknowledged one of a key. Each key's commands follow one
// another, so a later value has a higher number.
type write struct {
	mu     sync.Mutex
	number int
	at     time.Time
}

// sample is one command.
type sample struct {
	set          bool
	begun, ended time.Time
	err          error
}

// measure puts load on a client of a whole cluster and kills a node.
func measure(ctx context.Context, c *cluster.Cluster, dial func([]string) (client, error), before, after time.Duration) (*result, error) {
	if err := c.Restore(ctx); err != nil {
		return nil, err
	}
	cl, err := dial(c.Addresses())
	if err != nil {
		return nil, err
	}
	defer cl.close()
	l := &load{client: cl, run: strconv.FormatInt(time.Now().UnixNano(), 36)}
	for i := range keys { // beforehand, so that every GET has something to find
		if err := l.command(ctx, i, true); err != nil {
			return nil, fmt.Errorf("before the kill: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.drive(ctx, before+after)
	}()
	time.Sleep(before)
	killed := time.Now()
	err = c.Kill(victim)
	<-done
	if err != nil {
		return nil, err
	}
	return l.result(ctx, killed)
}

type load struct {
	client client
	run    string // in every key, so that runs do not meet
	writes [keys]write

	mu      sync.Mutex // guards samples
	samples []sample
}

func (l *load) key(i int) string { return fmt.Sprintf("failover:%s:%d", l.run, i) }

// drive begins commands at their times, whether earlier ones have ended or not.
func (l *load) drive(ctx context.Context, d time.Duration) {
	var group sync.WaitGroup
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	begun := time.Now()
	for n := 0; time.Since(begun) < d && ctx.Err() == nil; {
		<-tick.C
		// The ticker skips what it could not deliver.
		for due := int(time.Since(begun).Seconds() * perSecond); n < due; n++ {
			i, set := n*7%keys, n%2 == 0
			group.Go(func() {
				s := sample{set: set, begun: time.Now()}
				s.err = l.command(ctx, i, set)
				s.ended = time.Now()
				l.mu.Lock()
				defer l.mu.Unlock()
				l.samples = append(l.samples, s)
			})
		}
	}
	group.Wait()
}

// command reads or writes a key, after the command on it that came before. A
// read that misses a session has failed.
func (l *load) command(ctx context.Context, i int, set bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w := &l.writes[i]
	w.mu.Lock()
	defer w.mu.Unlock()
	if !set {
		value, err := l.client.get(ctx, l.key(i))
		if err == nil && value == "" {
			return fmt.Errorf("GET %s: a session that is there was not found", l.key(i))
		}
		return err
	}
	number := w.number + 1
	if err := l.client.set(ctx, l.key(i), strconv.Itoa(number)); err != nil {
		return err
	}
	w.number, w.at = number, time.Now()
	return nil
}

// result sums the samples up and looks at what is there of each key.
func (l *load) result(ctx context.Context, killed time.Time) (*result, error) {
	r := &result{commands: len(l.samples)}
	for _, s := range l.samples {
		took := s.ended.Sub(s.begun)
		r.slowest = max(r.slowest, took)
		if s.err != nil {
			if s.set {
				r.failedWrites++
			} else {
				r.failedReads++
			}
			if r.firstError == nil {
				r.firstError = s.err
			}
		}
		if s.ended.After(killed) && (s.err != nil || took > slow) {
			r.recovered = max(r.recovered, s.ended.Sub(killed))
		}
	}
	for i := range keys {
		w := &l.writes[i]
		value, err := l.client.get(ctx, l.key(i))
		if err != nil {
			return nil, fmt.Errorf("read %s at the end: %w", l.key(i), err)
		}
		if number, _ := strconv.Atoi(value); number < w.number {
			r.lost++
			if w.at.Before(killed.Add(-lag)) {
				r.lostEarly++
				fmt.Fprintf(os.Stderr, "lost: %s has %q, %d was acknowledged %v before the kill\n", l.key(i), value, w.number, killed.Sub(w.at))
			}
		}
	}
	return r, nil
}

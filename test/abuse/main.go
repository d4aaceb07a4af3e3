package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const usage = `usage: go run ./test/abuse [flags]

Starts three nodes and a router on loopback, has 500 ordinary users ask them, and runs one
attack after another beside these, each against a cluster of its own. Prints for each which
share of the users' requests was answered correctly within 250 ms, how much memory the nodes
took, and how soon after the attack all was as before. Exits with 1 when a bar was missed. An
attack that missed one by time alone, every answer being right, is tried once more.

  go run ./test/abuse -bin bin/holdfast             # all, about 6 minutes
  go run ./test/abuse -bin bin/holdfast -short      # all, about 2 minutes
  go run ./test/abuse -bin bin/holdfast -only 1,4   # these

It needs Linux, which has all of 127.0.0.0/8, and a machine with little else to do: a share
that is missed without an attack is told as "machine too slow", and fails.

Attacks:
`

var program = nursery.Program[config]{Name: "abuse", Parse: parse, Test: campaign}

func main() { program.Main() }

// config is what the command line says.
type config struct {
	nursery.Holdfast
	basePort int
	short    bool
	attacks  []attack
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	f := nursery.Flags("abuse", usage, func() {
		for _, a := range attacks {
			fmt.Fprintf(stderr, "  %2d %-9s %s\n", a.number, a.name, a.title)
		}
	}, stderr)
	c.Flags(f)
	only := f.String("only", "", "`numbers` or names of attacks, separated by commas; all when empty")
	f.BoolVar(&c.short, "short", false, "attack for a few seconds each, as CI does")
	f.IntVar(&c.basePort, "base-port", 28300, "first of 100 `ports` on loopback")
	if err := nursery.Parse(f, args, "attacks are named with -only"); err != nil {
		return c, err
	}
	if c.basePort < 1024 || c.basePort > 65000 {
		return c, fmt.Errorf("-base-port %d: must be 1024 to 65000", c.basePort)
	}
	var err error
	c.attacks, err = parseAttacks(*only)
	return c, err
}

func parseAttacks(only string) ([]attack, error) {
	if only == "" {
		return attacks, nil
	}
	var list []attack
	for word := range strings.SplitSeq(only, ",") {
		word = strings.TrimSpace(word)
		before := len(list)
		for _, a := range attacks {
			if word == a.name || word == strconv.Itoa(a.number) {
				list = append(list, a)
			}
		}
		if len(list) == before {
			return nil, fmt.Errorf("-only %q: must be numbers from 1 to %d, or names such as %s", word, attacks[len(attacks)-1].number, attacks[0].name)
		}
	}
	return list, nil
}

// peaceTries is how often it is tried to measure without an attack: a machine
// may be busy for a moment.
const peaceTries = 3

// errSlow ends a campaign whose figures would mean nothing.
var errSlow = errors.New("machine too slow")

// campaign measures without an attack, and then beside each.
func campaign(ctx context.Context, c config, stdout, stderr io.Writer) (passed bool, err error) {
	dir, err := os.MkdirTemp("", "holdfast-abuse-")
	if err != nil {
		return false, err
	}
	defer func() {
		if passed && !c.Keep {
			err = errors.Join(err, os.RemoveAll(dir))
			return
		}
		fmt.Fprintf(stderr, "the members' logs are in %s\n", dir)
	}()
	if err := c.Build(ctx, dir); err != nil {
		return false, err
	}
	begun := time.Now()
	var results []result
	for _, a := range append([]attack{peace}, c.attacks...) {
		fmt.Fprintf(stderr, "%s %d %s: %s\n", time.Now().Format("15:04:05"), a.number, a.name, a.title)
		r := c.attempt(ctx, a, dir)
		for tries := 1; a.number == peace.number && len(r.broken()) > 0 && tries < peaceTries && ctx.Err() == nil; tries++ {
			fmt.Fprintf(stderr, "%s again: %s\n", time.Now().Format("15:04:05"), strings.Join(r.broken(), "; "))
			r = c.attempt(ctx, a, dir)
		}
		if r.late() && ctx.Err() == nil && a.number != peace.number {
			r.again = true
			results = append(results, r)
			fmt.Fprintf(stderr, "%s again: %s\n", time.Now().Format("15:04:05"), strings.Join(r.broken(), "; "))
			r = c.attempt(ctx, a, dir)
		}
		if ctx.Err() != nil {
			return false, fmt.Errorf("%s was interrupted: %w", a.name, ctx.Err())
		}
		results = append(results, r)
		verdict := "passed"
		if list := r.broken(); len(list) > 1 {
			verdict = fmt.Sprintf("FAILED: %s, and %d more", list[0], len(list)-1)
		} else if len(list) > 0 {
			verdict = "FAILED: " + list[0]
		}
		fmt.Fprintf(stderr, "%s %d %s: %s after %v\n", time.Now().Format("15:04:05"), a.number, a.name, verdict, r.took.Round(100*time.Millisecond))
		if a.number == peace.number && len(r.broken()) > 0 {
			write(stdout, results)
			return false, fmt.Errorf("%w, or the cluster is broken: without any attack %v of requests were answered correctly within %v, %s wanted", errSlow, r.during, inTime, percent(bar))
		}
	}
	passed = write(stdout, results)
	fmt.Fprintf(stderr, "all took %v\n", time.Since(begun).Round(time.Second))
	return passed, nil
}

// length is how long an attack goes on.
func (c config) length(a attack) time.Duration {
	if c.short {
		return max(5*time.Second, a.least)
	}
	return max(12*time.Second, a.least, a.leastFull)
}

// known is how long after a request was sent its outcome is known: a user that
// has given up at one node asks the next.
const known = 2*patience + inTime

// attempt runs one attack against a cluster of its own.
func (c config) attempt(ctx context.Context, a attack, dir string) (r result) {
	begun := time.Now()
	r = result{number: a.number, name: a.name, want: a.bar(), limit: a.setup.limit()}
	defer func() { r.took = time.Since(begun) }()
	dir = filepath.Join(dir, a.name)
	if r.err = os.MkdirAll(dir, 0o700); r.err != nil {
		return r
	}
	cl, err := startCluster(ctx, c.Bin, dir, c.basePort, a.setup)
	if err != nil {
		r.err = err
		return r
	}
	defer cl.close()
	s := newStage(cl, !c.short)
	if s.crowd, r.err = newCrowd(cl); r.err != nil {
		return r
	}
	defer s.crowd.end()
	s.crowd.start(ctx)
	if a.prepare != nil {
		if r.err = a.prepare(ctx, s); r.err != nil {
			return r
		}
	}
	if r.before, err = s.calm(ctx, c.short); err != nil {
		r.err = err
		return r
	}
	if r.slow = r.before.ratio() < bar; r.slow {
		return r
	}
	c.observe(ctx, a, s, &r)
	return r
}

// calm returns the share without an attack, which is taken again when it is
// not what it should be: something may just have been stored.
func (s *stage) calm(ctx context.Context, short bool) (before share, err error) {
	length, tries := 3*time.Second, 4
	if short {
		length = 1500 * time.Millisecond
	}
	for range tries {
		from, cpu := time.Now(), s.cpu()
		if !nursery.Sleep(ctx, length+inTime) {
			return before, ctx.Err()
		}
		s.calmly = (s.cpu() - cpu).Seconds() / time.Since(from).Seconds()
		if before = s.crowd.score.share(from, from.Add(length)); before.ratio() >= bar {
			break
		}
	}
	return before, s.ended()
}

// observe runs the attack and fills in what it has shown.
func (c config) observe(ctx context.Context, a attack, s *stage, r *result) {
	length := c.length(a)
	begin, machine := time.Now(), s.reading()
	attackCtx, cancel := context.WithTimeout(ctx, length)
	err := a.run(attackCtx, s)
	cancel()
	s.group.Wait()
	end := time.Now()
	if a.leaves {
		s.watchCPU(ctx, end)
	}
	if rest := length - time.Since(begin); rest > 0 && err == nil {
		nursery.Sleep(ctx, rest) // harm that is done after the attacker has left counts
	}
	r.others = s.reading().others(machine)
	over := begin.Add(max(length, end.Sub(begin)))
	r.recovered, r.back = c.awaitRecovery(ctx, s, end)
	nursery.Sleep(ctx, known-time.Since(over))
	r.during = s.crowd.score.share(begin, over)
	r.users = s.crowd.score.complaints(begin, over)
	r.allLate = s.crowd.score.allLate(begin, time.Now()) // all that was asked: nothing of it may be worse than late
	r.resident, r.router = s.resident()
	r.memory = max(r.resident, r.router) // a router has no limit of its own, and less to hold
	if err == nil {
		err = s.ended()
	}
	if a.stored {
		if err == nil {
			err = s.weigh(ctx)
		}
		h := s.most()
		r.memory = max(h.counted, h.heap)
		s.saw("most counted %d MiB, most heap %d MiB", h.counted/mebibyte, h.heap/mebibyte)
	}
	r.got, r.faults = s.summary()
	if err != nil {
		r.faults = append(r.faults, "not carried through: "+err.Error())
	}
}

// awaitRecovery waits until the share is back after an attack that has ended,
// much longer than it may take, to tell late from never.
func (c config) awaitRecovery(ctx context.Context, s *stage, end time.Time) (took time.Duration, ok bool) {
	most := 20 * time.Second
	if c.short {
		most = 8 * time.Second
	}
	for {
		took, ok = s.crowd.score.recovery(end, time.Now().Add(-known))
		if ok || time.Since(end) > most+known || !nursery.Sleep(ctx, 100*time.Millisecond) {
			return took, ok
		}
	}
}

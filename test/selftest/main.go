// Command selftest shows that the tests of Holdfast find bugs. It builds the
// simulation of whole clusters (test/simulation) and the tests of one member
// (see packages) with the tag planted, runs all without a bug, which must pass,
// and then with each bug of internal/planted in turn, until a test fails, and
// prints which one:
//
//	go run ./test/selftest
//	go run ./test/selftest -members
//	go run ./test/selftest -bug no-rejoin
//
// The simulation comes first: the random schedules, then the scenarios. Only a
// bug that it misses is looked for in the tests of one member, whose names are
// printed with their package, as node.TestX. The whole simulation takes some ten
// minutes for each of these, so hours for all. -members turns the order round: the
// tests of one member take seconds.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// simulation is the package that tests whole clusters.
const simulation = "./test/simulation"

// packages are tested in this order until a test fails. Those of the first have
// bare names in the table. The others test one member; each package that holds
// a planted bug is among them.
var packages = []string{
	simulation,
	"./internal/ownership",
	"./internal/dispatch",
	"./internal/absence",
	"./internal/owner",
	"./internal/repair",
	"./internal/mesh",
	"./internal/census",
	"./internal/member",
	"./internal/membership", "./internal/clock", "./internal/timekeeper",
	"./internal/persist",
	"./internal/replication",
	"./session",
	"./ring",
	"./node",
}

func main() {
	only := flag.String("bug", "", "run with this bug alone; empty runs with all, and without any")
	seeds := flag.Int("seeds", 20, "random schedules of each kind that a bug is looked for in")
	members := flag.Bool("members", false, "look in the tests of one member first, and in the simulation for what they miss")
	timeout := flag.Duration("timeout", 20*time.Minute, "time for each bug and package")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t := tester{packages: packages, seeds: *seeds, timeout: *timeout}
	if *members {
		t.packages = append(slices.Clone(packages[1:]), simulation)
	}
	if err := t.all(ctx, planted.Bug(*only)); err != nil {
		fmt.Fprintln(os.Stderr, "selftest:", err)
		stop()
		os.Exit(1)
	}
}

// tester runs tests.
type tester struct {
	packages []string // in the order in which they are tested
	binaries []string // one for each of packages
	seeds    int
	timeout  time.Duration
}

func (t *tester) all(ctx context.Context, only planted.Bug) error {
	dir, err := os.MkdirTemp("", "selftest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, pkg := range t.packages {
		binary := filepath.Join(dir, filepath.Base(pkg)+".test")
		build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "planted", "-o", binary, pkg)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build %s: %w", pkg, err)
		}
		t.binaries = append(t.binaries, binary)
	}
	fmt.Println("| bug | what it does | caught by | as | after |")
	fmt.Println("|---|---|---|---|---|")
	if only == "" {
		if err := t.clean(ctx); err != nil {
			return err
		}
	}
	missed, ran := 0, 0
	for _, b := range planted.All {
		if only != "" && b.Bug != only {
			continue
		}
		ran++
		found, err := t.run(ctx, b.Bug)
		if err != nil {
			return err
		}
		if found.test == "" {
			missed++
			found.test, found.complaint = "**nothing**", ""
		}
		fmt.Printf("| `%s` | %s | %s | %s | %v |\n", b.Bug, b.What, found.test, found.complaint, found.took)
	}
	switch {
	case ran == 0:
		return fmt.Errorf("-bug %q: no such bug; see internal/planted", only)
	case missed > 0:
		return fmt.Errorf("%d of %d bugs were not caught", missed, ran)
	}
	return nil
}

// clean runs all tests without a bug: what fails then proves nothing.
func (t *tester) clean(ctx context.Context) error {
	found, err := t.run(ctx, "")
	if err != nil {
		return err
	}
	if found.test != "" {
		kept, err := keep(found.output)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s fails without any bug planted: %s; the whole output is in %s", found.test, found.complaint, kept)
	}
	fmt.Printf("| none | | nothing | | all passed in %v |\n", found.took)
	return nil
}

// keep writes what the tests have said into a file, and returns its name. A
// failure that depends on how goroutines were interleaved may not come again.
func keep(output string) (name string, err error) {
	f, err := os.CreateTemp("", "simulation-*.txt")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(output)
	return f.Name(), errors.Join(err, f.Close())
}

// find is what caught a bug: a test, or none, its first complaint, and all that
// the package which it belongs to said.
type find struct {
	test, complaint string
	output          string
	took            time.Duration // all packages together
}

// run tests one package after the other until a test fails.
func (t *tester) run(ctx context.Context, bug planted.Bug) (find, error) {
	var f find
	for i, pkg := range t.packages {
		began := time.Now()
		output, failed, err := t.test(ctx, i, bug)
		f.output, f.took = output, (f.took + time.Since(began)).Round(100*time.Millisecond)
		switch {
		case err != nil:
			return f, fmt.Errorf("bug %q, %s: %w after %v, in:\n%s", bug, pkg, err, f.took, tail(output))
		case !failed:
			continue
		}
		f.test, f.complaint = read(output)
		if f.complaint == notEnded && bug != "" { // as on a machine that is too slow
			f.test, f.complaint = "", ""
			continue
		}
		if f.test == "" {
			return f, fmt.Errorf("bug %q: %s fails and names no test:\n%s", bug, pkg, tail(output))
		}
		if pkg != simulation {
			f.test = filepath.Base(pkg) + "." + f.test
		}
		break
	}
	return f, nil
}

// test runs the tests of t.packages[i].
func (t *tester) test(ctx context.Context, i int, bug planted.Bug) (output string, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout+time.Minute) // the test's own timeout says more
	defer cancel()
	args := []string{"-test.v", "-test.failfast", "-test.timeout", t.timeout.String()}
	if t.packages[i] == simulation {
		args = append(args, "-seeds", fmt.Sprint(t.seeds))
	}
	cmd := exec.CommandContext(ctx, t.binaries[i], args...)
	cmd.Dir = t.packages[i] // where go test runs it
	cmd.Env = append(os.Environ(), "HOLDFAST_PLANTED="+string(bug))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return out.String(), false, ctx.Err()
	case errors.As(err, &exit):
		return out.String(), true, nil
	}
	return out.String(), false, err
}

// notEnded is said of a test that was running when the time of its package was up.
// A bug may keep a test from ending, but so may a slow machine: it proves nothing,
// and the bug is looked for in the packages that follow.
const notEnded = "has not ended"

// read finds the test that failed, the innermost, and the first broken promise
// that it names, or else what its first assertion says, or else which one has
// notEnded.
func read(output string) (test, complaint string) {
	var asserted []string
	collecting, hung := false, false
	for line := range strings.Lines(output) {
		text := strings.TrimSpace(line)
		if name, _, ok := strings.Cut(text, " ("); hung && ok && strings.HasPrefix(name, "Test") && test == "" {
			test, complaint = name, notEnded
		}
		hung = hung && test == "" || text == "running tests:"
		if rest, ok := strings.CutPrefix(text, "Error:"); ok {
			collecting, text = len(asserted) == 0, strings.TrimSpace(rest)
		}
		if strings.HasPrefix(text, "Test:") {
			collecting = false
		}
		if collecting {
			asserted = append(asserted, text)
		}
		if _, text, ok := strings.Cut(line, "broken: "); ok && complaint == "" {
			complaint = cell(text)
		}
		if rest, ok := strings.CutPrefix(text, "--- FAIL: "); ok {
			if name, _, _ := strings.Cut(rest, " "); len(name) > len(test) {
				test = name
			}
		}
	}
	said := strings.TrimPrefix(strings.Join(asserted, " "), "Received unexpected error: ")
	return test, cmp.Or(complaint, cell(said))
}

// cell makes text fit into a table.
func cell(text string) string {
	text = strings.ReplaceAll(strings.TrimRight(text, ":\n "), "|", "/")
	if len(text) > 100 {
		text = text[:100] + "…"
	}
	return text
}

func tail(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

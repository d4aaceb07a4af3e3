// Command selftest shows that the simulation of whole clusters (node/nodetest)
// finds bugs. It builds it once with the tag planted, runs all of it without a
// bug, which must pass, and then once for each bug of internal/planted, which
// must fail, and prints what caught it:
//
//	go run ./internal/selftest
//	go run ./internal/selftest -bug no-rejoin
//
// Tests run in the order of nodetest until the first one fails: the random
// schedules, then the scenarios.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

const simulation = "./node/nodetest"

func main() {
	only := flag.String("bug", "", "run with this bug alone; empty runs with all, and without any")
	seeds := flag.Int("seeds", 20, "random schedules of each kind that a bug is looked for in")
	timeout := flag.Duration("timeout", 20*time.Minute, "time for each bug")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t := tester{seeds: *seeds, timeout: *timeout}
	if err := t.all(ctx, planted.Bug(*only)); err != nil {
		fmt.Fprintln(os.Stderr, "selftest:", err)
		stop()
		os.Exit(1)
	}
}

// tester runs the simulation.
type tester struct {
	binary  string
	seeds   int
	timeout time.Duration
}

func (t *tester) all(ctx context.Context, only planted.Bug) error {
	dir, err := os.MkdirTemp("", "selftest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t.binary = filepath.Join(dir, "nodetest.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "planted", "-o", t.binary, simulation)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build %s: %w", simulation, err)
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

// clean runs the simulation without a bug: what fails then proves nothing.
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

// keep writes what the simulation has said into a file, and returns its name. A
// failure that depends on how goroutines were interleaved may not come again.
func keep(output string) (name string, err error) {
	f, err := os.CreateTemp("", "nodetest-*.txt")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(output)
	return f.Name(), errors.Join(err, f.Close())
}

// find is what caught a bug: a test, or none, its first complaint, and all that
// the simulation said.
type find struct {
	test, complaint string
	output          string
	took            time.Duration
}

func (t *tester) run(ctx context.Context, bug planted.Bug) (find, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout+time.Minute) // the test's own timeout says more
	defer cancel()
	cmd := exec.CommandContext(ctx, t.binary, "-test.v", "-test.failfast", "-test.timeout", t.timeout.String(), "-seeds", fmt.Sprint(t.seeds))
	cmd.Dir = simulation // where go test runs it
	cmd.Env = append(os.Environ(), "HOLDFAST_PLANTED="+string(bug))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	f := find{output: out.String(), took: time.Since(began).Round(100 * time.Millisecond)}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return f, nil
	case ctx.Err() != nil:
		return f, fmt.Errorf("bug %q: %w after %v, in:\n%s", bug, ctx.Err(), f.took, tail(f.output))
	case !errors.As(err, &exit):
		return f, err
	}
	f.test, f.complaint = read(f.output)
	if f.test == "" {
		return f, fmt.Errorf("bug %q: the simulation ended with %w and names no test:\n%s", bug, err, tail(f.output))
	}
	return f, nil
}

// read finds the test that failed, the innermost, and the first broken promise
// that it names.
func read(output string) (test, complaint string) {
	for line := range strings.Lines(output) {
		if _, text, ok := strings.Cut(line, "broken: "); ok && complaint == "" {
			complaint = cell(text)
		}
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			if name, _, _ := strings.Cut(rest, " "); len(name) > len(test) {
				test = name
			}
		}
	}
	return test, complaint
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

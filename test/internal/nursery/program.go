package nursery

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Exit codes of a Program.
const (
	Passed = 0
	Failed = 1 // what was tested did not hold, or could not be tried
	Usage  = 2
)

// Program is a command that tests holdfast from outside: C is what its command
// line says.
type Program[C any] struct {
	Name  string
	Parse func(args []string, stderr io.Writer) (C, error)
	// Test reports whether all held.
	Test func(ctx context.Context, c C, stdout, stderr io.Writer) (passed bool, err error)
}

// Main runs the program until it ends or is told to, and exits.
func (p Program[C]) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Run runs the program and returns its exit code.
func (p Program[C]) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := p.Parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return Passed
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return Usage
	}
	passed, err := p.Test(ctx, c, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	}
	if err != nil || !passed {
		return Failed
	}
	return Passed
}

// Flags begins the flags of a program. Its help is the usage, what cases
// writes, and the flags.
func Flags(name, usage string, cases func(), stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		cases()
		fmt.Fprint(stderr, "\nFlags:\n")
		f.PrintDefaults()
	}
	return f
}

// Parse reads the flags. Other arguments are refused with a hint.
func Parse(f *flag.FlagSet, args []string, hint string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q: no arguments are taken; %s", f.Arg(0), hint)
	}
	return nil
}

// Holdfast says which holdfast is tested, and what stays of it.
type Holdfast struct {
	Bin  string // empty before Build
	Keep bool   // the members' logs, when all went well too
}

// Flags adds -bin and -keep.
func (h *Holdfast) Flags(f *flag.FlagSet) {
	f.StringVar(&h.Bin, "bin", "", "`file` of a built holdfast; built from this module when empty")
	f.BoolVar(&h.Keep, "keep", false, "keep the members' logs when all went well too")
}

// Build builds the holdfast of this module in dir, unless there is one.
func (h *Holdfast) Build(ctx context.Context, dir string) (err error) {
	if h.Bin != "" {
		h.Bin, err = filepath.Abs(h.Bin)
		return err
	}
	h.Bin = filepath.Join(dir, "holdfast")
	return Build(ctx, h.Bin)
}

// Build builds the holdfast of this module, with build tags.
func Build(ctx context.Context, file string, tags ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", file, "github.com/seed-95a32959/holdfast/cmd/holdfast")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return nil
}

// Sleep waits and reports whether ctx still goes on.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

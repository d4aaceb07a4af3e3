// Command holdfast runs and inspects a cluster of sticky, replicated, in-memory
// user sessions.
//
// What happens to one command line: [run] rewrites single-dash flags for the
// parser and lets it fill the flags of one command from the command line and
// the environment ([parse]). The command's Run method turns them into values
// for the packages below, such as a [node.Config], and signals into a context.
// What comes back as an error is printed on one line and becomes the exit code.
// There is one file for each command; every decision about sessions, ownership
// and copies is made in the packages it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// The exit codes of every command.
const (
	exitOK     = 0 // done, or stopped cleanly
	exitFailed = 1 // the command line was fine, the work was not
	exitUsage  = 2 // the command line or the environment was wrong
	exitUnwell = 3 // status: the cluster is not as it should be
)

// errUnwell says that a command has printed what is wrong with the cluster.
var errUnwell = errors.New("something is wrong with the cluster")

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are the files of one run, so that tests can read what it prints.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// usageError is a mistake in the command line or the environment. Its text
// names the flag, the value and what is accepted.
type usageError struct {
	command string // "holdfast" or "holdfast node"
	text    string
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%s (%s -h tells more)", e.text, e.command)
}

// run executes one command line and returns its exit code. A command that
// serves ends cleanly when ctx does, as it does on SIGTERM.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &streams{in: stdin, out: stdout, err: stderr}
	if len(args) == 0 {
		printUsage(stderr)
		return exitUsage
	}
	name := "holdfast"
	kctx, err := parse(args, s)
	if err == nil && kctx == nil { // help was asked for, and printed
		return exitOK
	}
	if err == nil {
		name += " " + kctx.Selected().Name
		kctx.BindTo(ctx, (*context.Context)(nil))
		err = kctx.Run(s)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUnwell):
		return exitUnwell
	}
	code := exitFailed
	if usage, ok := errors.AsType[*usageError](err); ok {
		name, code = usage.command, exitUsage
	}
	// There are several lines when several flags were wrong.
	for line := range strings.SplitSeq(inFlags(err), "\n") {
		fmt.Fprintf(stderr, "%s: %s\n", name, line)
	}
	return code
}

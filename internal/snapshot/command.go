package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// PathVariable is the variable in which a command finds the snapshot's path.
	PathVariable = "HOLDFAST_SNAPSHOT"
	// stopWait is how long a command that is to stop may take before it is killed,
	// and how long what it has started may go on writing when it has ended.
	stopWait = 5 * time.Second
	// tailBytes and tailLines bound what is kept of a command's output.
	tailBytes, tailLines = 2 << 10, 10
)

// CheckCommand says what is wrong with a command line: it needs a program that
// can be found and run.
func CheckCommand(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return errors.New("must be a program and its arguments")
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return fmt.Errorf("must be a program that can be run, and its arguments: %w", err)
	}
	return nil
}

// Command returns what runs a command line on a snapshot. It is split at white
// space and in no other way: no shell reads it, and quotes mean nothing. The
// snapshot's path is the last argument, and [PathVariable] in the environment,
// which is otherwise this process's. Input is empty. Output is returned, the last
// lines of it.
//
// When the context ends the program, and all that it has started, gets SIGTERM,
// and is killed after five seconds. The error wraps the context's then, and
// otherwise *exec.ExitError for an exit code that is not 0, or
// exec.ErrWaitDelay where something goes on that it has started.
func Command(line string) func(ctx context.Context, path string) (output string, err error) {
	words := strings.Fields(line)
	return func(ctx context.Context, path string) (string, error) {
		var out tail
		cmd := exec.CommandContext(ctx, words[0], append(words[1:len(words):len(words)], path)...)
		cmd.Env = append(os.Environ(), PathVariable+"="+path)
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, stopWait
		inGroup(cmd)
		err := cmd.Run()
		if err != nil && cmd.Process != nil {
			killGroup(cmd)
		}
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return out.String(), err
	}
}

// tail is a writer that keeps the end of what is written.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b[max(0, len(b)-tailBytes):]...)
	t.b = append(t.b[:0], t.b[max(0, len(t.b)-tailBytes):]...)
	return len(b), nil
}

// String returns the last lines.
func (t *tail) String() string {
	b := bytes.TrimSpace(t.b)
	lines := bytes.Split(b, []byte("\n"))
	return strings.ToValidUTF8(string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n"))), "")
}

//go:build unix

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script writes a shell script, and returns the command line that runs it.
func script(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return "sh " + path
}

// The path comes last, after arguments that no shell has seen, and in the
// environment; the rest of that is this process's.
func TestCommandGetsThePath(t *testing.T) {
	t.Setenv("SOME_TOKEN", "secret")
	line := script(t, `for a in "$@"; do echo "[$a]"; done; echo "$HOLDFAST_SNAPSHOT $SOME_TOKEN"; cat; echo said >&2`)
	out, err := Command(line+" \t'a   $HOME  *'")(t.Context(), "/data/snapshots/with space")
	require.NoError(t, err)
	require.Equal(t, "['a]\n[$HOME]\n[*']\n[/data/snapshots/with space]\n/data/snapshots/with space secret\nsaid", out)
}

// What it said last comes with its exit code.
func TestCommandThatFails(t *testing.T) {
	out, err := Command(script(t, `i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done; exit 3`))(t.Context(), "/x")
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 3, exit.ExitCode())
	require.Equal(t, tailLines, len(strings.Split(out, "\n")))
	require.True(t, strings.HasSuffix(out, "line 998\nline 999"))
	out, err = Command(script(t, `i=0; while [ $i -lt 1000 ]; do printf xxxxxxxxx; i=$((i+1)); done; printf 7; exit 4`))(t.Context(), "/x")
	require.Error(t, err)
	require.Equal(t, tailBytes, len(out))
	require.True(t, strings.HasSuffix(out, "x7"))
}

// When its time is over the program and what it has started are told to end. What
// does not is killed.
func TestCommandIsStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	line := script(t, fmt.Sprintf(`
(trap "" TERM; exec sleep 1000) >/dev/null 2>&1 &
deaf=$!
(trap "echo ended; exit" TERM; echo begun; echo $deaf >%[1]s.part; mv %[1]s.part %[1]s; while :; do sleep 1; done) &
wait`, file))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		out, err := Command(line)(ctx, "/x")
		if !strings.HasPrefix(out, "begun\n") || !strings.HasSuffix(out, "ended") { // a shell may say something itself
			err = fmt.Errorf("it said %q: %w", out, err)
		}
		ended <- err
	}()
	var b []byte
	for deadline := time.Now().Add(15 * time.Second); len(b) == 0; time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "it was not begun")
		b, _ = os.ReadFile(file)
	}
	cancel()
	err := <-ended
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "it said")
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	for deadline := time.Now().Add(15 * time.Second); syscall.Kill(pid, 0) == nil && !isZombie(pid); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "what it has started runs on")
	}
}

// isZombie says whether a process has ended that nobody has waited for.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

func TestCheckCommand(t *testing.T) {
	require.NoError(t, CheckCommand("sh -c true"))
	require.ErrorContains(t, CheckCommand("  "), "must be a program")
	require.ErrorIs(t, CheckCommand("no-such-program-here x"), exec.ErrNotFound)
}

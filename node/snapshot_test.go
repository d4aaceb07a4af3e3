//go:build unix

package node

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shipping has a node take a snapshot each second, and a program copy each to a
// directory, which is returned.
func shipping(t *testing.T, c *Config) (elsewhere string) {
	elsewhere = t.TempDir()
	script := filepath.Join(t.TempDir(), "ship")
	require.NoError(t, os.WriteFile(script, []byte(`set -e
test "$HOLDFAST_SNAPSHOT" = "$2"
cp -r "$2" "$1/part"
mv "$1/part" "$1/$(basename "$2")"
`), 0o600))
	c.SnapshotEvery, c.SnapshotExec = time.Second, "sh "+script+" "+elsewhere
	return elsewhere
}

// shippedSince waits for a snapshot that was begun after a moment, and copies it
// into a new directory, as somebody does who restores it.
func shippedSince(t *testing.T, elsewhere string, after time.Time) (dir string) {
	dir = t.TempDir()
	eventually(t, "a snapshot is shipped", func() bool {
		entries, err := os.ReadDir(elsewhere)
		require.NoError(t, err)
		for _, e := range entries {
			if at, err := time.Parse("20060102T150405Z", e.Name()); err == nil && at.After(after) {
				require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(elsewhere, e.Name()))))
				return true
			}
		}
		return false
	})
	return dir
}

// A snapshot that was copied elsewhere is what a node of that name starts with. It
// undoes no logout, and nothing else, where another node knows better; alone it
// has what it had then.
func TestRestoredSnapshot(t *testing.T) {
	t.Parallel()
	cfg := loopbackConfig("ada")
	onDisk(&cfg, filepath.Join(t.TempDir(), "ada"))
	elsewhere := shipping(t, &cfg)
	ada := begin(t, cfg)
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	for i := range 10 {
		put(t, ada, fmt.Sprint("k", i), "old")
	}
	restored := shippedSince(t, elsewhere, time.Now())
	stats := ada.operator.Stats()
	require.Positive(t, stats.Counters["snapshots"])
	require.Zero(t, stats.Counters["snapshot_failures"])
	require.Positive(t, stats.Disk.SnapshotAge)
	resp, _ := send(t, "DELETE", ada.public("/v1/sessions/k3"), "", "Holdfast-Ack", "all")
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	put(t, ada, "k4", "new")
	ada.stop(errKilled, nil)
	alone := t.TempDir()
	require.NoError(t, os.CopyFS(alone, os.DirFS(restored)))

	cfg = loopbackConfig("ada", bob)
	onDisk(&cfg, restored)
	ada = begin(t, cfg)
	agree(t, ada, bob)
	want := func(nodes []*Node, at3 int, at4 string) {
		for _, n := range nodes {
			for i := range 10 {
				resp, got := get(t, n, fmt.Sprint("k", i))
				switch i {
				case 3:
					require.Equal(t, at3, resp.StatusCode)
				case 4:
					require.Equal(t, at4, got)
				default:
					require.Equal(t, "old", got)
				}
			}
		}
	}
	want([]*Node{ada, bob}, http.StatusGone, "new")
	ada.stop(errKilled, nil)
	bob.stop(errKilled, nil)

	cfg = loopbackConfig("ada")
	onDisk(&cfg, alone)
	cfg.StartWait = -1
	ada = begin(t, cfg)
	agree(t, ada)
	want([]*Node{ada}, http.StatusOK, "old")
}

// A program that fails is counted, and the node serves.
func TestSnapshotCommandThatFails(t *testing.T) {
	t.Parallel()
	cfg := loopbackConfig("ada")
	onDisk(&cfg, t.TempDir())
	cfg.SnapshotEvery, cfg.SnapshotExec = time.Second, "false"
	ada := begin(t, cfg)
	eventually(t, "the failure is counted", func() bool { return ada.operator.Stats().Counters["snapshot_failures"] > 0 })
	put(t, ada, "k", "v")
	require.NoError(t, ada.kept.persister.Err())
}

// What cannot work is said at the start.
func TestSnapshotsThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dir   string
		every time.Duration
		exec  string
		says  string
	}{
		{"", time.Hour, "", "Config.SnapshotEvery \"1h0m0s\": must be 1s or more, beside Config.DataDir"},
		{"x", time.Millisecond, "", "Config.SnapshotEvery \"1ms\": must be 1s or more, beside Config.DataDir"},
		{"x", 0, "true", "Config.SnapshotExec \"true\": must be given beside Config.SnapshotEvery"},
		{"x", time.Hour, "no-such-program-here", "must be a program that can be run"},
	} {
		cfg := loopbackConfig("ada")
		cfg.DataDir, cfg.SnapshotEvery, cfg.SnapshotExec = c.dir, c.every, c.exec
		_, err := Start(t.Context(), cfg)
		require.ErrorContains(t, err, c.says)
	}
}

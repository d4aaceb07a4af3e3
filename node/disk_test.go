package node

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/disk/disktest"
	"github.com/seed-95a32959/holdfast/session"
)

var errKilled = errors.New("killed")

// onDisk keeps a node's sessions in a directory of the test.
func onDisk(c *Config, dir string) {
	c.DataDir = dir
	c.Fsync = "always"
}

// A node that ends, and starts again with its directory, has its sessions, and
// knows which have ended.
func TestSessionsOutliveTheirNode(t *testing.T) {
	t.Parallel()
	cfg := loopbackConfig("ada")
	onDisk(&cfg, filepath.Join(t.TempDir(), "made", "ada"))
	n := begin(t, cfg)
	for i := range 20 {
		put(t, n, fmt.Sprint("k", i), "v")
	}
	resp, _ := send(t, "DELETE", n.public("/v1/sessions/k7"), "")
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	n.stop(errKilled, nil)

	n = begin(t, cfg)
	for i := range 20 {
		resp, got := get(t, n, fmt.Sprint("k", i))
		if i == 7 {
			require.Equal(t, http.StatusGone, resp.StatusCode)
			continue
		}
		require.Equal(t, "v", got)
	}
	stats := n.operator.Stats()
	require.Equal(t, "always", stats.Disk.Fsync)
	require.Positive(t, stats.Disk.Bytes)
	require.Empty(t, stats.Disk.Error)
	info, err := os.Stat(cfg.DataDir)
	require.NoError(t, err)
	require.EqualValues(t, 0o700, info.Mode().Perm(), "records are secrets")
}

// What is wrong with a directory is said by the name of the field, with what to do.
func TestDirectoriesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	cfg := loopbackConfig("ada")
	onDisk(&cfg, t.TempDir())
	n := begin(t, cfg)
	start := func(change func(c *Config)) error {
		c := loopbackConfig("ada")
		onDisk(&c, cfg.DataDir)
		change(&c)
		other, err := Start(t.Context(), c)
		if err == nil {
			other.stop(errKilled, nil)
		}
		var field *FieldError
		if errors.As(err, &field) {
			require.Contains(t, []string{"DataDir", "Fsync"}, field.Field)
		}
		return err
	}
	require.ErrorIs(t, start(func(*Config) {}), disk.ErrInUse)
	n.stop(errKilled, nil)
	require.ErrorIs(t, start(func(c *Config) { c.Name = "bob" }), disk.ErrForeign)
	require.ErrorContains(t, start(func(c *Config) { c.Name = "bob" }), "give each node a directory of its own")
	require.ErrorIs(t, start(func(c *Config) { c.Cluster = "other" }), disk.ErrForeign)
	require.ErrorContains(t, start(func(c *Config) { c.Fsync = "sometimes" }), "must be everysec, always or no")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, start(func(c *Config) { c.DataDir = file }), "data directory")
	past := func(c *Config) { c.Now = func() time.Time { return time.Now().Add(-time.Hour) } }
	n = begin(t, cfg)
	put(t, n, "k", "v")
	n.stop(errKilled, nil)
	require.ErrorContains(t, start(past), "the host's clock is behind")
	require.NoError(t, start(func(*Config) {}), "nothing has happened to it")
}

// A node that comes back alone waits for the one that it knew, and says so at its
// endpoints; when that has come too, both serve.
func TestLoadingNodeSaysSo(t *testing.T) {
	t.Parallel()
	seeds := freePorts(t, 2)
	config := func(i int, dir string) Config {
		cfg := loopbackConfig([]string{"ada", "bob"}[i])
		cfg.Gossip, cfg.Join, cfg.Expect, cfg.StartWait = seeds[i], seeds, 1, time.Hour
		withRedis(&cfg)
		onDisk(&cfg, dir)
		return cfg
	}
	first, second := config(0, t.TempDir()), config(1, t.TempDir())
	ada, bob := begin(t, first), begin(t, second)
	agree(t, ada, bob)
	put(t, ada, "k", "v")
	eventually(t, "ada remembers bob", func() bool {
		b, err := os.ReadFile(filepath.Join(first.DataDir, "note-"+rememberAs))
		return err == nil && strings.Contains(string(b), `"bob"`)
	})
	ada.stop(errKilled, nil)
	bob.stop(errKilled, nil)

	ada = begin(t, first)
	resp, body := send(t, "GET", ada.office("/readyz"), "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, "waits for bob")
	resp, _ = get(t, ada, "k")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Regexp(t, "^-LOADING ", dialRedis(t, ada).do("GET k"))

	bob = begin(t, second)
	agree(t, ada, bob)
	_, got := get(t, ada, "k")
	require.Equal(t, "v", got)
	require.NotContains(t, dialRedis(t, ada).do("GET k"), "LOADING")
}

// Where no other node serves, one whose disk fails serves on from memory. So do
// two whose disks fail together.
func TestDisksThatAllFail(t *testing.T) {
	t.Parallel()
	first, second := disktest.New(), disktest.New()
	cfg := loopbackConfig("ada")
	cfg.Files = first
	ada := begin(t, cfg)
	cfg = loopbackConfig("bob", ada)
	cfg.Files = second
	bob := begin(t, cfg)
	agree(t, ada, bob)
	put(t, ada, "k", "1")
	first.FailAfter(0, disktest.ErrFull)
	second.FailAfter(0, disktest.ErrFull)
	eventually(t, "both disks have failed", func() bool {
		_, _ = ada.Sessions().Do(t.Context(), putOf("k2"), session.AckAll)
		return ada.operator.Stats().Disk.Error != "" && bob.operator.Stats().Disk.Error != ""
	})
	eventually(t, "sessions are served", func() bool {
		resp, got := get(t, bob, "k")
		return resp.StatusCode == http.StatusOK && got == "1"
	})
	eventually(t, "nobody waits for the disk of the one that serves", func() bool { return ada.operator.Stats().Disk.Lag == 0 || bob.operator.Stats().Disk.Lag == 0 })
	put(t, ada, "new", "1")
	resp, _ := send(t, "DELETE", ada.public("/v1/sessions/k"), "")
	require.Less(t, resp.StatusCode, 300, "logouts pass")
}

// A node whose disk fails takes no new writes: it hands over what it has, and says
// why it is not ready.
func TestFailedDiskHandsOver(t *testing.T) {
	t.Parallel()
	mem := disktest.New()
	first := loopbackConfig("ada")
	first.Files = mem
	ada := begin(t, first)
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	for i := range 50 {
		put(t, ada, fmt.Sprint("k", i), "v")
	}
	mem.FailAfter(0, disktest.ErrFull)
	put(t, ada, "last", "v")
	eventually(t, "ada has handed over", func() bool { return len(bob.View().Nodes()) == 1 })
	resp, body := send(t, "GET", ada.office("/readyz"), "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, "the disk has failed")
	require.Contains(t, body, "no space left")
	require.NotEmpty(t, ada.operator.Stats().Disk.Error)
	eventually(t, "bob serves", func() bool { owned, cold := bob.owner.Gate().Counts(); return owned == 1024 && cold == 0 })
	for i := range 50 {
		_, got := get(t, ada, fmt.Sprint("k", i))
		require.Equal(t, "v", got, "ada forwards")
	}
}

// The last node of a cluster that is stopped has nobody to hand over to. With a
// disk that is no failure, for its sessions are there; when the disk has failed,
// or without one, they are lost.
func TestLastNodeStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		with  func(cfg *Config) (fail func())
		saved bool
	}{
		"on a disk": {func(cfg *Config) func() { onDisk(cfg, t.TempDir()); return func() {} }, true},
		"on a disk that fails": {func(cfg *Config) func() {
			files := disktest.New()
			cfg.Files, cfg.Fsync = files, "everysec"
			return func() { files.FailAfter(0, disktest.ErrFull) }
		}, false},
		"in memory": {func(*Config) func() { return func() {} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := loopbackConfig("ada")
			fail := c.with(&cfg)
			n := begin(t, cfg)
			put(t, n, "alice", "v")
			fail()
			err := n.Shutdown(t.Context())
			require.Equal(t, c.saved, n.Saved())
			if !c.saved {
				require.ErrorIs(t, err, ErrNobodyThere)
				return
			}
			require.NoError(t, err)
			n = begin(t, cfg)
			_, got := get(t, n, "alice")
			require.Equal(t, "v", got)
		})
	}
}

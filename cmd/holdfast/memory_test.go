package main

import (
	"bytes"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// onMachine makes the process believe that it may take so many bytes.
func onMachine(t *testing.T, total int64) {
	was := machineMemory
	machineMemory = func() (int64, string) { return total, "container" }
	t.Cleanup(func() { machineMemory = was })
}

func TestMemoryOfThisMachine(t *testing.T) {
	total, source := machineMemory()
	require.Greater(t, total, int64(16<<20))
	require.Contains(t, []string{"container", "machine"}, source)
}

// -memory is a share of what there is, unless the command line says otherwise.
func TestMemoryFlag(t *testing.T) {
	for _, c := range []struct {
		total int64
		args  []string
		want  int64
	}{
		{10 << 30, nil, 6 << 30 >> 20 << 20},
		{10 << 30, []string{"-memory", "64MiB"}, 64 << 20},
		{10 << 30, []string{"-memory", "none"}, 0},
		{0, nil, 0}, // nobody knows
	} {
		onMachine(t, c.total)
		require.InDelta(t, c.want, parseNode(t, c.args...).Memory.bytes(), 2<<20, "%+v", c)
	}
	onMachine(t, 10<<30)
	t.Setenv("HOLDFAST_MEMORY", "1GiB")
	require.EqualValues(t, 1<<30, parseNode(t).Memory.bytes())
}

// dev's nodes share one machine.
func TestDevDividesMemory(t *testing.T) {
	onMachine(t, 10<<30)
	devOf := func(args ...string) *devCommand {
		kctx, err := parse(append([]string{"dev"}, args...), &streams{out: io.Discard, err: io.Discard})
		require.NoError(t, err)
		return kctx.Selected().Target.Addr().Interface().(*devCommand)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"2047MiB", nil}, {"614MiB", []string{"-nodes", "10"}}, {"512MiB", []string{"-nodes", "2", "-memory", "1GiB"}}, {"none", []string{"-memory", "none"}},
	} {
		require.Equal(t, c.want, devOf(c.args...).memoryOfOne(), "%v", c.args)
		d := &dev{config: devOf(c.args...)}
		require.Contains(t, strings.Join(d.args(&member{name: "node-1", node: true}), " "), "-memory "+c.want)
	}
}

// The collector has room for more than the sessions, and for no more than there
// is; but never for less than is live when sessions are at their limit.
func TestCollectorLimit(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ limit, total, want int64 }{
		{6000 * mib, 10000 * mib, 9000 * mib},
		{64 * mib, 10000 * mib, 192 * mib},
		{1000 * mib, 10000 * mib, 1500 * mib},
		{1000 * mib, 0, 1500 * mib},
		{76 * mib, 128 * mib, 115 * mib},
		{9000 * mib, 10000 * mib, 10800 * mib},
		{0, 10000 * mib, 9000 * mib},
	} {
		require.InDelta(t, c.want, collectorLimit(c.limit, c.total), mib, "%+v", c)
	}
	require.EqualValues(t, math.MaxInt64, collectorLimit(0, 0))
}

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	onMachine(t, 10<<30)
	t.Setenv("GOMEMLIMIT", "") // so that it is put back
	require.NoError(t, os.Unsetenv("GOMEMLIMIT"))
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	limitMemory(2 << 30)
	logMemory(2<<30, logger)
	require.EqualValues(t, 3<<30, debug.SetMemoryLimit(-1))
	require.Contains(t, log.String(), `msg=memory sessions="2.0 GiB" process="3.0 GiB" available="10.0 GiB" of=container`)
	require.NotContains(t, log.String(), "WARN")

	t.Setenv("GOMEMLIMIT", "5GiB")
	limitMemory(4 << 30)
	require.EqualValues(t, 3<<30, debug.SetMemoryLimit(-1), "what the user has set stays")

	log.Reset()
	logMemory(20<<30, logger)
	require.Contains(t, log.String(), "WARN")
}

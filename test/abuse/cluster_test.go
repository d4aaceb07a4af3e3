package main

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParsePeak(t *testing.T) {
	require.EqualValues(t, 31052<<10, parsePeak("Name:\tholdfast\nVmPeak:\t 1852 kB\nVmHWM:\t   31052 kB\nVmRSS:\t   30000 kB\n"))
	require.Zero(t, parsePeak("Name:\tholdfast\n"))
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc here")
	}
	require.Greater(t, parsePeak(string(status)), int64(mebibyte))
}

func TestParseCPU(t *testing.T) {
	require.Equal(t, 1230*time.Millisecond, parseCPU("42 (hold (fast) x) S 1 42 42 0 -1 4194560 2000 0 0 0 100 23 7 8 20 0 9 0 100 1 1"))
	require.Zero(t, parseCPU("42 (holdfast) S 1"))
	require.Zero(t, parseCPU(""))
}

func TestParseHeap(t *testing.T) {
	n, err := parseHeap("heap profile: 1: 2\n# Alloc = 5\n# HeapAlloc = 2454808\n# HeapSys = 11730944\n")
	require.NoError(t, err)
	require.EqualValues(t, 2454808, n)
	_, err = parseHeap("<html>")
	require.ErrorContains(t, err, "HeapAlloc")
}

func TestBusy(t *testing.T) {
	require.False(t, busy(0.10, 0.10))
	require.False(t, busy(0.35, 0.10))
	require.True(t, busy(1.41, 0.10))
}

func TestOthers(t *testing.T) {
	stat := "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 50 10 15 2000 250 3 3 4 0 0\n"
	require.Equal(t, 1710*time.Millisecond, parseBusy(stat))
	require.Zero(t, parseBusy("cpu0 1 2 3 4 5 6 7 8 9\n"))

	begun := reading{at: time.Unix(1000, 0), all: 10 * time.Second, ours: time.Second}
	later := reading{at: time.Unix(1002, 0), all: 13 * time.Second, ours: 2 * time.Second}
	require.InDelta(t, 1.0, later.others(begun), 0.001)
	later.ours = 20 * time.Second // a member that has been started anew takes its own time with it
	require.Zero(t, later.others(begun))

	require.Empty(t, neighbours(0))
	require.Contains(t, neighbours(float64(runtime.NumCPU())), "which may be why")
}

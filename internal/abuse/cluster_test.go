package main

import (
	"os"
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

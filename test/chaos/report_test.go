package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	r := newReport("kill: kill -9", "go run ./test/chaos -run kill")
	r.began, r.loads[0] = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "0.10"
	r.figure("kills", "%d", 5)
	r.never("lost writes", 0, 12345, nil)
	require.False(t, r.broken())
	r.never("undone", 2, 1000, []string{"first\nof two lines"})
	require.True(t, r.broken())
	r.took, r.loads[1] = 90*time.Second, "1.50"
	var b strings.Builder
	r.write(&b)
	require.Equal(t, "\n### kill: kill -9\n\n"+
		"`go run ./test/chaos -run kill`, 2026-01-02 03:04, took 1m30s, load average 0.10 before and 1.50 after.\n\n"+
		"| | measured | promised | |\n|---|---|---|---|\n"+
		"| kills | 5 |  |  |\n"+
		"| lost writes | 0 of 12,345 | 0 | kept |\n"+
		"| undone | 2 of 1,000 | 0 | **BROKEN** |\n"+
		"\nBroken: undone\n\n    first\n    of two lines\n", b.String())
}

func TestReportOfAScenarioThatCouldNotGoOn(t *testing.T) {
	r := newReport("x", "y")
	r.fail(errors.New("no cluster"))
	require.True(t, r.broken())
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234: "1µs", 999 * time.Microsecond: "999µs", 65_912 * time.Microsecond: "65.9ms", 1_234_567 * time.Microsecond: "1.23s", 125 * time.Second: "2m5s",
	} {
		require.Equal(t, want, short(d))
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		require.Equal(t, want, thousands(n))
	}
}

func TestSpreadAndCounts(t *testing.T) {
	require.Equal(t, "none", spread(nil))
	require.Equal(t, "median 2ms, p90 3ms, p99 3ms, max 3ms", spread([]time.Duration{3e6, 1e6, 2e6}))
	require.Equal(t, "none", counts(nil))
	require.Equal(t, "7 in all; 0 in 2 of 4, median 2, p90 5, p99 5, max 5", counts([]int{0, 5, 0, 2}))
}

func TestHistogram(t *testing.T) {
	var h histogram
	require.Zero(t, h.quantile(0.5))
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	h.add(time.Hour) // beyond the last bucket
	require.InEpsilon(t, float64(500*time.Millisecond), float64(h.quantile(0.5)), 2*(bucketWidth-1))
	require.InEpsilon(t, float64(990*time.Millisecond), float64(h.quantile(0.99)), 2*(bucketWidth-1))
	require.Greater(t, h.quantile(1), 4*time.Minute)
}

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseCSV(t *testing.T) {
	const table = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET key:__rand_int__","50000.00","0.551","0.168","0.519","0.895","1.239","2.807"
`
	for _, before := range []string{"", "Cluster has 3 master nodes:\n\nMaster 0: abc 127.0.0.1:1\n\n"} {
		r, err := parseCSV(before + table)
		require.NoError(t, err)
		require.Equal(t, result{rate: 50000, p99: 1.239}, r)
	}
	for _, broken := range []string{"", "no table", `"test","rps"` + "\n", strings.ReplaceAll(table, "p99", "p98"), strings.ReplaceAll(table, "1.239", "x")} {
		_, err := parseCSV(broken)
		require.Error(t, err, broken)
	}
}

func TestTicksOf(t *testing.T) {
	ticks, err := ticksOf("31394 (a name) (1) S 1 1 1 0 -1 4194560 100 0 0 0 120 34 0 0 20 0 9 0 1000 0 0")
	require.NoError(t, err)
	require.EqualValues(t, 154, ticks)
	_, err = ticksOf("1 (x) S 1")
	require.Error(t, err)
}

func TestNumber(t *testing.T) {
	n, err := number("used_memory_human:1M\r\nused_memory:1234\r\n", "used_memory:")
	require.NoError(t, err)
	require.EqualValues(t, 1234, n)
	n, err = number("VmRSS:\t   51200 kB\n", "VmRSS:")
	require.NoError(t, err)
	require.EqualValues(t, 51200, n)
	for _, none := range []string{"", "VmRSS: x", "VmRSS:"} {
		_, err = number(none, "VmRSS:")
		require.Error(t, err)
	}
}

// Runs of one round are compared with each other.
func TestRatios(t *testing.T) {
	base := &benchCase{runs: []result{{cpu: 10}, {cpu: 20}, {cpu: 10}}}
	c := &benchCase{runs: []result{{cpu: 13}, {cpu: 24}, {cpu: 11}}}
	require.InDeltaSlice(t, []float64{1.1, 1.2, 1.3}, ratios(c, base), 1e-9)
	require.InDelta(t, 1.2, median(ratios(c, base)), 1e-9)
	require.InDelta(t, 1.5, median([]float64{1, 2}), 1e-9)
}

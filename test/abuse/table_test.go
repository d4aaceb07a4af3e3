package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// passing is a result that meets every bar, by as little as can be.
func passing() result {
	return result{
		number: 1, name: "work", before: share{990, 1000}, during: share{990, 1000}, want: bar,
		memory: 115 * mebibyte, limit: 100 * mebibyte, recovered: recoveryBar, back: true, got: "3× 413",
	}
}

func TestBars(t *testing.T) {
	require.Empty(t, passing().broken())
	for _, c := range []struct {
		breaks func(*result)
		says   string
	}{
		{func(r *result) { r.during.good-- }, "98.9 % of 1000 ordinary requests"},
		{func(r *result) { r.during = share{} }, "none sent of 0"},
		{func(r *result) { r.memory++ }, "memory 115 MiB is 1.15 times"},
		{func(r *result) { r.recovered++ }, "recovered 2s after"},
		{func(r *result) { r.back = false }, "not recovered 2s after"},
		{func(r *result) { r.faults = []string{"a visitor is taken for alice"} }, "a visitor is taken for alice"},
		{func(r *result) { r.err = errors.New("no port") }, "not carried through: no port"},
		{func(r *result) { r.slow = true }, "machine too slow: without an attack"},
	} {
		r := passing()
		c.breaks(&r)
		require.Len(t, r.broken(), 1)
		require.Contains(t, r.broken()[0], c.says)
	}
	r := passing()
	r.want, r.during = floodBar, share{900, 1000}
	require.Empty(t, r.broken())
}

func TestTable(t *testing.T) {
	var b strings.Builder
	require.True(t, write(&b, []result{passing()}))
	require.Contains(t, b.String(), "1  work    99.0 %  99.0 % (99 %)  115 / 100 MiB = 1.15")
	require.Contains(t, b.String(), "1 work: 3× 413")
	require.Contains(t, b.String(), "\n1 passed, 0 failed\n")
	require.NotContains(t, b.String(), "wrong")

	b.Reset()
	bad := passing()
	bad.back, bad.recovered = false, 8*time.Second
	require.False(t, write(&b, []result{passing(), bad}))
	require.Contains(t, b.String(), "never")
	require.Contains(t, b.String(), "1 work: not recovered 8s after the attack, 2s wanted")
	require.Contains(t, b.String(), "\n1 passed, 1 failed\n")
}

// An attack is tried again only where nothing but time was missed.
func TestLate(t *testing.T) {
	require.False(t, passing().late(), "passed")
	for _, c := range []struct {
		name   string
		breaks func(*result)
		late   bool
	}{
		{"share", func(r *result) { r.during.good-- }, true},
		{"recovery", func(r *result) { r.recovered++ }, true},
		{"never back", func(r *result) { r.back = false }, true},
		{"a wrong answer among the late", func(r *result) { r.during.good--; r.allLate = false }, false},
		{"nothing asked", func(r *result) { r.during = share{} }, false},
		{"late and memory", func(r *result) { r.during.good--; r.memory++ }, false},
		{"late and a fault", func(r *result) { r.during.good--; r.faults = []string{"a visitor is taken for alice"} }, false},
		{"not carried through", func(r *result) { r.err = errors.New("no port") }, false},
		{"slow machine", func(r *result) { r.slow = true }, false},
	} {
		r := passing()
		r.allLate = true
		c.breaks(&r)
		require.Equal(t, c.late, r.late(), c.name)
	}

	var b strings.Builder
	first := passing()
	first.during.good, first.again = 0, true
	require.True(t, write(&b, []result{first, passing()}))
	require.Contains(t, b.String(), "late: tried again")
	require.Contains(t, b.String(), "1 work: 0.0 % of 1000 ordinary requests")
	require.Contains(t, b.String(), "\n1 passed, 0 failed\n")
}

package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

func TestParse(t *testing.T) {
	c, err := parse([]string{"-run", "kill, partition", "-cuts", "5s,31s", "-seed", "7"}, os.Stderr)
	require.NoError(t, err)
	require.Len(t, c.scenarios, 2)
	require.Equal(t, "partition", c.scenarios[1].name)
	require.Equal(t, []time.Duration{5 * time.Second, 31 * time.Second}, c.cuts)
	require.Equal(t, "go run ./test/chaos -run partition -seed 7 -cuts 5s,31s", c.command(c.scenarios[1], 7))

	c, err = parse(nil, os.Stderr)
	require.NoError(t, err)
	require.Len(t, c.scenarios, len(scenarios))
}

func TestRunTeaches(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, nursery.Passed, "partition"},
		{[]string{"-run", "killl"}, nursery.Usage, "must be of kill, pause"},
		{[]string{"-cuts", "soon"}, nursery.Usage, `-cuts "soon"`},
		{[]string{"-count", "0"}, nursery.Usage, "-count 0: must be 1 to"},
		{[]string{"-nodes", "2"}, nursery.Usage, "-nodes 2"},
		{[]string{"-colour"}, nursery.Usage, "-colour"},
		{[]string{"kill"}, nursery.Usage, "named with -run"},
	} {
		var out, errs strings.Builder
		require.Equal(t, c.code, program.Run(t.Context(), c.args, &out, &errs), "%v", c.args)
		require.Contains(t, errs.String(), c.says, "%v", c.args)
		require.Empty(t, out.String())
	}
}

// Without root a scenario that needs it is skipped, and says so; that is a
// failure only where it was required.
func TestSkipping(t *testing.T) {
	for _, required := range []bool{false, true} {
		c, err := parse([]string{"-run", "partition", "-bin", "/nowhere"}, os.Stderr)
		require.NoError(t, err)
		c.requireRoot = required
		c.checkRoot = func(context.Context, ...string) error { return errNoLab }
		var out, errs strings.Builder
		kept, err := campaign(t.Context(), c, &out, &errs)
		require.NoError(t, err)
		require.Equal(t, !required, kept)
		require.Contains(t, out.String(), "Skipped: network namespaces cannot be made here")
	}
}

// A short round against the real thing: a kill, a pause, and false not-founds
// looked for in a drain.
func TestSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes and takes half a minute")
	}
	var out strings.Builder
	args := []string{"-run", "kill,pause,drain", "-count", "1", "-reads", "2000", "-nodes", "3", "-sessions", "50", "-rate", "100", "-read-rate", "1000", "-base-port", "15000", "-seed", "1"}
	code := program.Run(t.Context(), args, &out, os.Stderr)
	require.Equal(t, nursery.Passed, code, out.String())
	require.Contains(t, out.String(), "| kills | 1, of 3 nodes |")
}

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

func TestParse(t *testing.T) {
	c, err := parse([]string{"-only", "1, 4,flush", "-short"}, &strings.Builder{})
	require.NoError(t, err)
	var got []string
	for _, a := range c.attacks {
		got = append(got, a.name)
	}
	require.Equal(t, []string{"work", "peer", "gossip", "flush"}, got)
	require.Equal(t, 5*time.Second, c.length(peace))

	c, err = parse(nil, &strings.Builder{})
	require.NoError(t, err)
	require.Len(t, c.attacks, len(attacks))
	require.Equal(t, 12*time.Second, c.length(peace))
}

func TestRunTeaches(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, nursery.Passed, "10 flush"},
		{[]string{"-only", "11"}, nursery.Usage, `-only "11": must be numbers from 1 to 10, or names`},
		{[]string{"-base-port", "80"}, nursery.Usage, "-base-port 80: must be 1024 to"},
		{[]string{"-colour"}, nursery.Usage, "-colour"},
		{[]string{"work"}, nursery.Usage, "named with -only"},
	} {
		var out, errs strings.Builder
		require.Equal(t, c.code, program.Run(t.Context(), c.args, &out, &errs), "%v", c.args)
		require.Contains(t, errs.String(), c.says, "%v", c.args)
		require.Empty(t, out.String())
	}
}

func TestEveryItemHasAnAttack(t *testing.T) {
	numbers := make(map[int]bool)
	names := make(map[string]bool)
	for _, a := range attacks {
		numbers[a.number] = true
		require.False(t, names[a.name], "%s twice", a.name)
		names[a.name] = true
		require.NotNil(t, a.run)
		require.NotEmpty(t, a.title)
	}
	require.Len(t, numbers, 10)
	require.Equal(t, floodBar, attacks[2].bar())
	require.Equal(t, bar, attacks[0].bar())
}

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/ownership/explore"
)

func TestExpectedAreKnownPromises(t *testing.T) {
	named := 0
	for line := range strings.Lines(expectedText) {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "#") {
			named++
		}
	}
	require.Len(t, reasons(expectedText), named, "one a line")
	for promise, why := range reasons(expectedText) {
		require.Contains(t, explore.Promises, promise)
		require.NotEmpty(t, why)
	}
}

func TestChoose(t *testing.T) {
	all, err := choose("", "")
	require.NoError(t, err)
	some, err := choose("freeze", "")
	require.NoError(t, err)
	require.Len(t, some, 2, "one for each mode")
	require.Greater(t, len(all), len(some))
	own, err := choose("", "members=4 mode=majority freezes=2")
	require.NoError(t, err)
	require.Len(t, own, 1)
	require.Equal(t, 4, own[0].Config.Members)
	for _, bad := range [][2]string{{"nosuch", ""}, {"", "freezes"}} {
		_, err := choose(bad[0], bad[1])
		require.Error(t, err)
	}
}

func TestReport(t *testing.T) {
	rep := &report{expected: map[string]string{explore.Reads: "so it is"}, broke: make(map[string]int), steps: make(map[string]int)}
	found := func(promise string) explore.Result {
		return explore.Result{Found: []explore.Found{{Violation: explore.Violation{Promise: promise}, Steps: 3}}}
	}
	rep.add(explore.Plan{}, found(explore.Reads))
	require.False(t, rep.bad)
	rep.add(explore.Plan{}, found(explore.OneOwner))
	require.True(t, rep.bad)
	require.Equal(t, map[string]int{explore.Reads: 3, explore.OneOwner: 3}, rep.steps)
}

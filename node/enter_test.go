package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In a cluster whose members have ever new names, those of the dead do not pile up.
func TestDeathsAreForgotten(t *testing.T) {
	t.Parallel()
	m := still(t, "ada").members
	now := m.node.since()
	for _, name := range []string{"pod-1", "pod-2"} {
		m.deaths[name] = []time.Duration{now - flapWindow - time.Second}
	}
	m.deaths["pod-3"] = []time.Duration{now - flapWindow - time.Second, now}
	m.noteDeath("pod-4")
	require.Len(t, m.deaths, 2)
	require.Equal(t, 1, m.deathsOf("pod-3"))
	require.Equal(t, 1, m.deathsOf("pod-4"))
	require.Equal(t, 0, m.deathsOf("pod-1"))
}

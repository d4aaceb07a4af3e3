package membership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// In a cluster whose members have ever new names, those of the dead do not pile
// up.
func TestDeathsAreForgotten(t *testing.T) {
	t.Parallel()
	m, err := New(config("ada"), member.Meta{})
	require.NoError(t, err)
	now := m.cfg.Clock.Since()
	for _, name := range []string{"pod-1", "pod-2"} {
		m.deaths[name] = []time.Duration{now - flapWindow - time.Second}
	}
	m.deaths["pod-3"] = []time.Duration{now - flapWindow - time.Second, now}
	m.noteDeath("pod-4")
	require.Len(t, m.deaths, 2)
	require.Equal(t, 1, m.DeathsOf("pod-3"))
	require.Equal(t, 1, m.DeathsOf("pod-4"))
	require.Equal(t, 0, m.DeathsOf("pod-1"))
}

// What the others have seen of a name's boots keeps its next one off the ring.
func TestNameThatDiesOftenIsHeldOff(t *testing.T) {
	t.Parallel()
	m, err := New(config("ada"), member.Meta{State: member.StateJoining})
	require.NoError(t, err)
	voter, err := New(config("bob"), member.Meta{State: member.StateReady})
	require.NoError(t, err)
	asked, heard := voter.StateSection(), m.StateSection()
	hold := func() time.Duration {
		answer, err := asked.Asked(m.cfg.Self, heard.Ask())
		require.NoError(t, err)
		require.NoError(t, heard.Answered(voter.cfg.Self, 0, answer))
		return m.holdOff()
	}
	for _, want := range []time.Duration{0, 0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		voter.noteDeath("ada")
		require.Equal(t, want, hold())
	}
	require.Equal(t, told{state: member.StateReady}, m.told[voter.cfg.Self])
	require.Equal(t, told{state: member.StateJoining}, voter.told[m.cfg.Self])
	require.NoError(t, heard.Answered(voter.cfg.Self, 0, nil), "an older member says nothing here")
	require.ErrorContains(t, heard.Answered(voter.cfg.Self, 0, []byte{9}), "state 9: 1 to 3 are accepted")
}

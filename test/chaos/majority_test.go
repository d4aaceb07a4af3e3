package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A check that finds nothing must find what is there: acknowledgements by a
// minority, late and next to those of the majority.
func TestSidesOfACut(t *testing.T) {
	at := time.Now()
	after := func(d time.Duration) time.Time { return at.Add(d) }
	cluster := &cluster{}
	for _, name := range []string{"router", "node-1", "node-2", "node-3", "node-4", "node-5"} {
		m := &member{}
		m.Name = name
		cluster.members = append(cluster.members, m)
	}
	s := &contested{}
	for range cluster.members {
		s.ledgers = append(s.ledgers, &ledger{key: "k", ack: "replica"})
	}
	c := newCutPhase(1, [][]int{{1, 2}})
	c.at, c.until = at, after(10*time.Second)
	require.Equal(t, "cut 1, nodes 1 2 / 3 4 5", c.name)
	require.Equal(t, []int{0, 3, 4, 5}, c.majority())
	require.Len(t, c.ways(), 2*2*4)
	require.Nil(t, newCutPhase(2, [][]int{{1, 2}, {3, 4}}).majority())
	require.Len(t, newCutPhase(3, nil).majority(), 6)

	ack := func(session, host int, sent time.Duration) sideAck {
		return sideAck{session, host, after(sent), after(sent + time.Millisecond)}
	}
	for name, k := range map[string]struct {
		acks       []sideAck
		late, both int
	}{
		"by the lease of before":           {acks: []sideAck{ack(0, 1, leaseLasts/2), ack(0, 3, 2*time.Second)}},
		"late":                             {acks: []sideAck{ack(0, 1, leaseLasts+1)}, late: 1},
		"before the cut, and when it ends": {acks: []sideAck{ack(0, 1, -time.Second), ack(0, 1, 10*time.Second)}},
		"next to the majority":             {acks: []sideAck{ack(0, 4, time.Millisecond), ack(0, 2, leaseLasts/2)}, both: 1},
		"next to it, another session":      {acks: []sideAck{ack(1, 4, time.Millisecond), ack(0, 2, leaseLasts/2)}},
	} {
		contest := &contest{bench: &bench{cluster: cluster}, sessions: []*contested{s, s}, acks: k.acks}
		found := contest.sides(c)
		require.Len(t, found.late, k.late, name)
		require.Len(t, found.both, k.both, name)
	}
}

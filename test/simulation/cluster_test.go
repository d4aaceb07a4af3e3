package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
)

func TestStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3})
		c.StartAll(3)
		took, err := c.Agree(10 * time.Second)
		require.NoError(t, err)
		t.Logf("agreed %v after the start", took)
	})
}

// TestClientsAreToldOfTheLiving: a client that asks a survivor for the ring in
// the moment in which a node ends is not sent back to that node, and one that
// asks in quiet times does not wait.
func TestClientsAreToldOfTheLiving(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(h *Host){"killed": (*Host).Kill, "paused": (*Host).Pause} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 3})
				c.StartAll(3)
				_, err := c.Agree(10 * time.Second)
				require.NoError(t, err)
				hosts := c.Running()
				first, _ := hosts[0].Node()
				began := c.Elapsed()
				require.Len(t, inspect.Of(first).Told(t.Context()), 3)
				require.Less(t, c.Elapsed()-began, 100*time.Millisecond)

				ended, _ := hosts[2].Node()
				end(hosts[2])
				require.Len(t, first.View().Table.Members(), 3, "it has noticed already, which this test is not about")
				require.NotContains(t, inspect.Of(first).Told(t.Context()), ended.ID().Name)
				hosts[2].Resume()
			})
		})
	}
}

package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// A node that is restarted while it is cut off reaches nobody, so it answers
// for nothing: what is written on a false "not found" would destroy what the
// others hold.
func TestRestartInCut(t *testing.T) {
	t.Parallel()
	for _, mode := range []node.PartitionMode{node.PartitionAvailable, node.PartitionMajority} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, keys := island(t, Options{Hosts: 3, Mode: mode}, 3, 50)
				lone := c.Hosts[2]
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				require.NoError(t, lone.Restart())
				time.Sleep(2 * time.Second)
				for _, key := range keys {
					_, err := get(t, lone, key)
					require.ErrorIs(t, err, session.ErrUnavailable)
					_, err = put(t, lone, key, 9, false)
					require.ErrorIs(t, err, session.ErrUnavailable)
				}
				c.Heal()
				_, err := c.Agree(time.Minute)
				require.NoError(t, err)
				for _, key := range keys {
					value, err := get(t, lone, key)
					require.NoError(t, err)
					require.Equal(t, "1", value)
				}
			})
		})
	}
}

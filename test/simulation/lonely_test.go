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
	for _, mode := range []node.PartitionMode{node.PartitionAvailable, node.PartitionMajority} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, keys := island(t, Options{Hosts: 3, Mode: mode}, 3, 50)
				lone := c.Hosts[2]
				do := func(op session.Op) (session.Reply, error) {
					n, _ := lone.Node()
					return n.Sessions().Do(t.Context(), &op, session.AckReplica)
				}
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				require.NoError(t, lone.Restart())
				time.Sleep(2 * time.Second)
				for _, key := range keys {
					_, err := do(session.Op{Kind: session.Get, Key: key})
					require.ErrorIs(t, err, session.ErrUnavailable)
					_, err = do(session.Op{Kind: session.Put, Key: key, Fields: fields(9)})
					require.ErrorIs(t, err, session.ErrUnavailable)
				}
				c.Heal()
				_, err := c.Agree(time.Minute)
				require.NoError(t, err)
				for _, key := range keys {
					rep, err := do(session.Op{Kind: session.Get, Key: key})
					require.NoError(t, err)
					value, _ := rep.Record.Value(valueField)
					require.Equal(t, "1", value)
				}
			})
		})
	}
}

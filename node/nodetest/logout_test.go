package nodetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// TestLogoutAskedAgain: who asks again after an answer that no copy had confirmed
// is not told that the logout is done, while it still is at its owner alone.
func TestLogoutAskedAgain(t *testing.T) {
	const key = "{ann}1"
	for name, op := range map[string]session.Op{
		"one session": {Kind: session.Delete, Key: key},
		"all of them": {Kind: session.DeleteAll, Key: "{ann}"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 3})
				c.StartAll(3)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				n, _ := c.Hosts[0].Node()
				for _, h := range c.Hosts {
					other, _ := h.Node()
					if n.View().Table.Owner(ring.Partition(key)) == other.ID().Name {
						n = other
						break
					}
				}
				do := func(op session.Op) (confirmed bool) {
					rep, err := n.Sessions().Do(t.Context(), &op, replication.AckReplica)
					require.NoError(t, err)
					require.Equal(t, n.ID().Name, rep.Node)
					return !rep.Unconfirmed
				}
				do(session.Op{Kind: session.Put, Key: key, Fields: fields(1)})
				c.shape(func(p *Path) { p.Delay = 300 * time.Millisecond })
				require.False(t, do(op), "no copy can have come by then")
				tombstone := n.Inspect().Peek(key)
				require.True(t, tombstone.Dead())
				if do(op) {
					require.True(t, c.copied(n.ID().Name, tombstone), "the logout was confirmed, and no copy has it")
				}
				c.Heal()
				require.True(t, do(op))
				require.True(t, c.copied(n.ID().Name, tombstone))
			})
		})
	}
}

package simulation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// A firewall that cuts a host off may refuse for it what others dial, and break
// their connections. That looks as if the process there had ended, and has to
// be told from it.

// TestRefusingCutMajority cuts a node off so, again and again. The others serve
// soon, and at no time do both sides.
func TestRefusingCutMajority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := majorityOf(t, Options{Hosts: 3}, 3)
		for i, h := range c.Hosts {
			end := c.isolate(h, true)
			other := c.Hosts[(i+1)%3]
			time.Sleep(3 * time.Second)
			servesAll(t, other, i)
			servesNone(t, h)
			time.Sleep(30 * time.Second)
			servesAll(t, other, 10+i)
			servesNone(t, h)
			end()
			_, err := c.Agree(time.Minute)
			require.NoError(t, err)
			servesAll(t, h, 20+i)
			time.Sleep(10 * time.Second) // until it counts again
		}
	})
}

// TestLogoutBehindARefusingCut ends sessions beside a node that is cut off so:
// it may come back with them, so that is not confirmed. Beside one that has
// crashed it is.
func TestLogoutBehindARefusingCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		n := nodeOf(c.Hosts[0])
		do := func(kind session.Kind, key string) session.Reply {
			rep, err := n.Sessions().Do(t.Context(), &session.Op{Kind: kind, Key: key, Fields: fields(1)}, session.AckReplica)
			require.NoError(t, err)
			return rep
		}
		logouts := func(name string) (unconfirmed int) {
			for i := range 20 {
				key := fmt.Sprint(name, i)
				do(session.Put, key)
				if do(session.Delete, key).Unconfirmed {
					unconfirmed++
				}
			}
			return unconfirmed
		}
		require.Zero(t, logouts("alice"))
		end := c.isolate(c.Hosts[2], true)
		time.Sleep(5 * time.Second)
		require.Len(t, n.View().Nodes(), 2)
		require.Equal(t, 20, logouts("bob"))
		end()
		require.NoError(t, c.AwaitSettled(agreeWithin))
		require.Zero(t, logouts("carol"))
		c.Hosts[2].Kill()
		time.Sleep(50 * time.Millisecond)
		require.Len(t, n.View().Nodes(), 2, "a crash is known at once")
		require.Zero(t, logouts("dave"))
	})
}

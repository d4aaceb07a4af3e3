package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMessages: with nothing wrong each message is heard by each subscriber, and
// after the end of the node that one was at by a new subscription of it.
func TestMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, Redis: true, Copies: 2})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		stopped := false
		load := c.Load(LoadOptions{Workers: 1, All: true, Clients: []string{byRedis}})
		defer func() {
			if !stopped {
				load.Stop()
			}
		}()
		time.Sleep(20 * time.Second)
		before := c.History().Tally().Messages
		require.Greater(t, before["due"], 10)
		require.GreaterOrEqual(t, before["heard"], before["due"])
		for _, h := range c.Hosts[:2] {
			h.Kill()
			c.noteReach()
		}
		require.NoError(t, c.Hosts[0].Start())
		c.noteReach()
		time.Sleep(20 * time.Second)
		load.Stop()
		stopped = true
		require.Empty(t, c.History().Broken())
		require.Greater(t, c.History().Tally().Messages["due"], before["due"]+10)
	})
}

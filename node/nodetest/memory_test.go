package nodetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/session"
)

// TestAClusterStaysBelowItsMemory: more sessions than the nodes have room for are
// refused, and so is the growth of those that there are; no node ever holds much
// more than its limit, a copy's or its own, also when one is lost and the others
// would have to take its share. Logouts work all the time, and make room.
func TestAClusterStaysBelowItsMemory(t *testing.T) {
	const limit = 300_000
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, MemoryLimit: limit})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		time.Sleep(5 * time.Second)
		bounded := func() {
			t.Helper()
			for _, h := range c.Running() {
				n, _ := h.Node()
				require.LessOrEqual(t, n.Inspect().Stats().Bytes, int64(limit*23/20), h.Name)
			}
		}
		put := func(i, size int) error {
			n, _ := c.Running()[i%len(c.Running())].Node()
			fields := []session.Field{{Name: "v", Value: strings.Repeat("v", size)}}
			_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: fmt.Sprintf("user-%d", i), Fields: fields}, replication.AckAsync)
			require.True(t, err == nil || errors.Is(err, session.ErrFull), "%v", err)
			return err
		}
		const users = 1500
		var live []int
		for i := range users {
			if put(i, 500) == nil {
				live = append(live, i)
			}
			time.Sleep(2 * time.Millisecond)
			bounded()
		}
		require.Greater(t, len(live), 400, "there is room for 616")
		require.Less(t, len(live), 650)
		refused := 0
		for _, i := range live {
			if put(i, 5000) != nil {
				refused++
			}
			bounded()
		}
		require.Greater(t, refused, len(live)*9/10)
		time.Sleep(10 * time.Second)
		bounded()

		c.Hosts[0].Kill()
		time.Sleep(30 * time.Second)
		bounded()
		for _, i := range live {
			n, _ := c.Running()[0].Node()
			require.True(t, logOut(t, n, fmt.Sprintf("user-%d", i)).Record.Dead())
			bounded()
		}
		require.NoError(t, c.Hosts[0].Start())
		require.NoError(t, c.AwaitSettled(agreeWithin))
		for _, h := range c.Hosts {
			n, _ := h.Node()
			require.Zero(t, n.Inspect().Stats().Sessions, h.Name)
		}
		for _, i := range live[:100] {
			n, _ := c.Hosts[0].Node()
			_, err := n.Sessions().Get(t.Context(), fmt.Sprintf("user-%d", i))
			require.ErrorIs(t, err, session.ErrDeleted)
			require.NoError(t, put(users+i, 500), "there is room again")
		}
	})
}

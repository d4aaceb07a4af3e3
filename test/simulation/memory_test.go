package simulation

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/session"
)

// TestAClusterStaysBelowItsMemory: more sessions than the nodes have room for
// are refused, and so is the growth of those that there are; no node ever
// holds much more than its limit, a copy's or its own, also when one is lost
// and the others would have to take its share. Logouts work all the time, and
// make room.
func TestAClusterStaysBelowItsMemory(t *testing.T) {
	t.Parallel()
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
				require.LessOrEqual(t, inspect.Of(n).Store.Stats().Bytes, int64(limit*23/20), h.Name)
			}
		}
		put := func(i, size int) error {
			n, _ := c.Running()[i%len(c.Running())].Node()
			fields := []session.Field{{Name: "v", Value: strings.Repeat("v", size)}}
			_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: fmt.Sprintf("user-%d", i), Fields: fields}, session.AckAsync)
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

		for _, h := range c.Hosts {
			n, _ := h.Node()
			require.Positive(t, inspect.Of(n).Census.MemoryShort(), "two nodes have no room for all of it, which is said before one is lost")
		}
		c.Hosts[0].Kill()
		time.Sleep(30 * time.Second)
		bounded()
		due := 0
		for _, h := range c.Running() {
			n, _ := h.Node()
			due += inspect.Of(n).Repairer.CopiesDue()
		}
		require.Positive(t, due, "and these copies are due")
		for _, i := range live {
			n, _ := c.Running()[0].Node()
			require.True(t, logOut(t, n, fmt.Sprintf("user-%d", i)).Record.Dead())
			bounded()
		}
		require.NoError(t, c.Hosts[0].Start())
		require.NoError(t, c.AwaitSettled(agreeWithin))
		for _, h := range c.Hosts {
			n, _ := h.Node()
			require.Zero(t, inspect.Of(n).Store.Stats().Sessions, h.Name)
		}
		for _, i := range live[:100] {
			n, _ := c.Hosts[0].Node()
			_, err := n.Sessions().Get(t.Context(), fmt.Sprintf("user-%d", i))
			require.ErrorIs(t, err, session.ErrDeleted)
			require.NoError(t, put(users+i, 500), "there is room again")
		}
	})
}

// TestTombstonesBeyondTheirRoom: when there are more logouts than tombstones
// have room for, the copies become equal all the same and stay so, those that
// were last stick, and nobody is kept from logging in.
func TestTombstonesBeyondTheirRoom(t *testing.T) {
	t.Parallel()
	const limit = 70_000
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, MemoryLimit: limit})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		const users = 2000
		for i := range users {
			n, _ := c.Hosts[i%3].Node()
			key := fmt.Sprintf("user-%d", i)
			_, err := n.Sessions().Put(t.Context(), key, fields(1), 0)
			require.NoError(t, err)
			require.True(t, logOut(t, n, key).Record.Dead())
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		_, err := c.Agree(agreeWithin)
		require.NoError(t, err)
		mended := func() (count int64) {
			for _, h := range c.Hosts {
				n, _ := h.Node()
				s := inspect.Of(n).Store.Stats()
				require.LessOrEqual(t, s.Bytes, int64(limit*23/20))
				require.Positive(t, s.Compacted)
				count += inspect.Of(n).Counters()["repair_mended"]
			}
			return count
		}
		before := mended()
		time.Sleep(30 * time.Second)
		require.Equal(t, before, mended(), "the copies stay equal")
		for i := range 100 {
			n, _ := c.Hosts[i%3].Node()
			key := fmt.Sprintf("user-%d", users-1-i)
			_, err := n.Sessions().Get(t.Context(), key)
			require.ErrorIs(t, err, session.ErrDeleted, key)
			_, err = n.Sessions().Put(t.Context(), fmt.Sprint("new-", i), fields(1), 0)
			require.NoError(t, err)
		}
	})
}

package simulation

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ends returns both ends of a connection between two hosts.
func ends(t *testing.T) (near *conn, far net.Conn) {
	t.Helper()
	n := NewNetwork(rand.New(rand.NewPCG(1, 1)))
	a, b := n.Boot(netip.MustParseAddr("10.0.0.1")), n.Boot(netip.MustParseAddr("10.0.0.2"))
	l, err := b.Listen(t.Context(), "10.0.0.2:1")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	dialled, err := a.Dial(t.Context(), "10.0.0.2:1")
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	return dialled.(*conn), far
}

// TestClosedPastItsDeadline: a connection that was closed says so, also when its
// deadline is over, as the kernel's do. Who waits on it would ask for ever.
func TestClosedPastItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := ends(t)
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Second)))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.Close())
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = c.Write(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// TestGone: a connection is gone when the news that the other end has closed it
// has arrived, and not because nothing comes or something was not read yet.
func TestGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := ends(t)
		require.False(t, near.Gone())
		_, err := far.Write([]byte("x"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.False(t, near.Gone(), "something has come")
		_, err = near.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		time.Sleep(time.Second)
		require.True(t, near.Gone())
	})
}

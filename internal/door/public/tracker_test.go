package public

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Connections to a member that is gone break, and no more are made to it. Those
// to others stay.
func TestTrackerBreaksConnectionsToTheLost(t *testing.T) {
	t.Parallel()
	ada, bob, cyd := up("ada"), up("bob"), up("cyd")
	view := viewOf(t, ada, bob, cyd)
	var far []net.Conn
	opened := func() {}
	tracker := newTracker(func(context.Context, string) (net.Conn, error) {
		near, there := net.Pipe()
		far = append(far, there)
		opened()
		return near, nil
	}, func() *member.View { return view })
	dial := func(m *member.Member) net.Conn {
		conn, err := tracker.dial(t.Context(), m.HTTP)
		require.NoError(t, err)
		require.NotNil(t, conn.(interface{ NetConn() net.Conn }).NetConn())
		return conn
	}
	broken := func(i int) bool {
		err := far[i].SetReadDeadline(time.Time{})
		return errors.Is(err, io.ErrClosedPipe)
	}
	_ = dial(bob)
	kept := dial(cyd)
	closed := dial(bob)
	require.NoError(t, closed.Close())

	gone := *bob
	gone.Up, gone.Gone = false, true
	view = viewOf(t, ada, &gone, cyd)
	tracker.setView(view)
	require.True(t, broken(0))
	require.False(t, broken(1))
	_, err := tracker.dial(t.Context(), bob.HTTP)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Len(t, far, 3, "not even tried")
	require.NoError(t, kept.Close())
	require.Empty(t, tracker.conns)

	view = viewOf(t, ada, bob, cyd)
	opened = func() { view = viewOf(t, ada, &gone, cyd) }
	_, err = tracker.dial(t.Context(), bob.HTTP)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "it was found dead in the middle of the dial")
	require.True(t, broken(3))
	require.Empty(t, tracker.conns)
}

// What the network says of a dial that fails is passed on.
func TestTrackerPassesErrorsOn(t *testing.T) {
	t.Parallel()
	view := viewOf(t, up("ada"))
	tracker := newTracker(func(context.Context, string) (net.Conn, error) { return nil, syscall.EHOSTUNREACH }, func() *member.View { return view })
	_, err := tracker.dial(t.Context(), "bob:80")
	require.ErrorIs(t, err, syscall.EHOSTUNREACH)
}

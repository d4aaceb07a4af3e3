package network

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Both ends of a connection between members are given up by the system when
// what they sent is not acknowledged.
func TestConnectionsBetweenMembersFindTheirDeadEnds(t *testing.T) {
	t.Parallel()
	inner, err := Host{}.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	l := Listener{inner}
	defer l.Close()
	there := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			there <- c
		}
		close(there)
	}()
	here, err := DialFrom(t.Context(), Host{}, "127.0.0.1:0", l.Addr().String())
	require.NoError(t, err)
	defer here.Close()
	far := <-there
	require.NotNil(t, far)
	defer far.Close()
	for _, c := range []net.Conn{here, far} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		var ms, alive int
		require.NoError(t, raw.Control(func(fd uintptr) {
			if ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err == nil {
				alive, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
			}
		}))
		require.NoError(t, err)
		require.EqualValues(t, userTimeout.Milliseconds(), ms)
		require.Equal(t, 1, alive)
	}
}

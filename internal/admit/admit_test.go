package admit

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// queue is a listener of connections that the test has made.
type queue chan net.Conn

func (q queue) Accept() (net.Conn, error) {
	c, ok := <-q
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (q queue) Close() error   { close(q); return nil }
func (q queue) Addr() net.Addr { return nil }

// from is a connection that comes from an address.
type from struct {
	net.Conn
	remote net.Addr
	closed *int
}

func (c from) RemoteAddr() net.Addr { return c.remote }
func (c from) Close() error         { *c.closed++; return nil }

func TestGate(t *testing.T) {
	type refusal struct {
		from string
		full bool
	}
	var refused []refusal
	g := New(5, 2, func(a netip.Addr, full bool) { refused = append(refused, refusal{a.String(), full}) })
	q := make(queue, 16)
	l := g.Listener(q)
	closed := 0
	connect := func(address string) {
		c := from{closed: &closed, remote: &net.UnixAddr{Net: "unix"}}
		if address != "" {
			c.remote = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
		}
		q <- c
	}
	accept := func(want string) net.Conn {
		t.Helper()
		c, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, want, c.RemoteAddr().String())
		return c
	}

	connect("10.0.0.1:1")
	connect("[::ffff:10.0.0.1]:2") // the same
	connect("10.0.0.1:3")
	connect("10.0.0.2:1")
	first := accept("10.0.0.1:1")
	accept("10.0.0.1:2")
	accept("10.0.0.2:1")
	require.Equal(t, []refusal{{"10.0.0.1", false}}, refused, "one address has its share")
	require.Equal(t, 1, closed)
	require.Equal(t, 3, g.Open())

	connect("[2001:db8::1]:1")
	connect("[2001:db8::2]:1")
	connect("10.0.0.3:1")
	accept("[2001:db8::1]:1")
	accept("[2001:db8::2]:1")
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "twice is as once")
	require.Equal(t, 4, g.Open())
	connect("[2001:db8::3]:1") // of one network
	accept("10.0.0.3:1")
	connect("")
	connect("10.0.0.4:1")
	require.NoError(t, l.Close())
	_, err := l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.Equal(t, []refusal{{"10.0.0.1", false}, {"2001:db8::", true}, {"invalid IP", true}, {"10.0.0.4", true}}, refused, "and five are full, a Unix socket's counted")
	full, greedy := g.Refused()
	require.EqualValues(t, 3, full)
	require.EqualValues(t, 1, greedy)
}

func TestGateForgets(t *testing.T) {
	g := New(10, 2, func(netip.Addr, bool) { t.Fatal("refused") })
	q := make(queue, 1)
	l := g.Listener(q)
	closed := 0
	for i := range 1000 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		q <- from{closed: &closed, remote: net.TCPAddrFromAddrPort(addr)}
		c, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	require.Zero(t, g.Open())
	require.Empty(t, g.from)
}

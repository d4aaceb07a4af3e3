package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network makes every connection of a member. It is the one place where
// encryption of links and listeners belongs, and where tests put a network of
// their own with delays, cuts and losses.
type Network interface {
	// Listen opens a TCP address.
	Listen(ctx context.Context, address string) (net.Listener, error)
	// Dial connects to a TCP address. An error that [Refused] recognises means
	// that the host answered and no process listens there.
	Dial(ctx context.Context, address string) (net.Conn, error)
	// Gossip opens the transport of membership; nil is memberlist's own.
	Gossip(address string) (memberlist.Transport, error)
}

type hostNetwork struct{}

func (hostNetwork) Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

func (hostNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return d.DialContext(ctx, "tcp", address)
}

func (hostNetwork) Gossip(string) (memberlist.Transport, error) { return nil, nil }

// listen opens the address of a flag, so that the error names the flag.
func listen(ctx context.Context, n Network, field, address string) (net.Listener, error) {
	l, err := n.Listen(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("-%s %s: cannot listen there: %w; give an address that is free", field, address, err)
	}
	return l, nil
}

// advertised returns the address that others should dial to reach a listener:
// its own, with the host replaced where it is a wildcard.
func advertised(bound net.Addr, advertise string) string {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return bound.String()
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return net.JoinHostPort(host, port)
	}
	return net.JoinHostPort(advertise, port)
}

// counted counts the bytes of a peer connection.
func (n *Node) counted(c net.Conn) net.Conn { return countedConn{c, &n.stats} }

type countedConn struct {
	net.Conn
	stats *counters
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.stats.peerIn.Add(int64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.stats.peerOut.Add(int64(n))
	return n, err
}

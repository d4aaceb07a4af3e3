// Package network makes the connections of a member, and knows by which
// addresses others reach it.
package network

import (
	"context"
	"net"
	"net/netip"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Network makes every connection of a member. It is the one place where
// encryption of links and listeners belongs, and where tests put a network of
// their own with delays, cuts and losses.
type Network interface {
	// Listen opens a TCP address.
	Listen(ctx context.Context, address string) (net.Listener, error)
	// Dial connects to a TCP address. An error that package mesh recognises
	// means that the host answered and no process listens there.
	Dial(ctx context.Context, address string) (net.Conn, error)
	// Gossip opens the transport of membership; nil is memberlist's own.
	Gossip(address string) (memberlist.Transport, error)
}

// Host is the network of the machine.
type Host struct{}

// Listen implements Network.
func (Host) Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

// Dial implements Network.
func (Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	if source, ok := ctx.Value(sourceKey{}).(netip.Addr); ok {
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
	}
	return d.DialContext(ctx, "tcp", address)
}

type sourceKey struct{}

// WithSource lets the host's network dial from one of its addresses. A host on
// which members have an address each would choose another one.
func WithSource(ctx context.Context, source netip.Addr) context.Context {
	return context.WithValue(ctx, sourceKey{}, source)
}

// Gossip implements Network.
func (Host) Gossip(string) (memberlist.Transport, error) { return nil, nil }

// DialFrom connects to a peer port, from the address that others know this
// member by, own, where that can reach it.
func DialFrom(ctx context.Context, n Network, own, address string) (net.Conn, error) {
	from, to := member.IPOf(own), member.IPOf(address)
	if from.IsValid() && !from.IsUnspecified() && from.Is4() == to.Is4() && from.IsLoopback() == to.IsLoopback() {
		ctx = WithSource(ctx, from)
	}
	c, err := n.Dial(ctx, address)
	if err == nil {
		FindDead(c)
	}
	return c, err
}

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
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
	if source, ok := ctx.Value(sourceKey{}).(netip.Addr); ok {
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
	}
	return d.DialContext(ctx, "tcp", address)
}

type sourceKey struct{}

// withSource lets the host's network dial from one of its addresses. A host on
// which members have an address each would choose another one.
func withSource(ctx context.Context, source netip.Addr) context.Context {
	return context.WithValue(ctx, sourceKey{}, source)
}

func (hostNetwork) Gossip(string) (memberlist.Transport, error) { return nil, nil }

// listen opens the address of a field, so that the error names the field.
func listen(ctx context.Context, n Network, field, address string) (net.Listener, error) {
	l, err := n.Listen(ctx, address)
	if err != nil {
		return nil, cannotListen("tcp", field, address, err)
	}
	return l, nil
}

// cannotListen says what to do about an address, or the path of a Unix socket,
// that the named field has asked for and that could not be opened.
func cannotListen(network, field, address string, err error) error {
	// memberlist passes errors on as text.
	is := func(cause syscall.Errno) bool {
		return errors.Is(err, cause) || strings.HasSuffix(err.Error(), cause.Error())
	}
	hint := "give an address that is free"
	switch {
	case network == "unix" && is(syscall.EACCES):
		hint = "give a path in a directory that this process may write to"
	case network == "unix" && is(syscall.ENOENT):
		hint = "give a path in a directory that exists"
	case network == "unix" && is(syscall.EINVAL):
		hint = "give a path of 107 bytes at most"
	case network == "unix":
		hint = "give a path that is free"
	case is(syscall.EACCES):
		hint = "ports below 1024 need the capability CAP_NET_BIND_SERVICE"
	case is(syscall.EADDRNOTAVAIL):
		hint = "give an address of this host"
	}
	return &FieldError{Field: field, Value: address, Reason: fmt.Sprintf("cannot listen there: %v; %s", err, hint), Err: err}
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

// Refused says whether a dial failed because the host answered that no process
// listens there: the sign that a member is gone, not merely silent.
func Refused(err error) bool { return mesh.Refused(err) }

// dialPeer connects to a peer port, from the address that others know this
// member by.
func (n *Node) dialPeer(ctx context.Context, address string) (net.Conn, error) {
	own := member.IPOf(n.cfg.Peer)
	if n.cfg.Role == RoleRouter {
		own = member.IPOf(n.cfg.Gossip)
	}
	to := member.IPOf(address)
	if own.IsValid() && !own.IsUnspecified() && own.Is4() == to.Is4() && own.IsLoopback() == to.IsLoopback() {
		ctx = withSource(ctx, own)
	}
	return n.cfg.Network.Dial(ctx, address)
}

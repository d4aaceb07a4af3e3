package network

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// Hint says what to do about an address, or the path of a Unix socket where
// network is "unix", that could not be opened.
func Hint(network string, err error) string {
	// memberlist passes errors on as text.
	is := func(cause syscall.Errno) bool {
		return errors.Is(err, cause) || strings.HasSuffix(err.Error(), cause.Error())
	}
	switch {
	case network == "unix" && is(syscall.EACCES):
		return "give a path in a directory that this process may write to"
	case network == "unix" && is(syscall.ENOENT):
		return "give a path in a directory that exists"
	case network == "unix" && is(syscall.EINVAL):
		return "give a path of 107 bytes at most"
	case network == "unix":
		return "give a path that is free"
	case is(syscall.EACCES):
		return "ports below 1024 need the capability CAP_NET_BIND_SERVICE"
	case is(syscall.EADDRNOTAVAIL):
		return "give an address of this host"
	default:
		return "give an address that is free"
	}
}

// Advertised returns the address that others should dial to reach a listener:
// its own, with the host replaced where it is a wildcard.
func Advertised(bound net.Addr, advertise string) string {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return bound.String()
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return net.JoinHostPort(host, port)
	}
	return net.JoinHostPort(advertise, port)
}

// Advertise finds the host that others can reach this member at where it
// listens on a wildcard: the one at which it listens for the other members, if
// that is told, for of several networks this is the one that they are on.
func Advertise(between ...string) (string, error) {
	for _, address := range between {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			continue
		}
		// Only addresses, as gossip takes no name; and none that means
		// something on this host alone.
		ip, err := netip.ParseAddr(host)
		if err == nil && ip.Zone() == "" && !ip.IsUnspecified() && !ip.Unmap().IsLoopback() {
			return ip.Unmap().String(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	return firstReachable(addrs), nil
}

// firstReachable returns the first private IPv4 address; without one the first
// other IPv4 address, and then the first IPv6 address.
func firstReachable(addrs []net.Addr) string {
	var private, v4, v6 []string
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := prefix.Addr(); {
		case ip.IsLoopback(), ip.IsLinkLocalUnicast():
		case ip.IsPrivate() && ip.Is4():
			private = append(private, ip.String())
		case ip.Is4():
			v4 = append(v4, ip.String())
		default:
			v6 = append(v6, ip.String())
		}
	}
	return slices.Concat(private, v4, v6, []string{"127.0.0.1"})[0]
}

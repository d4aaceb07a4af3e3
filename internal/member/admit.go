package member

import (
	"net"
	"net/netip"
)

// Refusal is why a connection to the peer port is turned away; "" is for none.
type Refusal string

// What gossip says against a boot that wants to connect.
const (
	Stranger     Refusal = "stranger" // no such boot is known
	OtherAddress Refusal = "address"  // a member's name and boot, from elsewhere
	Ended        Refusal = "ended"    // its process has ended, or said good-bye
)

func (r Refusal) Error() string { return "refused at the peer port: " + string(r) }

// IPOf is the address in a host:port, invalid where the host is a name.
func IPOf(address string) netip.Addr {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

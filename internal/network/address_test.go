package network

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where there are several networks, others are told of the one that -peer or
// -gossip is on.
func TestAdvertise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		between []string
		want    string
	}{
		{[]string{"198.51.100.1:0", "198.51.100.2:0"}, "198.51.100.1"},
		{[]string{"0.0.0.0:0", "198.51.100.2:0"}, "198.51.100.2"},
		{[]string{":0", "[2001:db8::2]:0"}, "2001:db8::2"},
		{[]string{"127.0.0.1:0", "[::ffff:198.51.100.2]:0"}, "198.51.100.2"},
		{[]string{"198.51.100.2:0"}, "198.51.100.2"},
	} {
		got, err := Advertise(c.between...)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%+v", c)
	}
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, none := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0", ":0", "localhost:0", "example.org:0", "[fe80::1%eth0]:0"} {
		got, err := Advertise(none, none)
		require.NoError(t, err)
		require.Equal(t, firstReachable(addrs), got, none)
	}
}

func TestFirstReachable(t *testing.T) {
	t.Parallel()
	host := []string{"127.0.0.1/8", "::1/128", "169.254.1.1/16", "fe80::1/64"}
	for want, addrs := range map[string][]string{
		"10.0.0.1":     {"2001:db8::1/64", "198.51.100.1/24", "10.0.0.1/8", "192.168.0.1/16"},
		"198.51.100.1": {"2001:db8::1/64", "fd00::1/8", "198.51.100.1/24", "198.51.100.2/24"},
		"2001:db8::1":  {"2001:db8::1/64", "2001:db8::2/64"},
		"127.0.0.1":    nil,
	} {
		var list []net.Addr
		for _, s := range append(host, addrs...) {
			ip, network, err := net.ParseCIDR(s)
			require.NoError(t, err)
			list = append(list, &net.IPNet{IP: ip, Mask: network.Mask})
		}
		require.Equal(t, want, firstReachable(list))
	}
}

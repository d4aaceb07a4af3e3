package main

import (
	"math"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "65536": 65536, "1B": 1, "512KiB": 512 << 10, "1MiB": 1 << 20, "4GiB": 4 << 30, "1TiB": 1 << 40,
		"1kB": 1000, "1KB": 1000, "2MB": 2e6, "3GB": 3e9, "1TB": 1e12, "1 MiB": 1 << 20,
		"9223372036854775807": math.MaxInt64, "8388607TiB": 8388607 << 40,
	} {
		var n size
		require.NoError(t, n.UnmarshalText([]byte(text)), text)
		require.EqualValues(t, want, n, text)
	}
	for _, text := range []string{"", "0", "-1", "1.5MiB", "MiB", "1mib", "1M", "1MiBB", "8388608TiB", "9223372036854775808", "0x10"} {
		var n size
		require.Error(t, n.UnmarshalText([]byte(text)), text)
		require.Zero(t, n, "a refused value changes nothing")
	}
}

func TestPrefixes(t *testing.T) {
	var l prefixes
	require.NoError(t, l.UnmarshalText([]byte("10.1.2.3/8, 192.168.1.7,::1,fd00::/8")))
	require.Equal(t, prefixes{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.1.7/32"),
		netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fd00::/8"),
	}, l)
	for _, text := range []string{"", "10.0.0.0/33", "10.0.0.1-10.0.0.9", "localhost", "10.0.0.0/8,none"} {
		var l prefixes
		require.Error(t, l.UnmarshalText([]byte(text)), text)
	}
}

func TestHostPorts(t *testing.T) {
	var l hostPorts
	require.NoError(t, l.UnmarshalText([]byte("a:1, [::1]:2,,")))
	require.NoError(t, l.UnmarshalText([]byte("c.example:3")))
	require.NoError(t, l.UnmarshalText(nil))
	require.Equal(t, hostPorts{"a:1", "[::1]:2", "c.example:3"}, l)
	for _, text := range []string{"a", "a:", ":x", "a:-1", "a:65536", "::1:2", "a b:1", "a/b:1", "a\n:1"} {
		require.Error(t, l.UnmarshalText([]byte(text)), text)
		var a hostPort
		require.Error(t, a.UnmarshalText([]byte(text)), text)
	}
}

func TestAdminURLs(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:8081":          "http://127.0.0.1:8081",
		"http://127.0.0.1:8081/":  "http://127.0.0.1:8081",
		"https://node-1.internal": "https://node-1.internal",
		"localhost:8081":          "http://localhost:8081",
	} {
		var a adminURL
		require.NoError(t, a.UnmarshalText([]byte(text)), text)
		require.EqualValues(t, want, a)
	}
	for _, text := range []string{"", "ftp://a", "http://", "http://a/admin/ring", "http://a?x=1", "http://a b"} {
		var a adminURL
		require.Error(t, a.UnmarshalText([]byte(text)), text)
	}
}

// No value, whatever it is, may crash a parser, and what is taken is in range.
func TestValuesAreTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.OneOf(rapid.String(), rapid.StringMatching(`-?[0-9]{1,25}([.:/,][0-9a-z]{0,4}){0,3}[a-zA-Z]{0,3}`)).Draw(t, "text"))
		var copies copyCount
		if copies.UnmarshalText(text) == nil && (copies < 1 || copies > 16) {
			t.Fatalf("copies %d from %q", copies, text)
		}
		var bytes size
		if bytes.UnmarshalText(text) == nil && bytes < 1 {
			t.Fatalf("size %d from %q", bytes, text)
		}
		var d duration
		if d.UnmarshalText(text) == nil && d <= 0 {
			t.Fatalf("duration %d from %q", d, text)
		}
		var load loadBound
		if load.UnmarshalText(text) == nil && !(load > 1 && load <= 100) {
			t.Fatalf("load %v from %q", load, text)
		}
		var list prefixes
		_ = list.UnmarshalText(text)
		var admin adminURL
		_ = admin.UnmarshalText(text)
		var hosts hostPorts
		_ = hosts.UnmarshalText(text)
	})
}

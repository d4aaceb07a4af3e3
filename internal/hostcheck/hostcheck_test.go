package hostcheck

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHosts(t *testing.T) {
	g := New("http-host", "", ":8080", "0.0.0.0:8080", "node-a.internal:8080", "Shop.example", "node-a", "localhost", "[::]:80")
	for _, host := range []string{
		"localhost", "localhost:8080", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:8080", "127.9.9.9", "10.1.2.3:80", "[::1]", "[::1]:8080", "[fe80::1%25eth0]:80",
		"node-a.internal", "NODE-A.internal:80", "shop.example:443", "shop.example.", "node-a",
	} {
		require.Nil(t, g.Check(Request{Method: "PUT", Host: host}), host)
	}
	refused := []string{
		"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost.example", "", ":8080", ".", "[]",
		"x", "a.shop.example", "127.0.0.1@evil.example", "node-a.internal.evil.example:8080", "[::1", "::1]",
	}
	for _, host := range refused {
		for _, method := range []string{"GET", "PUT"} {
			r := g.Check(Request{Method: method, Host: host})
			require.NotNil(t, r, host)
			require.Equal(t, "host-not-allowed", r.Slug)
			require.Contains(t, r.Detail, "accepted are localhost, node-a, node-a.internal, shop.example, IP addresses, and the names of -http-host")
		}
		require.Nil(t, g.Check(Request{Method: "PUT", Host: host, Socket: true}), "on a Unix socket %q says nothing", host)
	}
	hosts, sites := g.Refused()
	require.EqualValues(t, 2*len(refused), hosts)
	require.Zero(t, sites)
}

func TestSites(t *testing.T) {
	g := New("http-host", "shop.example")
	const here = "shop.example:8080"
	for _, r := range []Request{
		{}, {Site: "none"}, {Site: "same-origin"}, {Site: "same-origin", Origin: "http://" + here}, {Origin: "http://" + here}, {Origin: "https://" + here},
	} {
		for _, r.Method = range []string{"GET", "POST", "DELETE"} {
			r.Host, r.Strict = here, true
			require.Nil(t, g.Check(r), "%+v", r)
		}
	}
	from := []Request{
		{Site: "cross-site"}, {Site: "same-site"}, {Site: "cross-site", Origin: "null"}, {Origin: "null"}, {Origin: "https://evil.example"},
		{Origin: "http://shop.example:3000"}, {Site: "anything new"},
	}
	for _, r := range from {
		r.Host = here
		for _, r.Socket = range []bool{false, true} {
			r.Method, r.Strict = "POST", false
			refusal := g.Check(r)
			require.NotNil(t, refusal, "%+v", r)
			require.Equal(t, "cross-site", refusal.Slug)
			require.Contains(t, refusal.Detail, "accepted are")
			r.Method = "GET"
			require.Nil(t, g.Check(r), "it changes nothing: %+v", r)
			r.Strict = true
			require.NotNil(t, g.Check(r), "%+v", r)
		}
	}
	hosts, sites := g.Refused()
	require.Zero(t, hosts)
	require.EqualValues(t, 4*len(from), sites)
}

// What every request of a program pays.
func BenchmarkCheck(b *testing.B) {
	g := New("http-host", "shop.example", "node-a")
	b.ReportAllocs()
	for b.Loop() {
		g.Check(Request{Method: "PUT", Host: "127.0.0.1:8080"})
	}
}

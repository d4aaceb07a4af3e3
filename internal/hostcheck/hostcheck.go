// Package hostcheck keeps pages of strange web sites away from a listener that
// a browser can reach, on loopback above all.
//
// One request in it: its Host must be one of the names that the listener goes
// by. A page whose own name was made to resolve to the listener's address (DNS
// rebinding) says that name here, and counts as same-origin for its browser. An
// IP address cannot be rebound: a page that names it has come from it. Then the
// request must not come from a page of another site, as net/http's
// CrossOriginProtection finds out. Programs say nothing of a site, and pass.
package hostcheck

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// Guard knows the names of one listener. It may be used from many goroutines.
type Guard struct {
	flag  string
	names []string // lower case, sorted
	cross http.CrossOriginProtection

	hosts, sites atomic.Int64
}

// New returns a Guard that accepts localhost, IP addresses, and names, each a
// host or host:port; empty ones and wildcards name nothing. flag is the flag by
// which the operator adds names.
func New(flag string, names ...string) *Guard {
	g := &Guard{flag: flag, names: []string{"localhost"}}
	for _, name := range names {
		if name = hostOf(name); name != "" && !isIP(name) {
			g.names = append(g.names, name)
		}
	}
	slices.Sort(g.names[1:])
	g.names = slices.Compact(g.names)
	return g
}

// Request is what there is to know of a request.
type Request struct {
	Method, Host string
	// Site and Origin are the header fields Sec-Fetch-Site and Origin, by which
	// a browser says whose page has sent the request; "" if they are not there.
	Site, Origin string
	// Socket says that it came over a Unix socket, which no browser can reach,
	// so that the Host says nothing.
	Socket bool
	// Strict says that also a method that changes nothing is refused from
	// pages of other sites, because what it asks for is dear.
	Strict bool
}

// Of returns what there is to know of a request that an http.Server has read.
func Of(r *http.Request) Request {
	_, err := netip.ParseAddrPort(r.RemoteAddr)
	return Request{
		Method: r.Method, Host: r.Host, Site: r.Header.Get("Sec-Fetch-Site"), Origin: r.Header.Get("Origin"),
		Socket: err != nil, // a peer without an address
	}
}

// Refusal is why a request is not answered, as a problem document has it, with
// the status 403.
type Refusal struct{ Slug, Title, Detail string }

// Check returns nil for a request that may be answered, and counts others.
func (g *Guard) Check(r Request) *Refusal {
	if !r.Socket && !g.accepts(r.Host) {
		g.hosts.Add(1)
		return &Refusal{"host-not-allowed", "The host is not allowed",
			fmt.Sprintf("Host %.128q: accepted are %s, IP addresses, and the names of -%s", r.Host, strings.Join(g.names, ", "), g.flag)}
	}
	if r.Site == "" && r.Origin == "" {
		return nil
	}
	if r.Strict {
		r.Method = http.MethodPost
	}
	header := make(http.Header, 2)
	for name, value := range map[string]string{"Sec-Fetch-Site": r.Site, "Origin": r.Origin} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if err := g.cross.Check(&http.Request{Method: r.Method, Host: r.Host, Header: header, URL: new(url.URL)}); err != nil {
		g.sites.Add(1)
		return &Refusal{"cross-site", "The request comes from another site",
			fmt.Sprintf("Sec-Fetch-Site %.32q, Origin %.128q: accepted are requests of programs, and of pages of http://%.128s itself", r.Site, r.Origin, r.Host)}
	}
	return nil
}

// Refused counts the requests refused for their Host, and for their site.
func (g *Guard) Refused() (hosts, sites int64) { return g.hosts.Load(), g.sites.Load() }

func (g *Guard) accepts(host string) bool {
	host = hostOf(host)
	return host != "" && (isIP(host) || slices.Contains(g.names, host))
}

// hostOf is a Host, or an address, without its port, in the one spelling in
// which names are compared.
func hostOf(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

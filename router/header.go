package router

import (
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
)

// The headers by which members speak to each other about a request. Of those only Ack is a client's to set.
const (
	headerPrefix   = "Holdfast-"
	headerAck      = "Holdfast-Ack"      // how many copies a write waits for
	headerFailover = "Holdfast-Failover" // owner/boot that could not be dialled, so that this member should take over
	headerFence    = "Holdfast-Fence"    // until when, and of which owner, the request may be carried out
	headerHop      = "Holdfast-Hop"      // how often the request was passed on
	headerKey      = "Holdfast-Key"      // the user of an application request
	headerRetry    = "Holdfast-Retry"    // in a 503: not carried out here, and another member may
)

// maxHops is how often a request is passed on at most: router to node, and node to node when their rings differ for a moment.
const maxHops = 2

// hopsOf reads how often the request was passed on already. Whatever is no count, a member did not write; it is taken for the limit,
// since a loop is worse than a refused forgery.
func hopsOf(h http.Header) int {
	switch h.Get(headerHop) {
	case "", "0":
		return 0
	case "1":
		return 1
	}
	return maxHops
}

// rewrite makes the request's headers right for a member. ReverseProxy has already taken out the hop-by-hop headers (RFC 9110,
// section 7.6.1), those that Connection names, and all Forwarded and X-Forwarded ones.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	finder := x.rt.cfg.Finder
	peer := peerOf(in)
	trusted := finder.trusts(peer)

	out.URL.Scheme = "http"
	out.URL.RawPath = x.path
	out.URL.RawQuery = in.URL.RawQuery // as it came: the member judges it, and nothing here depends on it
	for name := range out.Header {
		if strings.HasPrefix(name, headerPrefix) && name != headerAck {
			delete(out.Header, name)
		}
	}
	if !trusted {
		delete(out.Header, finder.header)
	}
	if x.place.call != callApp {
		// To the transport these mean that any request may be repeated, which is for repeatable alone to say; the members do not read them.
		delete(out.Header, "Idempotency-Key")
		delete(out.Header, "X-Idempotency-Key")
	}
	setForwarded(in, out, peer, trusted)
	out.Header[headerHop] = []string{strconv.Itoa(x.hops + 1)}
	if x.place.call == callApp {
		out.Header[headerKey] = []string{x.user}
	}
	if x.cookie != nil {
		addCookie(out.Header, x.cookie)
	}
	if !isWebSocket(out.Header) {
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	x.attach(in, out)
}

// setForwarded tells the member who the client is. What a trusted peer says about the client before it is kept, and the peer added to it.
func setForwarded(in, out *http.Request, peer netip.Addr, trusted bool) {
	client := "unknown" // as RFC 7239, section 6.2, calls a peer without an address
	if peer.IsValid() {
		client = peer.String()
	}
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	host := in.Host
	if trusted {
		if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
			client = strings.Join(prior, ", ") + ", " + client
		}
		if prior := in.Header.Get("X-Forwarded-Proto"); prior != "" {
			proto = prior
		}
		if prior := in.Header.Get("X-Forwarded-Host"); prior != "" {
			host = prior
		}
	}
	out.Header["X-Forwarded-For"] = []string{client}
	out.Header["X-Forwarded-Proto"] = []string{proto}
	out.Header["X-Forwarded-Host"] = []string{host}
}

// addCookie lets the request carry the cookie which its answer will set. A member whose ring differs then finds the same user in it
// and does not make up a second one.
func addCookie(h http.Header, c *http.Cookie) {
	pair := c.Name + "=" + c.Value
	if prior := h["Cookie"]; len(prior) > 0 {
		// Before the others: the first that verifies counts, and one signed by an old secret may be among them.
		pair += "; " + strings.Join(prior, "; ")
	}
	h["Cookie"] = []string{pair}
}

// isWebSocket reports whether the request asks for the one protocol that is switched to through here. Another (h2c, say) is not
// offered to the member, which then answers the request as it stands.
func isWebSocket(h http.Header) bool {
	return strings.EqualFold(h.Get("Upgrade"), "websocket")
}

// adorn makes the answer's headers right for the client.
func (x *exchange) adorn(resp *http.Response) error {
	resp.Header.Del(headerRetry)
	if x.cookie != nil && !setsCookie(resp, x.cookie.Name) {
		resp.Header.Add("Set-Cookie", x.cookie.String())
		// A shared cache in front must not hand one user's cookie to the next, however cacheable the application says its page is.
		resp.Header.Add("Cache-Control", "private")
	}
	return nil
}

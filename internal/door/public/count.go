package public

import (
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/router"
)

// count puts what the endpoint and its parts count.
func (e *Endpoint) count(put metric.Put) {
	rejected, greedy := e.gate.Refused()
	put("http_rejected", "Connections refused at the public endpoint, because too many were open.", rejected)
	put("http_rejected_address", "Connections refused at the public endpoint, because too many were open from their address.", greedy)
	put("http_bodies_refused", "Times that the body of a request to the session API found no room.", e.bodies.Refused())
	put("http_bodies_evicted", "Large bodies of requests to the session API given up because others needed the room.", e.bodies.Evicted())

	s := e.router.Stats()
	countRouter(put, s)
	put("refused_visitors", "HTTP requests refused because a visitor's cookie came with them, and the session is another's.", e.visitors.Load()+int64(s.Visitors))
}

// countRouter puts what the router counts.
func countRouter(put metric.Put, s router.Stats) {
	put("proxied", "Requests passed on to members.", int64(s.Requests))
	put("proxy_retries", "Requests sent a second time.", int64(s.Retries))
	put("proxy_failovers", "Requests that went to the successor.", int64(s.Failovers))
	put("proxy_refused", "Members that refused a connection.", int64(s.Refused))
	put("proxy_silent", "Members that did not answer in time.", int64(s.Silent))
	put("proxy_cancelled", "Requests whose client left before the answer.", int64(s.Cancelled))
	put("proxy_broken", "Answers that broke off at a member.", int64(s.Broken))
	put("proxy_malformed", "Requests refused because their head can be read in two ways, or in none.", int64(s.Malformed))
	put("hops_unproven", "Requests whose sender claims to be a member and does not prove it: a stranger, or a member with another -secret-file.", int64(s.Unproven))
	put("proxy_errors", "Requests that no member answered.", int64(s.Errors))
}

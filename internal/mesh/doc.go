// Package mesh holds the connections between this member and all nodes: for
// each boot of each node a [Link] that dials, and at the peer port those that
// dial here.
//
// The life of a request from one member to another: Link.Call puts it on the
// link's main connection, or Bulk().Call on the second one, so that a transfer
// never stands in a request's way. At the other member the connection has come
// in at the peer port, where admission (admit.go) lets in only the boots that
// gossip tells of; the request is answered by Config.Handler. While the
// connection to a member does not answer, requests to it go through a third
// member (relay.go).
//
// A link also is what finds a crash (link.go): its connections break the moment
// the process dies, and the dial that follows at once is refused; how that is
// told from a firewall is in watch.go. Every 200 ms,
// and whenever something has changed, it sends a heartbeat (heartbeat.go): a
// list of sections, each written and read by the package that it belongs to.
package mesh

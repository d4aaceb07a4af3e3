// Package header names the HTTP headers that are Holdfast's own: what clients
// send and are told, and what members and routers tell each other.
package header

// Headers of the session API, from a client and to it.
const (
	Ack      = "Holdfast-Ack"      // how many copies a write waits for
	Acked    = "Holdfast-Acked"    // how many copies have it
	Degraded = "Holdfast-Degraded" // 1: the owner could reach no other holder
	Node     = "Holdfast-Node"     // who answered; to an application: beside whom it runs
	Ring     = "Holdfast-Ring"     // fingerprint of the ring by which it did
	// 1: a copy has still to hear of what was written (session.Reply.Unconfirmed)
	Unconfirmed = "Holdfast-Unconfirmed"
)

// Headers of requests that one member has passed on to another, or to the
// application. From a client they are dropped.
const (
	API = "Holdfast-Api" // to the application: where its node answers the session API
	// <id of the request, hex>/<attempts of it that got no answer before>
	Attempt = "Holdfast-Attempt"
	// <owner>/<boot> that could not be dialled: the receiver should take over
	Failover = "Holdfast-Failover"
	// <partition>/<epoch>/<unix ms>: until when, and of which owner, it may be
	// carried out
	Fence = "Holdfast-Fence"
	Hop   = "Holdfast-Hop"   // how often it was passed on
	Key   = "Holdfast-Key"   // the user whom it is of
	New   = "Holdfast-New"   // the user's id was made for this request
	Proof = "Holdfast-Proof" // that a member has passed it on, see below
	// <owner>/<boot> whose application is down: the receiver's should serve the
	// user
	StandIn = "Holdfast-Stand-In"
)

// A proof is
//
//	<member>/<unix ms by the receiver's clock>/<MAC, base64>[.<another>][/<further fields that it covers, with commas>]
//
// The address that a request comes from proves nothing: a member's host runs
// other programs too, and a TLS terminator on it hands on what visitors say.

// Retry says in an answer that nothing was done, and who may do it.
const Retry = "Holdfast-Retry"

// What Retry says.
const (
	RetryElsewhere = "1"     // another member may
	RetrySoon      = "later" // some member will, once they agree who
)

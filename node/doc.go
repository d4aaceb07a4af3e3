// Package node is one member of the cluster: it gossips, keeps its view of the
// ring, owns partitions, and opens the endpoints. Every goroutine and listener of
// a member is started here and waited for here.
//
// The life of one PUT, on the node that it reaches first: the public endpoint
// (packages public and api) makes it a session.Op and has it run (serve.go), as
// every endpoint does. Ownership (ownership.go) says who serves the key's
// partition: this node, and the op is applied to its session.Store; or another
// one, and the op travels once over the peer link
// (forward.go, inbound.go) and is applied there. The owner marks the key dirty
// for each successor (package replication), which merges the record a few
// milliseconds later, or before the answer where the writer asked for that.
//
// The life of one crash: the peer link to the dead process breaks, the dial
// that follows at once is refused (link.go), so the boot is gone
// (membership.go) and a ring without it is built (view.go). It gives the dead
// node's partitions to their first successors, which hold the copies already.
// Each claims its share from all live members (claim.go), finds that nobody
// holds anything newer, and serves.
package node

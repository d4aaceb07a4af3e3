// Package node is one member of the cluster: it makes the packages that a
// member consists of, joins them (wiring.go), and opens the endpoints
// (endpoints.go). Every goroutine and listener of a member is started here, or
// by a part that is closed here, and is waited for.
//
// The life of one PUT, on the node that it reaches first: the public endpoint
// (packages public and api) makes it a session.Op and hands it to package
// dispatch, as every endpoint does. The gate of package ownership says who
// serves the key's partition: this node, and the op is applied to its
// session.Store; or another one, and the op travels once over the peer link
// (package mesh) and is handed to dispatch there (package inbound). The owner
// marks the key dirty for each successor (package replication), which merges
// the record a few milliseconds later, or before the answer where the writer
// asked for that.
//
// The life of one crash: the peer link to the dead process breaks, and the dial
// that follows at once is refused (package mesh), so the boot is gone and a
// ring without it is built (package membership). It gives the dead node's
// partitions to their first successors, which hold the copies already.
// Node.viewChanged tells them, and each claims its share from all live members
// (package owner), finds that nobody holds anything newer, and serves.
package node

// Command abuse does to a real cluster what one careless client, or one
// stranger, can do, and measures what that costs everybody else.
//
// For each [attack] it starts three nodes and a router as processes of their
// own, and a [crowd] of 500 ordinary users with a session each. Every user
// asks once in one to two seconds, through the router by HTTP or at a node by
// the Redis protocol, and holds each answer against what was written. Beside
// them one attacker does the same thing again and again, from an address of
// its own in 127.0.0.0/8. A [stage] is one attack with its cluster and crowd.
//
// Three things are held against their bars: the share of ordinary requests
// that were answered correctly within 250 ms, the memory of the nodes against
// their limit, and how long after the attack's end the share was back. A
// request that was due while its user still waited for the one before counts
// as unanswered, so a cluster that stands still cannot hide that. Some attacks
// have rules of their own as well, such as that nobody is taken for alice; each
// of those also checks that what is right is still served.
//
// The users share this machine with the cluster, so a machine that is too busy
// fails users without an attack too. That is measured first, and before each
// attack, and told apart.
//
// What happens in one run is in [campaign]; the pure parts, shares and tables,
// are in score.go and table.go.
package main

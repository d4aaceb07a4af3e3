// Package membership knows who takes part in the cluster: it puts together what
// gossip says (gossip.go) and what the connections to the members show, and
// makes a view of it (membership.go).
//
// The life of a change. memberlist calls back, under its locks, that a member
// is there, has changed or is gone; the callback notes it and wakes the loop.
// Or a link finds that a process has ended, which is known sooner
// (Members.SetGone). The loop puts all facts together, and if that makes
// another view than the last one, publishes it whole and tells Config.Changed,
// which lets all else follow.
//
// Members that gossip has lost are contacted again (rejoin.go, lost.go). Of two
// processes with one name only one stays (name.go). What no member sends is
// kept from memberlist (filter.go).
package membership

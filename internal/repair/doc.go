// Package repair brings the copies of sessions to where they belong, and keeps
// them equal there. The stream of changes (package replication) does that while
// all is well; a Repairer finds what it has missed, by comparison.
//
// The life of a copy. A node becomes the owner of a partition
// (Repairer.Claimed); copies that voters hold and that are equal count at once.
// The others are compared by digests, and filled (compare.go). Where holders
// have more than the owner, it fetches that, each key before it is served
// (fetch.go). A node that should hold no copy any more offers it to all that
// should, and drops it when each has confirmed that it has everything
// (handover.go). A holder without room says so in its heartbeats, and sessions
// do not grow that it could not take (room.go).
package repair

// Package owner is this node in its part as an owner of partitions: it drives
// the core of package ownership with the node's store, links and clocks.
//
// One thing happens at a time. A view changes (Owner.SetView), a heartbeat is
// asked or answered (section.go), a claim is made (claim.go), judged or
// settled, a second has passed (standstill.go): each is a step of the core
// under one lock, and what the core wants done to the store is done in the
// same step. What can wait follows after it. Readers ask Owner.Decide, which
// takes no lock.
//
// An owner whose lease has run out asks the others (lease.go). Loops are
// started by Owner.Run, Owner.Watch, and by Config.Go for each claim.
package owner

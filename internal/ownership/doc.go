// Package ownership decides, in one place, whether this member may serve a
// partition. It is pure, as the core of a consensus library is: what happens
// comes in as method calls on a [Core], each with the time at which it
// happened; what is to be done about it comes out as a [Todo]. There is no
// goroutine, lock, socket or clock in it, so all of it can be tried without a
// cluster: by scenarios (testdata), and exhaustively (package explore).
//
// A partition is served from the moment when every live member has agreed to a
// claim of it until the moment when a claim with a higher epoch is agreed to.
// The ring says who should claim; it never by itself starts or stops anybody.
//
// The life of a claim. The view changes, and the ring gives this member a
// partition that another one has served (Core.SetView). The claimant asks all
// live members for it (Core.Round, claimant.go). Each of them is a voter
// (Core.Judge, voter.go): the one that serves the partition closes it, then
// takes its digest, then answers. When all have agreed, the claimant opens the
// partition (Core.Settle); where a voter holds something else than it does, it
// fetches each key from there before it serves it (fetch.go).
//
// A claim covers what was agreed to, not what has happened since. That is what
// the lease is for (lease.go): an owner serves without asking only for a second
// after a heartbeat that another member has answered, and who has answered one
// agrees to no succession for as long.
//
// Readers do not ask the Core. They ask its [Gate], which takes no lock.
package ownership

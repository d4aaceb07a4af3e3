// Package dispatch is the one place that decides, for every endpoint and every
// kind of work, where it is done: here, after a fetch, at another member,
// later, or not at all.
//
// The life of a request. It comes in at an endpoint (Dispatcher.Do, .Batch) or
// from another member (Dispatcher.Serve). Where this member serves the
// partition, the work is run on its store under its lease (serve.go), and what
// it has changed is brought to the holders of copies, before the answer or
// after it (copies.go). Otherwise it is forwarded to the owner (forward.go), or
// waits until there is one (dispatch.go). An attempt that arrives late, or
// after a repetition of it was run, is refused (attemptlog.go, late.go). A
// delete of what nobody has leaves no tombstone (nowhere.go). A session that
// has never been here may be taken over first (upstream.go). While copies are
// too far behind, writers are slowed down (lag.go).
//
// What the work is, an operation of package session or a batch of Redis
// commands, is known in work.go alone.
package dispatch

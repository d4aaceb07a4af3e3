package session

import "errors"

// The errors of an operation that did not come to an answer. What returns one
// wraps the cause.
var (
	// ErrUnavailable says that the key's owner could not be asked and that
	// nothing was changed anywhere. The client is told 503 with
	// Retry-After: 1, and a router that it may ask the key's successor at once.
	ErrUnavailable = errors.New("owner unavailable")

	// ErrUncertain says that the owner was asked and that no answer came: the
	// change may have been made or not. The client is told 504, and a router
	// nothing, for only the client knows whether the request can be repeated.
	// The context's own errors are told the same way.
	ErrUncertain = errors.New("owner did not answer")
)

// Reply is what became of one operation, and who says so.
type Reply struct {
	Result

	// Node is the ring name of the member that ran the operation.
	Node string
	// Ring is the fingerprint of the ring by which that member owns the key.
	Ring string
	// Acked counts the copies that have the write, the owner's not included.
	Acked int
	// Degraded says that the owner answered without being able to reach any
	// other holder of the key (-partition-mode=available).
	Degraded bool
	// Unconfirmed says of a delete or a rotation that a copy did not confirm in
	// time that the session, or its old key, has ended; and of any write that it
	// was made where copies are out of reach. It holds, and travels on in the
	// background.
	Unconfirmed bool
}

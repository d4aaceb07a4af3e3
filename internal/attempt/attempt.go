// Package attempt tells the attempts of one operation apart. A request that was
// sent and not answered is sent again, and both may arrive: late, out of order,
// at another owner. What a request says of itself (an [Attempt]) lets the owner
// refuse one that comes after its time, or after a later one has been run.
package attempt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// Lifetime is how long after it was sent a request may reach a member, from a
// router or from another member. It is what a router waits for an answer.
const Lifetime = 5 * time.Second

// Attempt says which attempt of which operation a request is, so that one that
// was held back, by a cut network or in the socket of a frozen process, is not
// run after another has been, and after what its writer has done since.
type Attempt struct {
	// ID names the operation over all its attempts, and Deadline ends them: it
	// must not be run after that, for its writer has gone on. Until a request
	// has either they are zero.
	ID       uint64
	Deadline time.Time
	// Sent is when it was sent, or read where nobody says more; zero for now.
	Sent time.Time
	// Repeat says that an earlier attempt was sent and not answered, so it may
	// have been run, and may yet arrive.
	Repeat bool
	// Fenced says that whoever sent it may have sent it elsewhere since: it is
	// not passed on by a member that was out of touch while it had it.
	Fenced bool
}

// Named returns a with an id and its times, as of now. It must be run within a
// limit from now on.
func (a Attempt) Named(now time.Time, limit time.Duration) Attempt {
	if a.Sent.IsZero() {
		a.Sent = now
	}
	if a.ID == 0 {
		a.ID = rand.Uint64()
	}
	if last := now.Add(limit); a.Deadline.IsZero() || a.Deadline.After(last) {
		a.Deadline = last
	}
	return a
}

// Why an attempt is not run.
var (
	// ErrTooLate says that an operation has not been run because its time is
	// over, or a later attempt has come before it.
	ErrTooLate = fmt.Errorf("%w: too late", session.ErrUnavailable)
	// ErrOtherEpoch says that an operation was meant for an owner by another
	// claim, and has not been run.
	ErrOtherEpoch = errors.New("sent by a claim that is not in force")
)

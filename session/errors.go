package session

import (
	"errors"
	"time"
)

// The errors of this package. Those returned may wrap one of these with what
// was wrong; test them with [errors.Is]. They keep their meaning over the wire
// by [ErrorCode] and [ErrorOf]. No text holds a key or a value.
var (
	// ErrNotFound: no such session, or it has expired.
	ErrNotFound = errors.New("session not found")
	// ErrDeleted: the session was deleted and its tombstone still lives, so a
	// write that knows nothing of the delete must not bring it back.
	ErrDeleted = errors.New("session was deleted")
	// ErrPrecondition: IfVersion, Exists or Create did not hold. Nothing was
	// changed.
	ErrPrecondition = errors.New("precondition failed")
	// ErrType: a patch of fields met an opaque value, a set or a sorted set, or
	// a value was to be opaque and have fields.
	ErrType = errors.New("session holds an opaque value, not fields")
	// ErrTooLarge: the session would be larger than Config.MaxSession.
	ErrTooLarge = errors.New("session too large")
	// ErrKey: the key is empty, longer than Config.MaxKey, or (rotate) not one
	// that the session can move to.
	ErrKey = errors.New("bad session key")
	// ErrFull: Config.MemoryLimit is reached, here or at another holder of a
	// copy, and the write would make what is held larger. Deletes, and writes
	// that leave a session no larger than it is, still work.
	ErrFull = errors.New("memory limit reached")
	// ErrNotServed: the key's partition is not open here.
	ErrNotServed = errors.New("partition not served here")
	// ErrFuture: a remote record's stamps are more than MaxAhead in the future.
	ErrFuture = errors.New("stamp too far in the future")
	// ErrPast: a remote record has ended by the local clock, and is not held.
	ErrPast = errors.New("record has ended by this clock")
	// ErrBusy: others wrote to the session each time before this operation,
	// which is a large one, was done. Nothing was changed; try it again.
	ErrBusy = errors.New("session is being written by others")
	// ErrMalformed: bytes or a JSON patch that cannot be read.
	ErrMalformed = errors.New("malformed")
	// ErrFormat: a record in a form that a later version writes. It is whole, and
	// not to be thrown away: a build of that version reads it.
	ErrFormat = errors.New("format not known")
)

// MovedFor is for how long after a rotation the old key leads to the new one.
// Whoever asks with it meanwhile had sent the request when the session still
// had that key, or does not know better: a browser sends ten in parallel, on
// slow networks for seconds. A minute would help no more of them, and a thief
// of the old key all the longer.
const MovedFor = 10 * time.Second

// MovedError is [ErrDeleted] for a session that has another key since a
// rotation less than [MovedFor] ago. The key is a bearer secret, and not in the
// error's text.
type MovedError struct {
	To string // the new key
}

func (e *MovedError) Error() string { return "session was moved to another key" }
func (e *MovedError) Unwrap() error { return ErrDeleted }

// wireErrors gives each sentinel its code, the index. Codes are part of the
// wire format: append only.
var wireErrors = [...]error{
	1:  ErrNotFound,
	2:  ErrDeleted,
	3:  ErrPrecondition,
	4:  ErrType,
	5:  ErrTooLarge,
	6:  ErrKey,
	7:  ErrFull,
	8:  ErrNotServed,
	9:  ErrFuture,
	10: ErrMalformed,
	11: ErrBusy,
	12: ErrPast,
}

const otherError = 255

// ErrorCode returns the wire code of the sentinel that err wraps, 0 for nil
// and 255 for an error that wraps none.
func ErrorCode(err error) byte {
	if err == nil {
		return 0
	}
	for code, sentinel := range wireErrors {
		if sentinel != nil && errors.Is(err, sentinel) {
			return byte(code)
		}
	}
	return otherError
}

// ErrorOf returns the error that had this code and text: nil for code 0, else
// one that wraps the code's sentinel, if it is known here.
func ErrorOf(code byte, msg string) error {
	if code == 0 {
		return nil
	}
	if int(code) >= len(wireErrors) {
		return errors.New(msg)
	}
	sentinel := wireErrors[code]
	if msg == sentinel.Error() {
		return sentinel
	}
	return &remoteError{sentinel: sentinel, text: msg}
}

// remoteError is a sentinel's error that came over the wire with its text.
type remoteError struct {
	sentinel error
	text     string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.sentinel }

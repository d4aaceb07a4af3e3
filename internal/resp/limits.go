package resp

import (
	"errors"
	"fmt"
)

// Limits bounds what one command may take.
type Limits struct {
	MaxArgs  int // arguments, the command's name among them
	MaxBulk  int // bytes of one argument: -max-session, for a value has to fit into one
	MaxQuery int // bytes of the whole command as it is sent

	// anonymous changes the texts of refusals to those that Redis has for a
	// client that has not authenticated, and takes no inline command.
	anonymous bool
}

// Anonymous returns the limits for a client that has to authenticate first: it
// has no use for more than HELLO with AUTH and SETNAME. Those of an argument
// are Redis's, but only one of them can be so long.
func Anonymous() Limits {
	const args, bulk, rest = 10, 16 << 10, 1 << 10
	return Limits{MaxArgs: args, MaxBulk: bulk, MaxQuery: bulk + rest, anonymous: true}
}

// maxLine bounds a line that is not the argument of a command: a length, or a
// whole inline command (PROTO_INLINE_MAX_SIZE of Redis).
const maxLine = 64 << 10

// ProtocolError says what was wrong with a command's framing. It is told to
// the client as it is, after "ERR ", and the connection closed: where the next
// command begins is not known.
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

const (
	errArgs          = ProtocolError("invalid multibulk length")
	errBulk          = ProtocolError("invalid bulk length")
	errArgsAnonymous = ProtocolError("unauthenticated multibulk length")
	errBulkAnonymous = ProtocolError("unauthenticated bulk length")
	errLongArgs      = ProtocolError("too big mbulk count string")
	errLongBulk      = ProtocolError("too big bulk count string")
	errLongInline    = ProtocolError("too big inline request")
	errQuotes        = ProtocolError("unbalanced quotes in request")

	// Redis has no text for the rest: it closes on a query that is too long,
	// looks at no byte where CRLF has to be, and takes inline commands from any
	// client.
	errEnd             = ProtocolError("expected CRLF")
	errInlineAnonymous = ProtocolError("unauthenticated inline request")
)

// redisBulk is the longest argument that Redis takes (proto-max-bulk-len).
const redisBulk = 512 << 20

// tooLong refuses an argument. Where Redis would take the argument, the sizes
// are added to the text of Redis: a user of Redis does not expect a limit that
// is one for sessions.
func tooLong(size int64, l Limits) ProtocolError {
	if size > redisBulk {
		return errBulk
	}
	return ProtocolError(fmt.Sprintf("%s: %d bytes, -max-session allows %d", string(errBulk), size, l.MaxBulk))
}

// tooMany refuses a number of arguments, and tooBig what they have together.
func tooMany(n int64, l Limits) ProtocolError {
	return ProtocolError(fmt.Sprintf("%s: %d arguments, %d are taken", string(errArgs), n, l.MaxArgs))
}

func tooBig(l Limits) ProtocolError {
	return ProtocolError(fmt.Sprintf("too big request: a command may have %d bytes", l.MaxQuery))
}

// ErrHTTP says that a client speaks HTTP: a strange page may be making a
// browser send commands here. It gets no answer.
var ErrHTTP = errors.New("an HTTP request where a command was expected")

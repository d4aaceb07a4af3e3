package router

import (
	"context"
	"net"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

// front is the side of an exchange on which the client is: a connection of the
// router's own server, or a request of net/http's.
type front interface {
	// next returns the next bytes of the request's body, valid until the next
	// call, and io.EOF behind the last.
	next() ([]byte, error)
	// ready reports whether next has something without waiting for the client.
	ready() bool
	// ended reports whether all of it was read.
	ended() bool
	// trailer returns the fields behind the body, once next has returned
	// io.EOF.
	trailer() []http1.Field
	// stopBody makes a call of next that waits return, so that its goroutine
	// can end. There is no other request on this connection.
	stopBody()
	// goOn tells a client that waits for it to send the body.
	goOn() error

	// inform passes an interim answer on.
	inform(r *http1.Response) error
	// begin begins the answer: the head, whose fields are right for the client,
	// and those added. A body in chunks or to the end follows by write.
	begin(r *http1.Response, added []http1.Field) error
	write(p []byte) error
	// flush sends what was written so far.
	flush() error
	// end ends the answer.
	end(trailer []http1.Field) error
	// abort ends the connection in the middle of an answer, so that the client
	// sees it break off.
	abort()
	// refuse answers the whole request with a problem document.
	refuse(status int, slug, title, detail string, added ...Header)
	// takeOver hands the connection to the caller, with what was read from it
	// already. The answer so far is sent.
	takeOver() (net.Conn, []byte, error)

	// left reports whether the client has gone.
	left() bool
	// context ends with the client, if the front hears of that.
	context() context.Context
}

package node

import (
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/dispatch"
)

// Sessions is the way to all sessions of the cluster, on a router too.
type Sessions = dispatch.Sessions

// Sessions returns the way to all sessions of the cluster. A router has it too,
// and forwards every operation.
func (n *Node) Sessions() *Sessions { return n.dispatcher.Sessions() }

// Handler makes app the application of this member, and returns the handler
// with which to serve it at addresses of the program's own, next to the public
// endpoint. Whichever node of the cluster is asked, app runs at the owner of
// the request's user, with the user's session in its context (FromContext of
// package holdfast): a node that is not the owner passes the request on to the
// owner's public endpoint, and to its successor if the owner is gone. So every
// node of the cluster needs the same application, and all of them the same
// Config.Secret.
//
// There is one application: a later call replaces it. nil keeps the one that
// there is, as Config.Handler has set it, which is there from the member's
// first request on. On a router app is not needed, for every request is passed
// on.
//
// The handler does not serve the session API, with which whoever knows an id
// can change the session; the public endpoint does, and so should not be where
// strangers can reach it. Paths under /v1/ are the API's there, and are
// answered 404 here.
//
// Of X-Forwarded-For and its like, app sees what trusted peers have said
// (Config.Trust), and nothing that a client has made up.
func (n *Node) Handler(app http.Handler) http.Handler {
	if app != nil {
		n.runProgram(app)
	}
	return n.pin.Handler()
}

// runProgram makes a Go program's handler the application, and tells the
// program what its users will miss without a secret.
func (n *Node) runProgram(app http.Handler) {
	if n.cfg.Secret == nil {
		n.cfg.Log.Warn("no secret: cookies are signed with a random one, so no other member knows the users of this one; give all the same")
	}
	n.pin.Run(app)
}

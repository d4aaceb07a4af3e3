package node

import (
	"net/http"
	"strings"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/router"
)

// Handler makes app the application of this member, and returns the handler with
// which to serve it at addresses of the program's own, beside the public door.
// Whichever node of the cluster is asked, app runs at the owner of the request's
// user, with the user's session in its context ([holdfast.FromContext]): a node
// that is not the owner passes the request on to the owner's public door, and to
// its successor if the owner is gone. So every node of the cluster needs the
// same application, and all of them the same Config.Secret.
//
// There is one application: a later call replaces it. nil keeps the one that
// there is, as Config.Handler has set it, which is there from the member's first
// request on. On a router app is not needed, for every request is passed on.
//
// The handler does not serve the session API, with which whoever knows an id can
// change the session; the public door does, and so should not be where strangers
// can reach it. Paths under /v1/ are the API's there, and are answered 404 here.
//
// Of X-Forwarded-For and its like, app sees what trusted peers have said
// (Config.Trust), and nothing that a client has made up.
func (n *Node) Handler(app http.Handler) http.Handler {
	if app != nil {
		n.warnOfRandomSecret()
		n.setApplication(n.bound(app))
	}
	pinned := n.pinned()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, router.API) {
			problem.Write(w, http.StatusNotFound, "unknown-path", "Unknown path",
				"paths under /v1/ belong to the session API, which is not served at this address")
			return
		}
		r = withoutHeaders(r, n.finder.Refused(r, nil)) // no member sends requests here
		pinned.ServeHTTP(w, r)
	})
}

func (n *Node) setApplication(app http.Handler) { n.app.Store(&app) }

// withoutHeaders returns r without the headers that drop names, which leaves
// the caller's request alone.
func withoutHeaders(r *http.Request, drop func(name string) bool) *http.Request {
	copied := false
	for name := range r.Header {
		if !drop(name) {
			continue
		}
		if !copied {
			r, copied = r.Clone(r.Context()), true
		}
		r.Header.Del(name)
	}
	return r
}

// warnOfRandomSecret tells a program that gives a member its handler what the
// handler's users will miss without a secret.
func (n *Node) warnOfRandomSecret() {
	if n.cfg.Secret == nil {
		n.log.Warn("no secret: cookies are signed with a random one, so no other member knows the users of this one; give all the same")
	}
}

// bound gives app the session of each request.
func (n *Node) bound(app http.Handler) http.Handler {
	binder := &holdfast.Binder{
		Sessions: n.Sessions(), Rename: samePartition, Cookie: n.finder.CookieFor,
		Made:     func(r *http.Request) bool { return r.Header.Get(header.New) != "" },
		Counters: &n.bindings, Log: n.log,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get(header.Key)
		binder.Serve(w, r, app, user, !n.finder.Carries(r, user))
	})
}

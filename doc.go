// Package holdfast gives a Go program the session of the request that it is
// answering.
//
// The program runs a member of the cluster with package node and lets it pin
// its handler, with node.Config.Handler or node.Node.Handler. What happens to
// one request then:
//
//  1. The node finds the request's user (the signed cookie, a trusted header,
//     or a new id) and the user's owner. If that is another node, the request
//     goes there, and the rest happens there.
//  2. [Binder.Serve] puts a [Session] into the request's context. Nothing is
//     read yet.
//  3. The handler asks [FromContext] for it. The first [Get] or [Session.Set]
//     reads the session, which is a look into a map of this process.
//  4. Changes stay with the request until its answer begins. Then, before the
//     first byte of the answer leaves, the fields that have changed, and only
//     those, are written in one patch: a client that has the answer finds its
//     changes, and requests in parallel that change other fields lose nothing.
//  5. If they cannot be written the client is told 503 in place of the
//     handler's answer.
//  6. A request that has only read slides the session's expiry.
//
// A session that was logged out while the request ran stays logged out: what
// the request has changed is dropped. [Session.Renew] is for the moment of
// login, [Session.Destroy] for that of logout.
//
// The values are JSON, so the HTTP API and the Redis protocol see the same
// session: a field of it each.
package holdfast

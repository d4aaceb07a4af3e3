// Package redis is the Redis door: it speaks the protocol of a Redis Cluster
// node, so that the clients and session libraries made for Redis work.
//
// One command, here shown by its file: the connection's goroutine reads what
// has come and cuts commands out of it (conn.go); each is looked up, refused if
// it may not run here and now, or queued if a transaction is open
// (dispatch.go); a command on keys goes as one [command.Batch] to the owner of
// its partition through [Cluster], or is taken apart if a plain client named
// keys of several partitions (route.go, split.go); a command on the connection,
// the server or the cluster is answered here (auth.go, client.go, info.go,
// topology.go and others, by their names). The answers to all that one read
// brought leave in one write (conn.go). What others publish is queued for the
// subscribers within a bound (pubsub.go).
//
// The door knows nothing of ownership beyond what the ring says, keeps no
// sessions, and starts one goroutine a connection, another one for a connection
// that has subscribed, and one that closes idle connections and those that do
// not read what they are sent (server.go).
package redis

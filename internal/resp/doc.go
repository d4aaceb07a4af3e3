// Package resp reads and writes the Redis serialization protocol, versions 2
// and 3, within limits. It opens no socket and starts no goroutine.
//
// One request, here shown by its file: a [Reader] collects bytes as they come
// and cuts whole commands out of them (reader.go; inline.go for the form that
// people type); the code that runs a command appends its answer to a [Reply],
// which knows the connection's protocol and how Redis writes each type in it
// (reply.go). Clients and tests go the other way: [AppendCommand] makes a
// request, and a [ReplyReader] reads what comes back into a [Value] (value.go,
// replies.go).
//
// What a peer announces is never believed: memory grows with the bytes that
// have arrived and not with a length that they claim, and what would pass a
// limit is refused before it has arrived. The texts of protocol errors are
// those of Redis 7.
package resp

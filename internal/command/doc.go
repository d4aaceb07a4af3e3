// Package command is what the Redis protocol's keyed commands mean: a table of
// them, and what each does to the sessions of one partition. It is pure: bytes
// of a command in, bytes of its answer out, and changed sessions between.
//
// One command: the endpoint looks it up ([Lookup]), checks its number of
// arguments, and finds its keys ([Spec.Keys]). It goes as a [Batch], alone or
// with the others of its transaction, to the owner of its partition (package
// dispatch), as the bytes that the client sent. There [Batch.Run] runs it in
// one hold of the partition ([session.Store.Update], or View if it only reads)
// and appends its answer, which travels back as it is.
//
// # The data
//
// A string is a session whose value is opaque. A hash is one with fields, those
// of the JSON object that the HTTP endpoint shows; each has its own stamp, so
// that writes to two fields on two sides of a cut both survive. The members of
// a set or sorted set are fields too, and what it is says a reserved field. So
// all that package session promises of a session (merge, tombstones, limits,
// expiry) holds for each of them. A write to a hash or a set costs time in
// proportion to its size, which is that of a session:
// [session.Config].MaxSession at most.
//
// Fields and members are kept in order of name, and that is the order in which
// they are listed. Redis promises none.
//
// # Expiry
//
// The end that a command gives is fixed, not sliding, and exact. A session that
// the HTTP endpoint made slides on with writes from here that would keep its
// end. EXPIRE and PEXPIRE give it another idle time, EXPIREAT and PEXPIREAT
// turn that into a fixed end, PERSIST and SET take it off. The bound of its age
// that HTTP may have set holds for EXPIRE and falls with the others.
//
// # Deletes
//
// DEL leaves a tombstone, and so does what takes the last field or member.
// Unlike the HTTP endpoint's PUT, a write here creates whatever was there;
// Env.RefuseRevive refuses it for a while.
package command

// Package importer moves the keys of a running Redis into Holdfast. Nothing is
// changed at Redis, which goes on serving meanwhile.
//
// What happens to one key: [Importer.Run] has a scanner for each master of the
// Redis, which asks for keys (SCAN) and puts them into a short queue, in
// batches. A worker takes a batch, waits until [Config.Rate] allows it, and
// asks Redis for the value of each key and the time at which it ends (DUMP,
// PEXPIRETIME) in one pipeline; then it gives both to Holdfast (RESTORE with
// ABSTTL) in another. Every key comes to one end that [Tally] counts: moved,
// there already, deleted here, gone from Redis, or failed, with the reason.
//
// # Run again
//
// A key that exists at Holdfast stays as it is, and one that was deleted there
// is not brought back (NOREVIVE). So a second run moves what is new, and undoes
// nothing that Holdfast's clients have done since the first one.
// [Config.Replace] writes all the same.
//
// # How long a key lives
//
// To its end at Redis, to the millisecond, by the clocks of both. Before version
// 7 Redis tells only how long a key has left (PTTL); that counts from before the
// question was sent, so the end comes early by the time of one pipeline at most.
// The value is asked for before the end: if a client changes both in between,
// the old value gets the new end, and so lives no longer than Redis has it.
//
// # What goes wrong
//
// What is about one key, such as a type that Holdfast does not have, is counted
// and listed, and the others go on. What passes (a broken connection, a node
// that is being succeeded, copies that lag behind) is tried again for
// [Config.Patience]. What neither passes nor is about one key ends the run. No
// call lasts longer than [Config.Timeout].
//
// When the context of a run ends, no batch is begun any more, those under way
// are finished, and what was counted is what was done.
package importer

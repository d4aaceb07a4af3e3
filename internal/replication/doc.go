// Package replication keeps the successors' copies.
//
// The life of one write: the owner has applied it in its session.Store and
// calls [Replicator.Mark] with the key. Mark puts the key into the dirty set of
// each member that should hold a copy and wakes that member's sender; it never
// blocks and never copies the record, so a session that changes a hundred
// times while a link is slow costs one entry and is sent once, as it is then.
// The sender takes a batch of keys, encodes their current records, sends them
// in one frame and waits for the answer. The other side merges each record
// ([Replicator.Serve]); order and repetition do not matter, because merge
// decides. What the answer does not confirm goes back into the set. A writer
// that asked for an acknowledgement waits in [Replicator.Wait] for the answer
// that covers its own mark.
//
// A record that the other side refuses, because its stamps are of a clock far
// ahead, say, is counted and not sent again: it would be refused again and hold
// up the others. The comparison below keeps reporting it. Memory is bounded by
// the dirty keys of each member, one batch and the writers that wait at this
// moment.
//
// Beside the stream of changes there is one comparison, [Replicator.Sync]:
// digests of partitions are compared, those that differ exchange lists of
// (key hash, content hash), and both sides end with the merge of both. Repair,
// a new successor, a hand-over and a drain are all that one procedure.
package replication

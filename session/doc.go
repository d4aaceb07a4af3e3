// Package session keeps sessions in memory: one session as an immutable,
// mergeable [Record], and all sessions of a node in a [Store]. It is pure; it
// starts no goroutine, opens no socket and reads no clock but the one it is
// given, except to measure for how long it holds a lock.
//
// # What happens to one PUT
//
//  1. An endpoint turns the request into an [Op] and hands it to [Store.Do] on
//     the key's owner. Key, sizes and field names are checked, and the fields
//     put in order, before any lock is taken.
//  2. What is held under the key (nothing, a session, a tombstone) and the op
//     go through a pure function, which checks the op's conditions, takes a
//     [Stamp] later than all it has seen, and packs a new [Record]. No lock is
//     held meanwhile, however large the session is (see [Tx]).
//  3. The key's partition is locked. If it is closed here the op ends with
//     [ErrNotServed], so after [Store.Close] has returned no write can follow.
//     If another write has come first, the op begins anew.
//  4. The new record takes the old one's place, and the partition's digest, its
//     count of bytes and its expiry heap follow. Readers that have the old
//     record keep it: records never change, so [Store.Get] copies nothing.
//  5. Result.Record goes back to the endpoint, which answers with its version
//     as the ETag, and to replication, which writes it to the successors with
//     [Record.Append].
//  6. There [DecodeRecord] and [Store.Merge] bring it in. That is all a copy
//     does: it never runs the op, so order and repetition do not matter.
//
// A command of the Redis protocol goes the same way with [Store.Update] in the
// place of an Op: it reads and writes through a [Tx], and the records that it
// makes are made and merged by the same rules.
//
// A GET takes no lock: it finds the record in the partition's table (see table)
// as it is at some moment between the question and the answer. Only where there
// is none, so that the answer is that there is no session, it asks again with
// the lock held.
//
// # The lattice
//
// The states of one session form a join semilattice, and [Merge] is its join
// (Shapiro et al., "Conflict-free Replicated Data Types", 2011). From the top:
//
//	rank      the higher wins whole
//	tombstone at equal rank, wins over live; of two, the later end
//	base      at equal rank and both live, the maximum
//	fields    each by itself: later stamp, then present over absent, then larger
//	          bytes; none older than base
//	expiry    one register: later stamp, then larger values
//
// Rank is why a logout sticks. A plain last-writer-wins delete loses to any
// write with a later stamp, and such a write is easy to make by one that never
// heard of the delete: a request that loaded the session before the logout and
// saves it after, or the other side of a network partition. Here a session is
// an incarnation. Its rank is the stamp it was created with, and every write to
// it keeps that rank, however late the write's own stamp. A delete takes a
// stamp later than all that it has seen of the incarnation, so its rank is
// above the incarnation's, and it wins over every write that there is or will
// be to that incarnation. Only a create makes a new rank, and a create over a
// tombstone has to be meant (Op.Create, Op.Revive); it has seen the tombstone,
// so its rank is above it, and it lives.
//
// The price: of two creates of one key on two sides of a partition one loses
// whole, as if it had been overwritten. One that was made without knowing whether
// the session is there (Op.Blind) has a rank below all others: it loses to a
// session that is, whatever their times.
//
// A removed field is a small tombstone of its own. It is kept, and counts for
// Config.MaxSession, until a write of the whole value passes it.
//
// # Expiry
//
// A session ends at Expiry.At; each write, and a touch, move At to Idle ahead
// of the owner's clock, never past Deadline. The owner knows the end exactly.
// Copies hear of a touch only when it moved the end by a tenth of Idle, and so
// keep a session for as much longer: one that was touched just before its owner
// died is still found, and one that was not ends up to a tenth late. No copy
// forgets a session before that time, the owner neither, so that expiry by
// itself makes no two digests differ.
//
// # What else a reader of the code should know
//
// The version of a session is its newest content stamp. Two sides of a network
// partition that patch different fields merge into a state whose version is
// that of the later patch, which its own side had before.
//
// The memory limit is about real memory: each record counts with its key, its
// packed fields, and a measured constant for all else (partition.go). Whatever
// makes the sessions larger asks for room in one place (memory.go), a copy that
// replication brings too, which is given a little more. Tombstones have room of
// their own, and where that is not enough the first to end go early
// (tombstones.go).
package session

// Package upstream takes sessions over from the Redis that had them before, one
// by one, when they are first asked for here: so that an application can be
// pointed at Holdfast, and nobody has to log in again.
//
// # The life of a request
//
// It reaches the owner of its key (package dispatch). If nothing is known of
// the key there, no session, no tombstone, none that has just ended, and no
// copy that may know more is out of reach, the owner calls [Upstream.TakeOver]
// before it runs the request. That asks Redis once for the value and the time
// that it has left (DUMP, PTTL), whoever else waits for the same key meanwhile.
// What it finds is written here as any new session is, with copies to the
// successors, in the place of nothing: whatever was written, deleted or has
// ended here by then stays as it is. Then the request runs, and from then on
// the session lives here and Redis is not asked for it again.
//
// Keys are the same on both sides, and so is what a value means: package rdb
// reads it, as for RESTORE and for holdfast import.
//
// # What does not come
//
// Whatever goes wrong is a miss, and counted: there is no error for a client. A
// question has [askTime]. After [failuresToOpen] failures in a row nothing is
// asked for [openFor], and then by one request at a time, so that a dead Redis
// costs one request a second its [askTime]. What Redis does not have either is
// not asked for again for [missTime], in a table of [missSlots] keys, where a
// newer miss takes the place of an older one: a client that polls a key costs
// one question a second, and a session that an instance of the application
// makes at Redis while it is not switched yet is found a second later.
//
// # Every end here is an end there
//
// Redis is not written to. But a session that ends here, by a delete, a
// rotation or its time, is deleted there as well ([Upstream.Ended]): else its
// old state could be taken over again once nothing here remembers the end, as a
// value that was only written over here would be. Until Redis has confirmed the
// delete the key is not asked for. Deletes wait in a queue of [mostEnding], and
// are tried for [endFor]. One that is given up is counted, and the key goes
// into a filter of [filterBits] bits: this process never asks for it again, nor
// for the few that share its bit.
//
// The owner is not the only one to do so. Each holder of a copy does it when
// its copy ends, and when a tombstone is forgotten: so the crash of an owner,
// with the deletes that waited in it, undoes no end. [Upstream.BeginSweep] and
// [Upstream.EndSweep] stand around the moment in which such things are
// forgotten, so that no question comes between that and the note that the key
// has ended.
//
// # What remains
//
// A queue and a filter are their process's own. If Redis answers nobody from
// the end of a session by its time until all nodes that had it have stopped, or
// the partition has another owner that had no copy, and answers then, the old
// state can be taken over again. So it can be where a tombstone was dropped
// because memory is short (tombstones_dropped), where all copies of a session
// were lost, and in the rare case that nodes forget an end in the second before
// Redis hears of it and is asked by another one.
package upstream

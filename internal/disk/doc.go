// Package disk keeps the records of one node in files, so that they are there
// when all processes that had them have ended. Memory serves; nothing is ever
// looked up in a file.
//
// The life of one record. The node's store notes that it has changed
// (session.Store.TakeUnsaved). Whoever drives the journal collects such changes
// in a [Batch] and calls [Journal.Append], which writes them as one frame behind
// all others, and now and then [Journal.Sync], which returns when they are on the
// disk. When the process starts again [Journal.Replay] hands out all frames in
// order.
//
// A journal grows with every change. When it has grown to twice of what is held
// its owner writes down what is held now, as a new base ([Journal.Rewrite]), and
// what the base covers is removed. Changes go on being appended meanwhile, to the
// next file: a base is read before the files that were begun with it, so it does
// not matter of which moment it has a record.
//
//	base-00000007      what was held when it was written; whole, or it is not there
//	log-00000007       what has changed since it was begun
//	log-00000008       another one, where the node was started since
//	identity           whose files these are
//	lock               held by the process that has them open
//	snapshots/         what there was at some moments, each like this directory
//
// Nothing is ever written to a file but to the newest log, and nothing in it but at
// its end. So a snapshot is the other files under a second name each, once a new
// log has been begun ([Journal.BeginSnapshot]).
//
// # Frames
//
//	u32 magic | u32 length of the body | u32 CRC-32C of length and body | body
//
// A body is a batch, and is replayed whole or not at all. Numbers are
// little-endian. The polynomial is that of RFC 3720, which processors compute.
//
// A frame that is cut short at the end of a log is what a process was writing when
// it ended, and is cut off. Any other one that does not fit its sum was damaged:
// what is in it is lost, the search goes on behind it for the next that fits, and
// the file is set aside for whoever wants to look (damaged-…). Which changes were
// lost is not known, so all that is held may be older than it was.
//
// # What fails
//
// After a write or a sync has failed nothing more is written: what is on the disk
// is as if the process had ended then. Every later call returns that first error.
package disk

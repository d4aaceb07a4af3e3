// Package census knows how many sessions there were, and which members should
// be there. So a loss is seen: sessions that nobody holds leave no trace at
// those who are left, and a dead member cannot say that it is missing.
//
// The life of a loss. Every two seconds each node tells all members how many
// sessions it serves in each partition (counts.go, section.go). A node and all
// that have copies of its sessions die at once. Another node claims their
// partitions, and the claim finds that none of those who had copies has
// answered: Census.Orphaned. When what there is has been fetched, the last count
// that was told, less what is found, is lost, and goes into the books
// (books.go). The books are one small table that all members have, and agree on
// by their heartbeats as they do on the claims in force. They also say which
// members are missing: those that took part and ended without leaving. Each
// entry stays until the member is back, or an operator has it forgotten
// (Census.Forget). A process that held copies and comes back, after a freeze or
// a cut, brings them along: what was counted as lost with it is not lost.
//
// The figure is an estimate. Counts are up to two seconds old, and what ended
// in the meantime counts as lost. A session that was lost because its last
// write had not been copied yet is in no count. What all members together have
// forgotten, because all of them were started anew, nobody tells.
package census

package node

import "github.com/seed-95a32959/holdfast/internal/dispatch"

// Sessions is the way to all sessions of the cluster, on a router too.
type Sessions = dispatch.Sessions

// Sessions returns the way to all sessions of the cluster. A router has it too,
// and forwards every operation.
func (n *Node) Sessions() *Sessions { return n.dispatcher.Sessions() }

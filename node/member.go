package node

import (
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/network"
)

// Network makes every connection of a member. Tests put a network of their own
// in its place, with delays, cuts and losses.
type Network = network.Network

// Refused says whether a dial failed because the host answered that no process
// listens there: the sign that a member is gone, not merely silent.
func Refused(err error) bool { return mesh.Refused(err) }

// What a program sees of the members: see package member, which says it.
type (
	// Role says what a member does in the cluster.
	Role = member.Role
	// ID is one boot of one member.
	ID = member.ID
	// Member is one boot of one member as this member sees it.
	Member = member.Member
	// View is one immutable picture of the membership and of the ring.
	View = member.View
	// State is what a member says of itself.
	State = member.State
	// Meta is what a member tells all others.
	Meta = member.Meta
)

const (
	// RoleNode holds sessions and serves them.
	RoleNode = member.RoleNode
	// RoleRouter holds nothing; it knows the ring and passes requests on.
	RoleRouter = member.RoleRouter

	// StateJoining members take part but own nothing yet.
	StateJoining = member.StateJoining
	// StateReady members own partitions.
	StateReady = member.StateReady
	// StateLeaving members own none, and hand over what they hold.
	StateLeaving = member.StateLeaving
)

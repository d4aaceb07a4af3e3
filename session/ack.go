package session

import "fmt"

// Ack says how many copies a write waits for before it is answered.
type Ack int8

const (
	// AckDefault leaves the choice to the node's configuration.
	AckDefault Ack = iota
	// AckAsync answers when the owner has the write; successors follow within
	// the replication lag.
	AckAsync
	// AckReplica answers when one successor has it too, so that the loss of
	// the owner at any moment loses nothing that was answered.
	AckReplica
	// AckAll answers when every successor has it.
	AckAll
)

var ackNames = [...]string{"", "async", "replica", "all"}

// String returns the name that [ParseAck] takes.
func (a Ack) String() string {
	if a < 0 || int(a) >= len(ackNames) {
		return fmt.Sprintf("ack(%d)", int8(a))
	}
	return ackNames[a]
}

// ParseAck reads the value of -ack and of the Holdfast-Ack header. The empty
// string is [AckDefault].
func ParseAck(s string) (Ack, error) {
	for i, name := range ackNames {
		if s == name {
			return Ack(i), nil
		}
	}
	return 0, fmt.Errorf("ack %q: not one of async, replica, all", s)
}

// Copies returns how many of a partition's successors must have a write.
func (a Ack) Copies(successors int) int {
	switch a {
	case AckReplica:
		return min(1, successors)
	case AckAll:
		return successors
	default:
		return 0
	}
}

package node

import (
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/network"
)

// Network makes every connection of a member. Tests put a network of their own in
// its place, with delays, cuts and losses.
type Network = network.Network

// Refused says whether a dial failed because the host answered that no process
// listens there: the sign that a member is gone, not merely silent.
func Refused(err error) bool { return mesh.Refused(err) }

// cannotListen says what to do about an address, or the path of a Unix socket,
// that the named field has asked for and that could not be opened.
func cannotListen(kind, field, address string, err error) error {
	return &FieldError{Field: field, Value: address, Reason: fmt.Sprintf("cannot listen there: %v; %s", err, network.Hint(kind, err)), Err: err}
}

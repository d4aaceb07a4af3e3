package member

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// ID is one boot of one member. A process that is killed and back within a
// second fires no gossip event, yet it is empty; so each boot is a member of
// its own, and only the ring goes by the name alone.
type ID struct {
	Name string
	// Boot is the start of the process in unix milliseconds, 12 hex digits,
	// and 16 random ones: a later boot has the larger string.
	Boot string
}

// NewID names a process that starts now.
func NewID(name string, now time.Time) ID {
	if planted.Is(planted.BootIgnored) {
		return ID{name, "00000000000000000000"}
	}
	var random [8]byte
	rand.Read(random[:])
	return ID{name, fmt.Sprintf("%012x%s", now.UnixMilli(), hex.EncodeToString(random[:]))}
}

// String is the name that gossip knows the boot by.
func (id ID) String() string { return id.Name + "~" + id.Boot }

// namePattern is what the name of a member or of a cluster looks like.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?$`)

// ValidName says whether a member, or a cluster, can have a name: 1 to 64
// letters, digits, dots, underscores and hyphens, none of the last three at an
// end.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// Compare orders boots by their names, and those of one name by their start.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Name, other.Name), cmp.Compare(id.Boot, other.Boot))
}

// ParseID reads what [ID.String] gives.
func ParseID(s string) (ID, error) {
	name, boot, ok := strings.Cut(s, "~")
	if !ok || !ValidName(name) || boot == "" {
		return ID{}, fmt.Errorf("gossip name %q: must be <name>~<boot>", s)
	}
	return ID{name, boot}, nil
}

// Role says what a member does in the cluster.
type Role string

const (
	// RoleNode holds sessions and serves them.
	RoleNode Role = "node"
	// RoleRouter holds nothing; it knows the ring and passes requests on.
	RoleRouter Role = "router"
)

// State is what a member says of itself. It only goes forward.
type State byte

const (
	// StateJoining members take part but own nothing yet.
	StateJoining State = iota + 1
	// StateReady members own partitions.
	StateReady
	// StateLeaving members own none, and hand over what they hold.
	StateLeaving
)

func (s State) String() string {
	switch s {
	case StateJoining:
		return "joining"
	case StateReady:
		return "ready"
	case StateLeaving:
		return "leaving"
	default:
		return fmt.Sprintf("state(%d)", byte(s))
	}
}

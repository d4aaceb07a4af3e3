package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Wire is the version of what members send each other. Members of
// different versions refuse each other.
const Wire = 6

// Meta is what a member tells all others through gossip.
type Meta struct {
	Role  Role
	State State
	// AppDown says that the application beside the member does not answer.
	AppDown bool
	Pid     int
	Zone    string
	HTTP    string
	Admin   string
	RESP    string
	Peer    string
	Params  string // what must agree, as ring.Params.String gives it
	// Secret is the tag of the secret that signs the member's cookies,
	// SecretTagSize bytes; empty if it gives users none.
	Secret string
}

// SecretTagSize is enough to tell secrets apart, and too little to tell
// anything of them.
const SecretTagSize = 4

// MaxMeta bounds the encoded metadata, in bytes: memberlist's MetaMaxSize.
const MaxMeta = 512

const flagAppDown byte = 1

var errMeta = errors.New("malformed metadata")

// Encode writes the metadata: version, role, state and flags in one byte each,
// the pid as uvarint, then each string behind its length in one byte.
func (m Meta) Encode() ([]byte, error) {
	role := byte('n')
	if m.Role == RoleRouter {
		role = 'r'
	}
	flags := byte(0)
	if m.AppDown {
		flags |= flagAppDown
	}
	b := []byte{Wire, role, byte(m.State), flags}
	b = binary.AppendUvarint(b, uint64(m.Pid))
	for _, s := range []string{m.Zone, m.HTTP, m.Admin, m.RESP, m.Peer, m.Params, m.Secret} {
		if len(s) > 255 {
			return nil, fmt.Errorf("metadata: %q has %d bytes, accepted are 255", s, len(s))
		}
		b = append(append(b, byte(len(s))), s...)
	}
	if len(b) > MaxMeta {
		return nil, fmt.Errorf("metadata: %d bytes, accepted are %d: give shorter addresses or zone", len(b), MaxMeta)
	}
	return b, nil
}

// DecodeMeta reads what Encode wrote; anything else is an error.
func DecodeMeta(b []byte) (Meta, error) {
	var m Meta
	if len(b) < 5 {
		return m, fmt.Errorf("%d bytes: %w", len(b), errMeta)
	}
	if b[0] != Wire {
		return m, fmt.Errorf("wire version %d differs from this member's %d", b[0], Wire)
	}
	switch b[1] {
	case 'n':
		m.Role = RoleNode
	case 'r':
		m.Role = RoleRouter
	default:
		return m, fmt.Errorf("role %#x: %w", b[1], errMeta)
	}
	m.State = State(b[2])
	if m.State < StateJoining || m.State > StateLeaving {
		return m, fmt.Errorf("state %d: %w", b[2], errMeta)
	}
	if b[3]&^flagAppDown != 0 {
		return m, fmt.Errorf("flags %#x: %w", b[3], errMeta)
	}
	m.AppDown = b[3]&flagAppDown != 0
	pid, n := binary.Uvarint(b[4:])
	if n <= 0 || pid > 1<<31 {
		return m, fmt.Errorf("pid: %w", errMeta)
	}
	m.Pid = int(pid)
	b = b[4+n:]
	for _, s := range []*string{&m.Zone, &m.HTTP, &m.Admin, &m.RESP, &m.Peer, &m.Params, &m.Secret} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return m, fmt.Errorf("cut short: %w", errMeta)
		}
		*s = string(b[1 : 1+int(b[0])])
		b = b[1+int(b[0]):]
	}
	if n := len(m.Secret); n != 0 && n != SecretTagSize {
		return m, fmt.Errorf("secret tag of %d bytes: %w", n, errMeta)
	}
	if len(b) > 0 {
		return m, fmt.Errorf("%d bytes too many: %w", len(b), errMeta)
	}
	return m, nil
}

// CheckParams compares what must agree over the cluster and names the first
// parameter that does not, with both values.
func CheckParams(ours, theirs, who string) error {
	if ours == theirs {
		return nil
	}
	mine, other := strings.Fields(ours), strings.Fields(theirs)
	for i := range min(len(mine), len(other)) {
		if mine[i] != other[i] {
			return fmt.Errorf("parameters differ: %s here, %s at %s: all members must have the same", mine[i], other[i], who)
		}
	}
	return fmt.Errorf("parameters differ: %q here, %q at %s: all members must have the same", ours, theirs, who)
}

// IsMismatch says whether a join failed because this member does not fit into
// the cluster, which waiting does not mend: CheckParams or DecodeMeta said so
// there. memberlist passes errors on as text.
func IsMismatch(err error) bool {
	return strings.Contains(err.Error(), "parameters differ") || strings.Contains(err.Error(), "wire version")
}

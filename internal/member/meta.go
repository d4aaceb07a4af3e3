package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/ring"
)

// A member states which versions of the messages between members it speaks.
// Two members go together if their ranges meet: see CheckWire.
const (
	// WireOldest is the oldest version that this build speaks, Wire the newest.
	WireOldest = 6

	// WireRosters is the first version with mesh.TypePropose and
	// mesh.TypeGivenUp. Who speaks an older one ends a connection that brings
	// them.
	WireRosters = 7

	// WirePlacement is the first version whose rings count weights and zones.
	WirePlacement = 7
	// WireWords is the first version that reads ownership.Whole, Partial and
	// Behind.
	WireWords = 7
	// WireUnfit is the first version that knows of Meta.Unfit.
	WireUnfit = 7
	// WireRelays is the first version with mesh.TypeRelay.
	WireRelays = 7
	// WireMoved is the first version that says of a tombstone where a rotation
	// has moved the session (session.Record.AppendMoved), and in an answer to
	// who asks for it. Who speaks an older one cannot read the rest of a batch
	// behind such a record.
	WireMoved = 7
	// WireParams is the first version that follows the parameters of the ring
	// which another member states.
	WireParams = 7
	// WireListPages is the first version with replication.TypeListPage.
	WireListPages = 7
)

// CheckWire says whether this build speaks a version that is in a range from
// oldest to newest. Its error has both ranges.
func CheckWire(oldest, newest int) error {
	if oldest > Wire || newest < WireOldest {
		return fmt.Errorf("wire version %s there, %s here: run versions that go together", wires(oldest, newest), wires(WireOldest, Wire))
	}
	return nil
}

func wires(oldest, newest int) string {
	if oldest == newest {
		return strconv.Itoa(newest)
	}
	return fmt.Sprintf("%d to %d", oldest, newest)
}

// Meta is what a member tells all others through gossip.
type Meta struct {
	Role  Role
	State State
	// AppDown says that the member's sidecar application does not answer.
	AppDown bool
	// Unfit says that the member takes part, and owns nothing until what is
	// wrong with it has passed: its clock is off, say.
	Unfit bool
	// Keeps says that the member has sessions from its disk, which nobody has
	// asked it for before it has its place on the ring.
	Keeps bool
	// Waits says that it founds no cluster yet: it waits for nodes that were there
	// when it last ran.
	Waits  bool
	Pid    int
	Zone   string
	Weight int // on the ring, in hundredths; 0 if it states none
	HTTP   string
	Admin  string
	RESP   string
	Peer   string
	// Params are the parameters by which the member places partitions, as
	// ring.Params.String gives them.
	Params string
	// Wants are those that its operator has asked for, zero for none.
	Wants ring.Params
	// Secret is the tag of the secret that signs the member's cookies,
	// SecretTagSize bytes; empty if it gives users none.
	Secret string
	// Mode is what a node does in a cut network, as ownership.Mode; empty for a
	// router, and for a member that is too old to say.
	Mode string
	// Older is the newest wire version that the member speaks where that is
	// older than this build's; else 0.
	Older int
}

// Speaks says whether the member speaks a wire version that this build does.
func (m *Meta) Speaks(version int) bool { return m.Older == 0 || m.Older >= version }

// SecretTagSize is enough to tell secrets apart, and too little to tell
// anything of them.
const SecretTagSize = 4

// MaxMeta bounds the encoded metadata, in bytes: memberlist's MetaMaxSize.
const MaxMeta = 512

const (
	flagAppDown byte = 1 << iota
	flagUnfit
	flagKeeps
	flagWaits
)

var errMeta = errors.New("malformed metadata")

// Types of metadata's sections. They are part of the wire format: a number is
// never used again for something else.
const (
	metaOldest byte = 1 + iota // u8, the oldest wire version; that of the first byte if missing
	metaRole                   // u8
	metaState                  // u8
	metaFlags                  // u8
	metaPid                    // uvarint
	metaZone
	metaHTTP
	metaAdmin
	metaRESP
	metaPeer
	metaParams
	metaSecret
	metaWeight // uvarint; 100 if missing
	metaWants  // parameters of the ring, as ring.Params.Given writes them
	metaMode   // a letter: see modes
)

var modes = map[byte]string{'a': "available", 'm': "majority"}

var roles = map[byte]Role{'n': RoleNode, 'r': RoleRouter}

// texts are the sections of m that are texts.
func (m *Meta) texts() map[byte]*string {
	return map[byte]*string{
		metaZone: &m.Zone, metaHTTP: &m.HTTP, metaAdmin: &m.Admin, metaRESP: &m.RESP, metaPeer: &m.Peer, metaParams: &m.Params, metaSecret: &m.Secret,
	}
}

// Encode writes the metadata: the newest wire version in one byte, then
// sections, each of them
//
//	u8 type | u8 length | bytes
//
// A reader skips those that it does not know. A text that is empty is missing.
func (m Meta) Encode() ([]byte, error) {
	role, flags := byte('n'), byte(0)
	if m.Role == RoleRouter {
		role = 'r'
	}
	if m.AppDown {
		flags |= flagAppDown
	}
	if m.Unfit {
		flags |= flagUnfit
	}
	if m.Keeps {
		flags |= flagKeeps
	}
	if m.Waits {
		flags |= flagWaits
	}
	b := []byte{Wire, metaOldest, 1, WireOldest, metaRole, 1, role, metaState, 1, byte(m.State), metaFlags, 1, flags}
	pid := binary.AppendUvarint(nil, uint64(m.Pid))
	b = append(append(b, metaPid, byte(len(pid))), pid...)
	if m.Weight != 0 {
		weight := binary.AppendUvarint(nil, uint64(m.Weight))
		b = append(append(b, metaWeight, byte(len(weight))), weight...)
	}
	if given := m.Wants.Given(); given != "" {
		b = append(append(b, metaWants, byte(len(given))), given...)
	}
	for letter, mode := range modes {
		if m.Mode == mode {
			b = append(b, metaMode, 1, letter)
		}
	}
	b = append(b, nextMeta...)
	texts := m.texts()
	for typ := metaZone; typ <= metaSecret; typ++ {
		s := *texts[typ]
		if len(s) > 255 {
			return nil, fmt.Errorf("metadata: %q has %d bytes, accepted are 255", s, len(s))
		}
		if s != "" {
			b = append(append(b, typ, byte(len(s))), s...)
		}
	}
	if len(b) > MaxMeta {
		return nil, fmt.Errorf("metadata: %d bytes, accepted are %d: give shorter addresses or zone", len(b), MaxMeta)
	}
	return b, nil
}

// DecodeMeta reads what Encode of this build, or of one that it can speak with,
// has written.
func DecodeMeta(b []byte) (Meta, error) {
	var m Meta
	if len(b) == 0 {
		return m, fmt.Errorf("no bytes: %w", errMeta)
	}
	newest := int(b[0])
	if newest < WireOldest {
		return m, CheckWire(newest, newest) // what it says beside that may be written otherwise
	}
	sections, err := readSections(b[1:])
	if err != nil {
		return m, err
	}
	oldest := newest
	if b, ok := sections[metaOldest]; ok && len(b) == 1 {
		oldest = int(b[0])
	}
	if err := CheckWire(oldest, newest); err != nil {
		return m, err
	}
	if newest < Wire {
		m.Older = newest
	}
	err = m.read(sections)
	return m, err
}

func readSections(b []byte) (map[byte][]byte, error) {
	sections := make(map[byte][]byte)
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return nil, fmt.Errorf("cut short: %w", errMeta)
		}
		if _, twice := sections[b[0]]; twice {
			return nil, fmt.Errorf("section %d twice: %w", b[0], errMeta)
		}
		sections[b[0]] = b[2 : 2+int(b[1])]
		b = b[2+int(b[1]):]
	}
	return sections, nil
}

// read takes in the sections that are known here.
func (m *Meta) read(sections map[byte][]byte) error {
	one := func(typ byte) byte {
		if b := sections[typ]; len(b) == 1 {
			return b[0]
		}
		return 0
	}
	m.Role = roles[one(metaRole)]
	m.State = State(one(metaState))
	switch {
	case m.Role == "":
		return fmt.Errorf("role %#x: %w", one(metaRole), errMeta)
	case m.State < StateJoining || m.State > StateLeaving:
		return fmt.Errorf("state %d: %w", m.State, errMeta)
	}
	m.AppDown = one(metaFlags)&flagAppDown != 0
	m.Unfit = one(metaFlags)&flagUnfit != 0
	m.Keeps, m.Waits = one(metaFlags)&flagKeeps != 0, one(metaFlags)&flagWaits != 0
	m.Mode = modes[one(metaMode)] // a mode that is not known here is none that could be compared
	pid, n := binary.Uvarint(sections[metaPid])
	if n != len(sections[metaPid]) || pid > 1<<31 {
		return fmt.Errorf("pid: %w", errMeta)
	}
	m.Pid = int(pid)
	weight, n := binary.Uvarint(sections[metaWeight])
	if n != len(sections[metaWeight]) || weight != 0 && (weight < ring.LeastWeight || weight > ring.MostWeight) {
		return fmt.Errorf("weight: %w", errMeta)
	}
	m.Weight = int(weight)
	for typ, text := range m.texts() {
		*text = string(sections[typ])
	}
	wants, err := ring.ParseParams(string(sections[metaWants]))
	if err != nil {
		return fmt.Errorf("wants: %w", err)
	}
	m.Wants = wants
	if n := len(m.Secret); n != 0 && n != SecretTagSize {
		return fmt.Errorf("secret tag of %d bytes: %w", n, errMeta)
	}
	return nil
}

// IsMismatch says whether a join failed because this member does not fit into
// the cluster, which waiting does not mend: CheckParams or DecodeMeta said so
// at the other member. memberlist passes errors on as text.
func IsMismatch(err error) bool {
	return strings.Contains(err.Error(), "parameters differ") || strings.Contains(err.Error(), "wire version")
}

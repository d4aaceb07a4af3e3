package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/peer"
)

// Section is one part of each heartbeat, and belongs to the package that
// registers it. A heartbeat, as question and as answer, is its sections:
//
//	u8 type | u16 length | bytes …
//
// A section of a type that is not known here is skipped. One that is missing is
// heard as nil bytes, and has the meaning that its package gives to that: so
// members of different versions understand each other.
type Section struct {
	Type byte
	// Ask returns what a question says, whoever is asked.
	Ask func() []byte
	// Asked hears a question, and returns what the answer says.
	Asked func(from member.ID, question []byte) (answer []byte, err error)
	// Answered hears the answer of a question that was sent at a time since the
	// process's start.
	Answered func(from member.ID, sent time.Duration, answer []byte) error
	// Lost says that the connection to a boot is gone; nil for a section that
	// does not mind.
	Lost func(from member.ID)
}

// Types of sections. They are part of the wire format: a number is never used
// again for something else.
const (
	SectionState   byte = 1 + iota // internal/membership: what a member says of itself
	SectionClock                   // internal/mesh
	SectionRing                    // internal/mesh: the fingerprint of its ring
	SectionClaims                  // internal/owner: claims in force, and leases
	SectionPubsub                  // internal/pubsub: whether there are subscribers
	SectionRoom                    // internal/repair: whether there is room for copies
	SectionRoster                  // internal/owner: who counts in mode majority
	SectionHost                    // internal/mesh: what the host's clock says
	SectionCensus                  // internal/census: how many sessions there are, and who is missing
	SectionAbsence                 // internal/absence: since when a node knows all ends of sessions
	SectionDoubts                  // internal/owner: of what a node serves it may not have all
)

// Tell makes a section that says the same in questions and answers.
func Tell(typ byte, say func() []byte, heard func(from member.ID, said []byte) error) Section {
	return Section{
		Type: typ,
		Ask:  say,
		Asked: func(from member.ID, said []byte) ([]byte, error) {
			err := heard(from, said)
			return say(), err
		},
		Answered: func(from member.ID, _ time.Duration, said []byte) error { return heard(from, said) },
	}
}

// MaxQuestion bounds the question of a heartbeat, in bytes.
const MaxQuestion = 1024

var (
	errHeartbeat = errors.New("malformed heartbeat")

	order = binary.BigEndian
)

// question is a heartbeat as it is sent.
func (m *Mesh) question() []byte {
	var b []byte
	for _, s := range m.sections {
		b = appendSection(b, s.Type, s.Ask())
	}
	return b
}

// maxSection is the longest that a section may be.
const maxSection = 1<<16 - 1

func appendSection(b []byte, typ byte, said []byte) []byte {
	if said == nil || len(said) > maxSection {
		return b
	}
	b = order.AppendUint16(append(b, typ), uint16(len(said)))
	return append(b, said...)
}

// readSections returns the bytes of each section by its type.
func readSections(b []byte) (map[byte][]byte, error) {
	sections := make(map[byte][]byte)
	for len(b) > 0 {
		if len(b) < 3 || len(b) < 3+int(order.Uint16(b[1:])) {
			return nil, fmt.Errorf("%d bytes left: %w", len(b), errHeartbeat)
		}
		end := 3 + int(order.Uint16(b[1:]))
		if _, twice := sections[b[0]]; twice {
			return nil, fmt.Errorf("section %d twice: %w", b[0], errHeartbeat)
		}
		sections[b[0]] = b[3:end:end]
		b = b[end:]
	}
	return sections, nil
}

// answer answers a heartbeat.
func (m *Mesh) answer(from member.ID, question []byte) ([]byte, error) {
	said, err := readSections(question)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, s := range m.sections {
		answer, err := s.Asked(from, said[s.Type])
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", s.Type, err)
		}
		b = appendSection(b, s.Type, answer)
	}
	return b, nil
}

// answered hears the answer to a heartbeat.
func (m *Mesh) answered(from member.ID, sent time.Duration, answer []byte) error {
	said, err := readSections(answer)
	if err != nil {
		return err
	}
	for _, s := range m.sections {
		if err := s.Answered(from, sent, said[s.Type]); err != nil {
			return fmt.Errorf("section %d: %w", s.Type, err)
		}
	}
	return nil
}

// Serve implements peer.Handler.
func (m *Mesh) Serve(r *peer.Request) {
	switch r.Type {
	case TypeRelay:
		m.passOn(r)
	case TypeRelayed:
		m.deliver(r)
	case TypeBeat:
		if l := m.Link(member.ID{Name: r.From.Name, Boot: r.From.Boot}); l != nil {
			l.asked.Store(int64(max(m.cfg.Clock.Since(), 1)))
		}
		m.serve(r)
	default:
		m.serve(r)
	}
}

// serve answers a request, on whatever way it has come.
func (m *Mesh) serve(r *peer.Request) {
	if r.Type != TypeBeat {
		m.cfg.Handler.Serve(r)
		return
	}
	b, err := m.answer(member.ID{Name: r.From.Name, Boot: r.From.Boot}, r.Payload)
	if err != nil {
		r.Fail(err)
		return
	}
	r.Reply(b)
}

// ClockSection lets members know how far their clocks are apart.
func (m *Mesh) ClockSection() Section {
	return Section{
		Type: SectionClock,
		Ask:  func() []byte { return nil },
		Asked: func(member.ID, []byte) ([]byte, error) {
			return order.AppendUint64(nil, uint64(m.cfg.Clock.Now().UnixMilli())), nil
		},
		Answered: func(from member.ID, sent time.Duration, said []byte) error {
			if len(said) == 0 {
				return nil // a version that does not say; its clock counts as right
			}
			if len(said) != 8 {
				return fmt.Errorf("clock of %d bytes: %w", len(said), errHeartbeat)
			}
			if l := m.Link(from); l != nil {
				l.readClock(time.UnixMilli(int64(order.Uint64(said))), m.cfg.Clock.Since()-sent)
			}
			return nil
		},
	}
}

// HostSection tells others how far the clock of this member's host is ahead of
// the time that it goes by, in ms; see clock.Wall.
func (m *Mesh) HostSection() Section {
	return Section{
		Type: SectionHost,
		Ask:  func() []byte { return nil },
		Asked: func(member.ID, []byte) ([]byte, error) {
			return order.AppendUint64(nil, uint64(m.cfg.HostAhead().Milliseconds())), nil
		},
		Answered: func(from member.ID, _ time.Duration, said []byte) error {
			if len(said) == 0 {
				return nil // a version that goes by its host's clock
			}
			if len(said) != 8 {
				return fmt.Errorf("host's clock of %d bytes, 8 are accepted: %w", len(said), errHeartbeat)
			}
			if l := m.Link(from); l != nil {
				l.hostAhead.Store(int64(time.Duration(int64(order.Uint64(said))) * time.Millisecond))
			}
			return nil
		},
	}
}

// goodReading is the longest round trip by which a clock is read well enough to
// judge one's own by it.
const goodReading = 400 * time.Millisecond

// HostClocks returns how far the clocks of the other nodes' hosts are ahead of
// this member's time, as read in the last few seconds: of those that serve, or,
// if none does, of all. One that does not may be out of service for its clock.
func (m *Mesh) HostClocks() (ahead []time.Duration, serving bool) {
	view, now := m.cfg.Members.View(), m.cfg.Clock.Since()
	for _, l := range m.Links() {
		who, readAt := view.Member(l.id), time.Duration(l.readAt.Load())
		if who == nil || !who.Up || readAt == 0 || now-readAt > readingLasts || l.RoundTrip() > goodReading {
			continue
		}
		if !serving && who.Serves() {
			ahead, serving = nil, true
		}
		if who.Serves() == serving {
			ahead = append(ahead, l.ClockOffset()+l.HostAhead())
		}
	}
	return ahead, serving
}

// RingSection lets members know each other's ring. Rings that stay different
// for over a second are the mark of partial views: a join exchanges them whole.
func (m *Mesh) RingSection() Section {
	say := func() []byte { return []byte(m.cfg.Members.View().Table.Fingerprint()) }
	return Tell(SectionRing, say, func(from member.ID, said []byte) error {
		if len(said) == 0 {
			return nil // a version that does not say
		}
		if l := m.Link(from); l != nil && l.setRing(string(said), string(say())) {
			m.cfg.Members.Mend(from)
		}
		return nil
	})
}

// differsFor is for how long rings may differ before members are exchanged.
const differsFor = time.Second

// setRing takes in the fingerprint of the peer's ring, and says whether it has
// differed from ours for too long.
func (l *Link) setRing(theirs, ours string) (mend bool) {
	now := l.mesh.cfg.Clock.Since()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring = theirs
	switch {
	case theirs == ours:
		l.differs = 0
	case l.differs == 0:
		l.differs = max(now, 1)
	case now-l.differs > differsFor:
		l.differs = now
		return true
	}
	return false
}

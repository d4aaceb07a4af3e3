package owner

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// Section gives the owner its links, and returns its section of their
// heartbeats, which tells members of each other's claims and gives leases:
//
//	question: u64 hash of the claims that the asker knows
//	answer:   u8 1 for a lease | the claims known here, if their hash differs
//
// Each question must have it: who asks says what it knows. An answer without it
// gives no lease.
func (o *Owner) Section(m *mesh.Mesh) mesh.Section {
	o.mesh = m
	return mesh.Section{
		Type: mesh.SectionClaims,
		Ask:  func() []byte { return binary.BigEndian.AppendUint64(nil, o.gate.ClaimsHash()) },
		Asked: func(from member.ID, said []byte) ([]byte, error) {
			if len(said) != 8 {
				return nil, fmt.Errorf("%d bytes of claims, 8 are accepted", len(said))
			}
			return o.answer(from, binary.BigEndian.Uint64(said)), nil
		},
		Answered: o.answered,
	}
}

// DoubtSection is the owner's section of heartbeats that says of which partitions
// it serves a member may not have all, as ownership.Core.Doubts gives them;
// missing, if it has all. It comes behind that of Section, by which it is known
// what the member serves.
func (o *Owner) DoubtSection() mesh.Section {
	return mesh.Tell(mesh.SectionDoubts, func() (bits []byte) {
		o.Look(func(core *ownership.Core, _ time.Duration) { bits = core.Doubts() })
		return bits
	}, func(from member.ID, bits []byte) (err error) {
		o.Look(func(core *ownership.Core, _ time.Duration) { err = core.HearDoubts(from, bits) })
		return err
	})
}

// ringOf is the fingerprint of a member's ring, which its heartbeat has said
// before this section.
func (o *Owner) ringOf(id member.ID) string {
	if l := o.mesh.Link(id); l != nil {
		return l.Ring()
	}
	return ""
}

const lease = 1

// answer is what the heartbeat of a member is answered that knows claims with a
// hash.
func (o *Owner) answer(from member.ID, hash uint64) []byte {
	b := []byte{0}
	ring := o.ringOf(from)
	var claims *ownership.Table
	o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		leased, differ, todo := core.Pinged(now, from, ring, hash)
		if leased {
			b[0] = lease
		}
		if differ {
			claims = core.Claims()
		}
		return todo
	})
	if claims != nil {
		b = append(b, claims.Encode()...)
	}
	return b
}

// answered takes in such an answer: first what it says, then the lease.
func (o *Owner) answered(from member.ID, sent time.Duration, said []byte) (err error) {
	leased := len(said) > 0 && said[0]&lease != 0
	var claims *ownership.Table
	if len(said) > 1 {
		if claims, err = ownership.DecodeTable(said[1:]); err != nil {
			return err
		}
	}
	link := o.mesh.Link(from)
	if link != nil && leased {
		link.SetHeard(sent)
	}
	ring := o.ringOf(from)
	todo := o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		if link != nil && link.Passes() {
			core.Reached(sent, from)
		}
		return core.Ponged(now, sent, from, ring, claims, leased)
	})
	if todo.Succeeded > 0 {
		o.cfg.Log.Warn("succeeded by others while out of touch", "partitions", todo.Succeeded, "told_by", from)
		o.cfg.Events.Add("succeeded", "partitions", todo.Succeeded, "told_by", from.Name)
	}
	if claims != nil {
		o.cfg.Pulse.Beat()
	}
	return nil
}

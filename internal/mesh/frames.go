package mesh

import (
	"github.com/seed-95a32959/holdfast/internal/peer"
)

// Frame types of the peer link beside replication's. They are part of the wire
// format: a number is never used again for something else.
const (
	// TypeBeat is the heartbeat.
	TypeBeat byte = 0x01 + iota
	// TypeRequest forwards an operation or a batch of commands.
	TypeRequest
	// TypeClaim claims partitions.
	TypeClaim
	// TypeHolds asks what is held of one key.
	TypeHolds
	// TypePublish brings messages to subscribers.
	TypePublish
	// TypeWait asks for copies of what was written.
	TypeWait
	// TypePropose asks electors for the next roster.
	TypePropose
	// TypeGivenUp says that nothing comes of a claim.
	TypeGivenUp
	// TypeRelay asks a third member to pass a request on, and TypeRelayed is
	// what it passes on.
	TypeRelay
	TypeRelayed
)

// Frame types that operators' pages ask with. Their answers are JSON: they are
// few, and fields come and go.
const (
	TypeStats byte = 0x40 + iota
	// TypeEvents asks for the event log: u64 of the last event that is known.
	TypeEvents
	// TypeForget says that a member that is missing is expected no more: its
	// name. The answer is not JSON: see internal/door/admin.
	TypeForget
)

// Answer gives a request its reply, or its failure.
func Answer(r *peer.Request) func([]byte, error) {
	return func(b []byte, err error) {
		if err != nil {
			r.Fail(err)
			return
		}
		r.Reply(b)
	}
}

// AtOnce runs f here if it waits for nothing, otherwise apart. The reading
// goroutine never waits for a partition that an operation holds, or the
// heartbeats behind would, and with them every lease that they bring.
func (m *Mesh) AtOnce(r *peer.Request, free bool, f func()) {
	if free {
		f()
	} else if !m.Apart(f) {
		r.Fail(ErrBusy)
	}
}

package explore

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// appendTo appends all that what may happen in a World from now on depends on,
// in one form for all Worlds that are alike: times are ages, up to where they
// make no difference; boots are counted from the newest one of their name; the
// order in which messages were sent is left out.
//
// Members are not exchanged for each other, though three of them look alike:
// the ring ranks them, and claims of one epoch go by name.
func (w *World) appendTo(b []byte) []byte {
	for _, i := range w.members() {
		p := w.procs[i]
		if p.encoded == nil {
			p.encoded = w.appendProc(make([]byte, 0, 256), p)
		}
		b = append(append(b, p.encoded...), 0xfe)
	}
	b = append(append(b, w.stalled[:]...), w.parted[:]...)
	if w.stalled != [maxMembers]uint8{} {
		b = appendAge(b, w.now-w.stalledAt, w.cfg.Gossip)
	}
	b = append(b, byte(w.writes))
	for part := range w.cfg.Partitions {
		for _, set := range [...]uint16{w.must[part], w.aside[part], w.uncopied[part], w.late[part]} {
			b = binary.BigEndian.AppendUint16(b, set)
		}
	}
	msgs := make([][]byte, len(w.msgs))
	for k, m := range w.msgs {
		msgs[k] = w.appendMessage(make([]byte, 0, 64), m)
	}
	slices.SortFunc(msgs, bytes.Compare)
	for _, m := range msgs {
		b = append(append(b, m...), 0xfd)
	}
	return b
}

func (w *World) appendWho(b []byte, x who) []byte {
	return append(b, x.name, w.procs[x.name].boot-x.boot)
}

func (w *World) appendID(b []byte, id member.ID) []byte {
	if id.Name == "" {
		return append(b, 0xff)
	}
	return w.appendWho(b, whoIs(id))
}

func appendAge(b []byte, age, most time.Duration) []byte {
	return binary.AppendUvarint(b, uint64(min(age, most)/time.Millisecond))
}

func flags(all ...bool) (b byte) {
	for i, yes := range all {
		if yes {
			b |= 1 << i
		}
	}
	return b
}

func (w *World) appendProc(b []byte, p *proc) []byte {
	b = append(b, flags(p.up, p.left, p.frozen, p.gap, p.wants, p.boot == 0, p.asking != 0))
	b = appendAge(b, w.now-p.ended, anewTime)
	if !p.up {
		return b
	}
	b = append(b, byte(p.state), p.open, byte(p.lacked[0]), byte(p.lacked[1]), p.busy, p.due, flags(p.early))
	b = appendAge(b, w.now-p.opened, beatTimeout)
	for part := range w.cfg.Partitions {
		b = binary.BigEndian.AppendUint16(b, p.store[part])
	}
	if p.frozen {
		b = appendAge(b, w.now-p.stopped, max(w.cfg.Gossip, gapLimit))
	}
	if p.state == member.StateJoining {
		b = append(appendAge(b, w.now-p.started, enterWait), p.heard)
	}
	if p.asking != 0 {
		b = appendAge(b, w.now-p.asking, askTime)
	}
	for _, j := range w.members() {
		s := p.sees[j]
		if b = append(b, byte(s.standing)); s.standing != unknown {
			b = append(b, byte(s.state), w.procs[j].boot-s.boot)
		}
	}
	for _, r := range p.rounds {
		b = w.appendRound(b, r)
	}
	if r := p.proposal; r != nil {
		b = appendAge(w.appendProposal(append(b, 0xf9), r.Proposal), w.now-r.began, ownership.ClaimTimeout)
		for _, v := range r.votes {
			if v == nil {
				b = append(b, 0)
				continue
			}
			b = w.appendVote(append(b, 1), *v)
		}
	}
	for _, x := range p.waiting {
		b = binary.AppendUvarint(append(b, 0xfc, byte(x.part)), x.epoch)
		b = appendAge(binary.BigEndian.AppendUint16(b, x.set), w.now-x.since, confirmTime)
	}
	return p.core.AppendState(append(b, 0xfb), w.now, w.appendID)
}

func (w *World) appendRound(b []byte, r *round) []byte {
	b = appendAge(binary.AppendUvarint(append(b, 0xfa), r.Epoch), w.now-r.began, settleLimit+time.Millisecond)
	b = w.appendRequest(b, r.Request)
	for _, a := range r.answers {
		b = w.appendAnswers(b, a)
	}
	return b
}

func (w *World) appendRequest(b []byte, r ownership.Request) []byte {
	b = append(binary.AppendUvarint(b, r.Epoch), r.Ring[:8]...)
	for _, id := range r.Asked {
		b = w.appendID(b, id)
	}
	for _, part := range r.Parts {
		b = append(b, 0xf0|byte(part))
	}
	return b
}

// appendAnswers leaves out how long ago a copy was handed over: that it was so
// lately is in the status, and the rest decides what is unverified.
func (w *World) appendAnswers(b []byte, answers []ownership.Answer) []byte {
	b = append(b, byte(len(answers)))
	for _, a := range answers {
		b = binary.AppendUvarint(append(b, byte(a.Status)), a.Epoch)
		id, _ := member.ParseID(a.Claimant)
		b = binary.AppendUvarint(w.appendID(b, id), a.Digest)
	}
	return b
}

func (w *World) appendRoster(b []byte, r ownership.Roster) []byte {
	b = binary.AppendUvarint(b, r.Version)
	for _, id := range r.Electors {
		b = w.appendID(b, id)
	}
	return b
}

func (w *World) appendBallot(b []byte, x ownership.Ballot) []byte {
	return w.appendID(binary.AppendUvarint(b, x.Round), x.By)
}

func (w *World) appendProposal(b []byte, p *ownership.Proposal) []byte {
	return w.appendRoster(w.appendBallot(append(binary.AppendUvarint(b, p.Version), byte(p.Step)), p.Ballot), p.Roster)
}

func (w *World) appendVote(b []byte, v ownership.Vote) []byte {
	b = w.appendBallot(w.appendBallot(append(b, flags(v.Yes)), v.Promised), v.By)
	return w.appendRoster(b, v.Accepted)
}

func (w *World) appendMessage(b []byte, m *message) []byte {
	b = w.appendWho(w.appendWho(append(b, byte(m.kind)), m.from), m.to)
	switch m.kind {
	case ping:
		b = binary.BigEndian.AppendUint64(append(appendAge(b, w.now-m.at, beatTimeout+time.Millisecond), m.ring[:8]...), m.hash)
		b = binary.AppendUvarint(b, m.roster)
	case pong:
		b = append(append(appendAge(b, w.now-m.at, beatTimeout+time.Millisecond), m.ring[:8]...), flags(m.lease, m.claims != nil))
		b = w.appendRoster(w.appendRoster(binary.AppendUvarint(b, m.roster), m.known.Now), m.known.Before)
		for _, c := range m.claims {
			b = w.appendID(binary.AppendUvarint(b, c.Epoch), c.By)
		}
	case claim:
		b = w.appendRequest(b, m.request)
	case over:
		b = binary.AppendUvarint(b, m.over.Epoch)
		for _, part := range m.over.Parts {
			b = append(b, byte(part))
		}
	case propose:
		b = w.appendProposal(b, &m.proposal)
	case vote:
		b = w.appendVote(w.appendBallot(append(b, byte(m.step)), m.ballot), m.vote)
	case answer:
		b = w.appendAnswers(binary.AppendUvarint(b, m.epoch), m.answers)
	default:
		b = binary.BigEndian.AppendUint16(append(b, byte(m.part)), m.set)
	}
	return b
}

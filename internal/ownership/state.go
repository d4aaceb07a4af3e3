package ownership

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Clone returns a Core that is as this one is, and from then on goes
// its own way.
func (c *Core) Clone() *Core {
	d := *c
	d.gate = c.gate.clone()
	d.parts = slices.Clone(c.parts)
	d.peers = make(map[member.ID]*peer, len(c.peers))
	for id, p := range c.peers {
		q := *p
		d.peers[id] = &q
	}
	d.granted = maps.Clone(c.granted)
	d.contacts = maps.Clone(c.contacts)
	d.stable = maps.Clone(c.stable)
	d.ended = maps.Clone(c.ended)
	d.quorum.lost, d.quorum.seen = maps.Clone(c.quorum.lost), maps.Clone(c.quorum.seen)
	d.history.past = slices.Clone(c.history.past)
	return &d
}

func (g *Gate) clone() *Gate {
	h := newGate(g.self, len(g.parts))
	h.view.Store(g.view.Load())
	h.lease.Store(g.lease.Load())
	h.alone.Store(g.alone.Load())
	h.claims.Store(g.claims.Load())
	for p := range g.parts {
		h.parts[p].Store(g.parts[p].Load())
	}
	return h
}

// Holder is the claim of a partition that is in force as far as is known here.
func (c *Core) Holder(p int) Claim { return c.parts[p].holder }

// AppendState appends all that what a Core does from now on depends on, its
// view apart, such that two Cores that append the same do the same. Times are
// written as ages, up to the one from which on they make no difference. id
// writes a boot.
//
// The past rings are left out. By them it is told whether what is served is
// unverified, and whether the membership has settled; nothing that is opened,
// closed or answered depends on them before the membership has stood for
// stableAfter.
func (c *Core) AppendState(b []byte, now time.Duration, id func([]byte, member.ID) []byte) []byte {
	claim := func(b []byte, x Claim) []byte { return id(binary.AppendUvarint(b, x.Epoch), x.By) }
	for i := range c.parts {
		p := &c.parts[i]
		b = append(b, byte(p.phase), flags(p.dropping, p.unreached))
		b = binary.AppendUvarint(claim(claim(b, p.holder), p.promised), p.kept)
		b = appendAge(b, now-p.promisedAt, PromiseTime)
		b = append(b, byte(len(p.rivals)))
		for _, r := range p.rivals {
			b = appendAge(claim(b, r.Claim), now-r.at, PromiseTime)
		}
		b = appendAge(b, now-p.leftAt(), settleTime)
		for _, sources := range [...][]member.ID{p.sources, p.given.sources} {
			b = append(b, byte(len(sources)))
			for _, s := range sources {
				b = id(b, s)
			}
		}
		b = id(id(b, p.giver), p.given.giver)
		b = append(b, byte(len(p.given.to)))
		for _, to := range p.given.to {
			b = claim(b, to)
		}
		b = append(binary.AppendUvarint(b, p.given.epoch), byte(p.given.phase))
	}
	b = append(appendAge(binary.AppendUvarint(b, c.maxEpoch), now-c.promisedAt, PromiseTime), flags(c.open, false))
	for _, who := range slices.SortedFunc(maps.Keys(c.peers), member.ID.Compare) {
		p := c.peers[who]
		heard, answered := LeaseTime, LeaseTime
		if heardLately(p, now) {
			heard = now - p.heard
		}
		if c.mode == Majority && c.answers(now, who) {
			answered = now - p.answered
		}
		b = appendAge(appendAge(id(b, who), heard, LeaseTime), answered, LeaseTime)
		b = appendAge(b, now-p.pulled, pullEvery)
		b = append(binary.AppendUvarint(b, p.roster), p.ring[:min(len(p.ring), 8)]...)
	}
	b = append(b, 0xff)
	for _, who := range slices.SortedFunc(maps.Keys(c.granted), member.ID.Compare) {
		if age := now - c.granted[who]; age < LeaseTime {
			b = appendAge(id(b, who), age, LeaseTime)
		}
	}
	b = append(b, 0xff)
	asked := LeaseTime + 1
	if c.lastAskFailed(now) {
		asked = now - c.lastAsk
	}
	b = appendAge(b, asked, LeaseTime+1)
	for _, name := range slices.Sorted(maps.Keys(c.stable)) {
		b = append(append(b, name...), 0)
	}
	sinceEnd := LeaseTime
	if c.endedLately(now) {
		sinceEnd = now - c.lastEnd
	}
	b = appendAge(b, sinceEnd, LeaseTime)
	if c.mode == Majority {
		b = c.appendQuorum(b, now, id)
	}
	lease := time.Duration(c.gate.lease.Load())
	if lease != math.MaxInt64 {
		lease = max(0, lease-now)
	}
	return binary.AppendUvarint(b, uint64(lease))
}

func (c *Core) appendQuorum(b []byte, now time.Duration, id func([]byte, member.ID) []byte) []byte {
	q := &c.quorum
	for _, r := range [...]Roster{q.now, q.before, q.accepted} {
		b = binary.AppendUvarint(b, r.Version)
		for _, e := range r.Electors {
			b = id(b, e)
		}
	}
	for _, x := range [...]Ballot{q.promised, q.by} {
		b = id(binary.AppendUvarint(b, x.Round), x.By)
	}
	b = append(binary.AppendUvarint(b, q.round), flags(q.asking, q.wants != 0))
	b = appendAge(b, now-q.since, PromiseTime)
	b = appendAge(b, now-q.acceptedAt, PromiseTime)
	if q.wants != 0 {
		b = appendAge(b, now-q.wants, LeaseTime*time.Duration(len(q.now.Electors)))
	}
	b = appendAge(b, max(0, q.retry-now), retryAfter)
	for _, who := range slices.SortedFunc(maps.Keys(q.lost), member.ID.Compare) {
		l := q.lost[who]
		b = append(appendAge(id(b, who), now-l.since, stableAfter), flags(l.ended, l.near))
	}
	for _, who := range slices.SortedFunc(maps.Keys(q.seen), member.ID.Compare) {
		s := q.seen[who]
		b = append(appendAge(id(b, who), now-s.answered, touchTime), flags(s.address != "", s.answered > 0))
	}
	return b
}

func appendAge(b []byte, age, most time.Duration) []byte {
	return binary.AppendUvarint(b, uint64(min(age, most)/time.Millisecond))
}

func flags(a, b bool) (f byte) {
	if a {
		f |= 1
	}
	if b {
		f |= 2
	}
	return f
}

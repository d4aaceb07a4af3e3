package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// claimTimeout is how long a claim waits for a member that is silent. It is
// the time after which a client gets an answer that says to come back.
const claimTimeout = time.Second

// A claim that could not be settled by settleTime after it was made is given
// up, even with everybody's consent, and promises lapse at promiseTime: by then
// it is certain that nobody will serve by the claim.
const (
	settleTime  = claimTimeout + 250*time.Millisecond
	promiseTime = settleTime + 250*time.Millisecond
)

// claimRequest asks for partitions.
//
//	u64 epoch | u8 length, fingerprint of the claimant's ring | u8 number of members asked | u8 length, member … | u16 partition …
type claimRequest struct {
	epoch       uint64
	fingerprint string
	// asked are all members whose consent the claimant waits for.
	asked []ID
	parts []int
}

// claimAnswer is one member's answer for one partition of a request.
//
//	u8 status | u64 epoch | u64 digest | u32 count | u32 ms since the copy was handed over, all ones for never | u8 length, claimant
type claimAnswer struct {
	status   claimStatus
	epoch    uint64 // refused: of the claim that stands
	claimant string // refused: who made that claim, as ID.String
	digest   uint64 // accepted or moved: of what the member holds
	count    uint32 // accepted or moved: how many records that is
	// left is how long ago the member handed its copy over, to members that the
	// claimant may not reach; neverLeft if it never did.
	left time.Duration
}

// neverLeft is also what an age of 49 days or more is written as.
const neverLeft = math.MaxUint32 * time.Millisecond

type claimStatus byte

const (
	claimAccepted claimStatus = iota + 1
	// claimMoved: accepted, and the copy that was here has just been handed
	// over. Whoever has it now may have answered before it came.
	claimMoved
	// claimStale: a claim with a higher epoch is known.
	claimStale
	// claimEarly: the member that serves the partition is alive, and has not
	// been asked, or the rings differ; or one that may be about to serve it has
	// not been asked. The claim may be repeated when that has changed.
	claimEarly
)

var errClaim = errors.New("malformed claim")

func (r claimRequest) encode() []byte {
	b := order.AppendUint64(make([]byte, 0, 32+2*len(r.parts)), r.epoch)
	b = append(append(b, byte(len(r.fingerprint))), r.fingerprint...)
	b = append(b, byte(len(r.asked)))
	for _, id := range r.asked {
		s := id.String()
		b = append(append(b, byte(len(s))), s...)
	}
	for _, p := range r.parts {
		b = order.AppendUint16(b, uint16(p))
	}
	return b
}

func decodeClaim(b []byte) (r claimRequest, err error) {
	if len(b) < 10 || len(b) < 10+int(b[8]) {
		return r, fmt.Errorf("%d bytes: %w", len(b), errClaim)
	}
	if r.epoch = order.Uint64(b); r.epoch == 0 {
		return r, fmt.Errorf("epoch 0, accepted are 1 and above: %w", errClaim)
	}
	r.fingerprint = string(b[9 : 9+int(b[8])])
	b = b[9+int(b[8]):]
	r.asked = make([]ID, b[0])
	b = b[1:]
	for i := range r.asked {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return r, fmt.Errorf("members cut short: %w", errClaim)
		}
		if r.asked[i], err = member.ParseID(string(b[1 : 1+int(b[0])])); err != nil {
			return r, fmt.Errorf("%w: %w", errClaim, err)
		}
		b = b[1+int(b[0]):]
	}
	if len(b)%2 != 0 || len(b) > 2*ring.Partitions {
		return r, fmt.Errorf("%d bytes of partitions: %w", len(b), errClaim)
	}
	for ; len(b) > 0; b = b[2:] {
		p := int(order.Uint16(b))
		if p >= ring.Partitions {
			return r, fmt.Errorf("partition %d: %w", p, errClaim)
		}
		r.parts = append(r.parts, p)
	}
	return r, nil
}

// asks says whether the claim waits for the consent of holder; the member that
// judges, self, has certainly been asked.
func (r claimRequest) asks(holder, self ID) bool {
	return holder == self || slices.Contains(r.asked, holder)
}

func (a claimAnswer) append(b []byte) []byte {
	b = append(b, byte(a.status))
	b = order.AppendUint64(b, a.epoch)
	b = order.AppendUint64(b, a.digest)
	b = order.AppendUint32(b, a.count)
	b = order.AppendUint32(b, uint32(min(a.left, neverLeft).Milliseconds()))
	return append(append(b, byte(len(a.claimant))), a.claimant...)
}

func decodeClaimAnswers(b []byte, n int) ([]claimAnswer, error) {
	answers := make([]claimAnswer, 0, n)
	for range n {
		const fixed = 1 + 8 + 8 + 4 + 4 + 1
		if len(b) < fixed || len(b) < fixed+int(b[fixed-1]) {
			return nil, fmt.Errorf("answer of %d partitions cut short: %w", n, errClaim)
		}
		a := claimAnswer{
			status: claimStatus(b[0]), epoch: order.Uint64(b[1:]), digest: order.Uint64(b[9:]),
			count: binary.BigEndian.Uint32(b[17:]), left: time.Duration(binary.BigEndian.Uint32(b[21:])) * time.Millisecond,
			claimant: string(b[fixed : fixed+int(b[fixed-1])]),
		}
		if a.status < claimAccepted || a.status > claimEarly {
			return nil, fmt.Errorf("status %d: %w", a.status, errClaim)
		}
		answers = append(answers, a)
		b = b[fixed+int(b[fixed-1]):]
	}
	return answers, nil
}

// claim asks for parts over links, which are those of all live nodes, and
// settles each partition by the answers. view is the one that the claim is made
// from.
func (o *ownership) claim(ctx context.Context, view *View, links []*link, epoch uint64, parts []int) {
	begin := o.node.since()
	request := claimRequest{epoch: epoch, fingerprint: view.Table.Fingerprint(), parts: parts}
	for _, l := range links[:min(len(links), 255)] {
		request.asked = append(request.asked, l.id)
	}
	payload := request.encode()
	answers := make([][]claimAnswer, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() {
			cctx, cancel := context.WithTimeout(ctx, claimTimeout)
			defer cancel()
			b, err := l.callOnceConnected(cctx, typeClaim, payload)
			if err == nil {
				answers[i], err = decodeClaimAnswers(b, len(parts))
			}
			if err != nil && ctx.Err() == nil {
				o.node.log.Debug("claim not answered", "member", l.id.Name, "error", err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	sums := o.node.sums(parts, busyLimit)
	late := o.node.since()-begin > settleTime // such as frozen meanwhile
	got := o.settle(view, epoch, parts, links, answers, sums, late)
	o.node.members.broadcast()
	if len(got.parts) > 0 {
		o.node.log.Info("claimed", "partitions", len(got.parts), "epoch", epoch, "to_fetch", len(got.fetch), "ring", request.fingerprint)
		o.node.events.Add("claimed", "partitions", len(got.parts), "epoch", epoch, "to_fetch", len(got.fetch))
		o.node.keeper.kick()
	}
	if len(got.fetch) > 0 {
		o.fetchAll(ctx, epoch, got.fetch)
	}
}

type settled struct {
	parts []int // now served here
	fetch []int // those among them that holders have more of
}

// settle decides by the answers what became of a claim. sums are of the copies
// here: where an operation has held one for too long, the claim is given up and
// made again soon.
func (o *ownership) settle(view *View, epoch uint64, parts []int, links []*link, answers [][]claimAnswer, sums []partSum, late bool) settled {
	var got settled
	refused := false
	now := o.node.View()
	o.mu.Lock()
	for i, p := range parts {
		part := &o.parts[p]
		if part.phase != claiming {
			refused = true // a claim with a higher epoch was accepted meanwhile
			continue
		}
		mine := claimRef{epoch, o.node.id}
		won := !late && sums[i].known && !part.promised.newer(mine)
		var answered, sources []*link
		copies, owner := []copyOf{{o.node.id, part.leftAt()}}, part.holder.by
		moved := false
		synced := make([]string, 0, len(links))
		for j, l := range links {
			if answers[j] == nil {
				// Silent. A member that has ended cannot serve; of any other
				// it is not known, and it may hold the only copy.
				if m := now.Member(l.id); m != nil && m.Up {
					won = false
				}
				continue
			}
			a := answers[j][i]
			if a.status != claimAccepted && a.status != claimMoved {
				won = false
				o.refusedLocked(p, a)
				continue
			}
			answered, moved = append(answered, l), moved || a.status == claimMoved
			copies = append(copies, copyOf{l.id, o.node.since() - a.left})
			if a.digest == sums[i].Digest {
				synced = append(synced, l.id.String())
			} else if a.count > 0 {
				sources = append(sources, l)
			}
		}
		if !won {
			o.setPhaseLocked(p, away)
			refused = true
			continue
		}
		if moved {
			sources, synced = answered, nil
		}
		o.setHolderLocked(p, mine)
		if len(sources) == 0 {
			o.setPhaseLocked(p, warm)
		} else {
			part.sources, part.fetched = sources, make(map[string]struct{})
			o.setPhaseLocked(p, fetching)
			got.fetch = append(got.fetch, p)
		}
		o.blind[p].Store(o.node.rings.outOfReach(p, owner, copies))
		o.node.keeper.claimed(p, synced)
		o.node.store.Admit(p)
		got.parts = append(got.parts, p)
	}
	o.mu.Unlock()
	if refused {
		o.tryLater()
	}
	return got
}

// refusedLocked takes in the claim that stands in the way of one's own.
func (o *ownership) refusedLocked(p int, a claimAnswer) {
	near := o.heardOfLocked(a.epoch)
	id, err := member.ParseID(a.claimant)
	if err != nil || !near {
		return // nobody holds it there, or that cannot be told yet
	}
	if c := (claimRef{a.epoch, id}); a.status == claimEarly && c.newer(o.parts[p].holder) {
		o.setHolderLocked(p, c)
	}
}

// judgement is what becomes of another member's claim here. A partition that
// is given up is given up in three steps, and the order is what keeps a write
// from being lost: it is shut, then its sum is taken, which the operation that
// runs in it still has to end for, then the claim is answered. From the first
// step on nothing begins here, so the sum covers every write that was answered.
type judgement struct {
	owner   *ownership
	claim   claimRef
	parts   []int
	answers []claimAnswer
	open    []int // of answers: accepted, and what is held here is not known yet
	yielded int
}

// judge decides on a claim and shuts what it gives up. It waits for nothing.
func (o *ownership) judge(from ID, payload []byte) (*judgement, error) {
	r, err := decodeClaim(payload)
	if err != nil {
		return nil, err
	}
	view := o.node.View()
	same := view.Table.Fingerprint() == r.fingerprint
	j := &judgement{owner: o, claim: claimRef{r.epoch, from}, parts: r.parts, answers: make([]claimAnswer, len(r.parts))}
	o.mu.Lock()
	near := o.heardOfLocked(r.epoch)
	for i, p := range r.parts {
		part, a := &o.parts[p], &j.answers[i]
		switch {
		case !near:
			a.status, a.epoch = claimEarly, o.maxEpoch
		case part.promised.newer(j.claim):
			a.status, a.epoch, a.claimant = claimStale, part.promised.epoch, part.promised.by.String()
		case o.servedLocked(part, from) && (!same || !r.asks(part.holder.by, o.node.id)):
			a.status, a.epoch, a.claimant = claimEarly, part.holder.epoch, part.holder.by.String()
		case o.pendingLocked(part, from) && !r.asks(part.promised.by, o.node.id):
			a.status, a.epoch = claimEarly, part.promised.epoch // which nobody may ever hold
		default:
			a.status = claimAccepted
			o.promiseLocked(p, j.claim)
			if part.phase != away && !planted.Is(planted.ServesOn) {
				o.node.store.Shut(p)
				o.setPhaseLocked(p, away)
				j.yielded++
			}
			j.open = append(j.open, i)
		}
	}
	o.mu.Unlock()
	if j.yielded > 0 {
		o.node.log.Info("yielded", "partitions", j.yielded, "to", from.Name, "epoch", r.epoch)
		o.node.events.Add("yielded", "partitions", j.yielded, "to", from.Name, "epoch", r.epoch)
	}
	o.node.members.broadcast()
	o.node.keeper.kick()
	// Nobody may ever serve by this claim. If the ring gives the partition to
	// this member, it claims it anew as soon as the promise allows it.
	o.kick()
	return j, nil
}

// look takes the sums that are not known yet, waits as long as that for
// partitions that an operation holds, and says whether all are known.
func (j *judgement) look(limit time.Duration) bool {
	parts := make([]int, len(j.open))
	for k, i := range j.open {
		parts[k] = j.parts[i]
	}
	var open []int
	for k, sum := range j.owner.node.sums(parts, limit) {
		i := j.open[k]
		if !sum.known {
			open = append(open, i)
			continue
		}
		j.answers[i].digest, j.answers[i].count = sum.Digest, uint32(sum.Records)
	}
	j.open = open
	return len(open) == 0
}

// answer is what the claimant is told. Of partitions whose sum is not known it
// is that they may be asked for again: what runs in them is about to end.
func (j *judgement) answer() []byte {
	b := make([]byte, 0, 32*len(j.answers))
	o := j.owner
	for _, i := range j.open {
		j.answers[i] = claimAnswer{status: claimEarly, epoch: j.claim.epoch}
	}
	o.node.stats.busyClaims.Add(int64(len(j.open)))
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, a := range j.answers {
		part := &o.parts[j.parts[i]]
		switch {
		case a.status != claimAccepted:
		case part.promised != j.claim: // the sum may be from before a later claim
			a = claimAnswer{status: claimStale, epoch: part.promised.epoch, claimant: part.promised.by.String()}
		case part.dropping: // the sum may be from before or after
			a.status = claimMoved
		default:
			if a.left = o.node.since() - part.leftAt(); a.left < settleTime {
				a.status = claimMoved
			}
		}
		b = a.append(b)
	}
	return b
}

// servedLocked says whether somebody else than from serves the partition and
// is alive as far as this member can vouch.
func (o *ownership) servedLocked(part *partition, from ID) bool {
	holder := part.holder.by
	switch {
	case planted.Is(planted.AliveIgnored):
		return false
	case holder == o.node.id:
		return part.phase == warm || part.phase == fetching
	case holder == (ID{}), holder.Name == from.Name, o.node.View().HasEnded(holder):
		return false // nobody, or an earlier boot of the claimant, or nobody any more
	default:
		return o.node.vouches(holder)
	}
}

// pendingLocked says whether somebody else than from may have become the owner
// with this member's consent, or be about to, and this member has not been told
// yet. To agree to from's claim too would make two owners, unless from asks that
// one as well: a member that has just started can be known here and not there.
func (o *ownership) pendingLocked(part *partition, from ID) bool {
	c := part.promised
	switch {
	case planted.Is(planted.AliveIgnored), planted.Is(planted.UnaskedIgnored):
		return false
	case c.by == o.node.id, c.by.Name == from.Name, !c.newer(part.holder):
		return false
	default:
		return o.node.since()-part.promisedAt < promiseTime && !o.node.View().HasEnded(c.by)
	}
}

// callOnceConnected is Call that waits for a connection first: a member that
// has just been seen is asked as soon as it can be.
func (l *link) callOnceConnected(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	for {
		changed := l.node.members.changed()
		b, err := l.Call(ctx, typ, payload)
		if !errors.Is(err, errNoLink) {
			return b, err
		}
		select {
		case <-changed:
			if m := l.node.View().Member(l.id); m == nil || !m.Up {
				return nil, err
			}
		case <-l.done:
			return nil, err
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

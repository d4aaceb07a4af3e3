package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

// A claim that was refused is repeated soon at first: after a crash the members
// find out within a millisecond of each other.
const (
	claimRetryMin = time.Millisecond
	claimRetryMax = 50 * time.Millisecond
)

// owner drives the core of package ownership: it tells it what happens, one
// thing at a time, and does what comes of it, with this node's store, links and
// copies. What it decides for readers is at the gate, which takes no lock.
type owner struct {
	node  *Node
	gate  *ownership.Gate
	wake  wait.Wake // something has changed that may allow a claim
	later wait.Wake // a claim was refused, and nothing known here says when it will not be

	// mu guards what follows. Every heartbeat takes it, and operations now and
	// then, so its holder waits for nobody: it calls no method of session.Store
	// but Admit and Shut, which take no lock, and does no I/O. Of other locks it
	// may take the repairer's. A partition's lock in the store is only ever taken
	// by itself.
	mu    sync.Mutex
	core  *ownership.Core
	pulls map[int]*pull // of the partitions that are being fetched
}

func newOwner(n *Node) (*owner, error) {
	empty, err := member.NewView(n.id, nil, n.cfg.ringParams(), nil)
	if err != nil {
		return nil, err
	}
	core := ownership.New(ownership.Config{Self: n.id, Mode: n.cfg.PartitionMode}, empty)
	return &owner{
		node: n, core: core, gate: core.Gate(), pulls: make(map[int]*pull),
		wake: wait.NewWake(), later: wait.NewWake(),
	}, nil
}

// decide says who serves partition p at this moment.
func (o *owner) decide(p int) ownership.Decision { return o.gate.Decide(p, o.node.since()) }

// leased says whether this node may serve at this moment without asking.
func (o *owner) leased() bool { return o.gate.Leased(o.node.since()) }

// step lets something happen to the core and does what comes of it.
func (o *owner) step(f func(core *ownership.Core, now time.Duration) ownership.Todo) ownership.Todo {
	n := o.node
	o.mu.Lock()
	todo := f(o.core, n.since())
	for _, p := range todo.Close {
		n.store.Shut(p)
		delete(o.pulls, p)
	}
	for _, opened := range todo.Open {
		equal := make([]string, len(opened.Equal))
		for i, id := range opened.Equal {
			equal[i] = id.String()
		}
		n.keeper.claimed(opened.Partition, equal)
		delete(o.pulls, opened.Partition)
		if opened.Fetch {
			o.pulls[opened.Partition] = &pull{fetched: make(map[string]struct{})}
		}
		n.store.Admit(opened.Partition)
	}
	o.mu.Unlock()
	o.follow(todo)
	return todo
}

// look asks the core something that changes nothing.
func (o *owner) look(f func(core *ownership.Core, now time.Duration)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o.core, o.node.since())
}

// follow does what of a Todo can wait.
func (o *owner) follow(todo ownership.Todo) {
	n := o.node
	for _, id := range todo.Beat {
		n.mesh.Beat(id)
	}
	if todo.FarEpoch {
		n.stats.farEpochs.Add(1)
	}
	if todo.Unleased {
		n.stats.unleased.Add(1)
	}
	if todo.Succeeded > 0 {
		n.log.Warn("succeeded by others while out of touch", "partitions", todo.Succeeded)
		n.events.Add("succeeded", "partitions", todo.Succeeded)
		n.stats.succeeded.Add(int64(todo.Succeeded))
		n.keeper.wake.Kick()
	}
	if todo.Round {
		o.wake.Kick()
	}
	if todo.Later {
		o.later.Kick()
	}
}

// setView takes in a new view. A round is asked for by the caller, when the
// links are as the view wants them.
func (o *owner) setView(view *View) {
	o.step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		todo := core.SetView(now, view)
		todo.Round = false
		return todo
	})
}

// run starts a round of claims whenever something has changed that may allow
// one: the view, a peer's ring, a refusal that is a while ago.
func (o *owner) run(ctx context.Context) {
	pause := claimRetryMin
	var again <-chan time.Time
	for {
		if complete := o.startRound(ctx); complete {
			pause, again = claimRetryMin, nil
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-o.wake:
				waiting = false
			case <-again:
				again, waiting = nil, false
			case <-o.later:
				if again == nil {
					again = time.After(pause + rand.N(pause))
					pause = min(2*pause, claimRetryMax)
				}
			}
		}
	}
}

// startRound claims what may be claimed now. It reports whether all that the
// ring gives to this node is served here.
func (o *owner) startRound(ctx context.Context) (complete bool) {
	todo := o.step(func(core *ownership.Core, now time.Duration) (todo ownership.Todo) {
		todo, complete = core.Round(now)
		return todo
	})
	if todo.Claim != nil {
		o.node.group.Go(func() { o.claim(ctx, todo.Claim) })
	}
	return complete
}

// claim asks the voters of a round and settles it by their answers.
func (o *owner) claim(ctx context.Context, r *ownership.Round) {
	n := o.node
	payload := r.Encode()
	answers := make([][]ownership.Answer, len(r.Asked))
	var wg sync.WaitGroup
	for i, id := range r.Asked {
		wg.Go(func() {
			cctx, cancel := context.WithTimeout(ctx, ownership.ClaimTimeout)
			defer cancel()
			b, err := n.mesh.CallOnceConnected(cctx, id, mesh.TypeClaim, payload)
			if err == nil {
				answers[i], err = ownership.DecodeAnswers(b, len(r.Parts))
			}
			if err != nil && ctx.Err() == nil {
				n.log.Debug("claim not answered", "member", id.Name, "error", err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	sums := n.sums(r.Parts, busyLimit)
	todo := o.step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		return core.Settle(now, r, answers, sums)
	})
	n.pulse.Beat()
	if len(todo.Open) == 0 {
		return
	}
	var fetch []int
	for _, opened := range todo.Open {
		if opened.Fetch {
			fetch = append(fetch, opened.Partition)
		}
	}
	n.log.Info("claimed", "partitions", len(todo.Open), "epoch", r.Epoch, "to_fetch", len(fetch), "ring", r.Ring)
	n.events.Add("claimed", "partitions", len(todo.Open), "epoch", r.Epoch, "to_fetch", len(fetch))
	n.keeper.wake.Kick()
	if len(fetch) > 0 {
		o.fetchAll(ctx, r.Epoch, fetch)
	}
}

// section tells members of each other's claims, and gives leases:
//
//	question: u64 hash of the claims that the asker knows
//	answer:   u8 1 for a lease | the claims known here, if their hash differs
//
// An answer without it gives none.
func (o *owner) section(m *mesh.Mesh) mesh.Section {
	ringOf := func(id ID) string {
		if l := m.Link(id); l != nil {
			return l.Ring()
		}
		return ""
	}
	return mesh.Section{
		Type: mesh.SectionClaims,
		Ask:  func(ID) []byte { return order.AppendUint64(nil, o.gate.ClaimsHash()) },
		Asked: func(from ID, said []byte) ([]byte, error) {
			if len(said) != 8 {
				return nil, fmt.Errorf("%d bytes of claims, 8 are accepted", len(said))
			}
			return o.answer(from, ringOf(from), order.Uint64(said)), nil
		},
		Answered: func(from ID, sent time.Duration, said []byte) error {
			return o.answered(from, sent, ringOf(from), said)
		},
	}
}

const beatLease = 1

// answer is what a heartbeat of a member that knows other claims, or the same, is
// answered.
func (o *owner) answer(from ID, ring string, hash uint64) []byte {
	b := []byte{0}
	var claims *ownership.Table
	o.step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		lease, differ, todo := core.Pinged(now, from, ring, hash)
		if lease {
			b[0] = beatLease
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
func (o *owner) answered(from ID, sent time.Duration, ring string, said []byte) (err error) {
	lease := len(said) > 0 && said[0]&beatLease != 0
	var claims *ownership.Table
	if len(said) > 1 {
		if claims, err = ownership.DecodeTable(said[1:]); err != nil {
			return err
		}
	}
	if l := o.node.mesh.Link(from); l != nil && lease {
		l.SetHeard(sent)
	}
	o.step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		return core.Ponged(now, sent, from, ring, claims, lease)
	})
	if claims != nil {
		o.node.pulse.Beat()
	}
	return nil
}

// judgement is what becomes of another member's claim here.
type judgement struct {
	*ownership.Judgement
	owner *owner
}

// judge decides on a claim and closes what it gives up. It waits for nothing.
func (o *owner) judge(from ID, payload []byte) (*judgement, error) {
	r, err := ownership.DecodeRequest(payload)
	if err != nil {
		return nil, err
	}
	j := &judgement{owner: o}
	o.step(func(core *ownership.Core, now time.Duration) (todo ownership.Todo) {
		j.Judgement, todo = core.Judge(now, from, r)
		return todo
	})
	n := o.node
	if j.Yielded > 0 {
		n.log.Info("yielded", "partitions", j.Yielded, "to", from.Name, "epoch", r.Epoch)
		n.events.Add("yielded", "partitions", j.Yielded, "to", from.Name, "epoch", r.Epoch)
	}
	n.pulse.Beat()
	n.keeper.wake.Kick()
	return j, nil
}

// sum takes the sums that are not known yet, waits as long as that for
// partitions that an operation holds, and says whether all are known.
func (j *judgement) sum(limit time.Duration) bool {
	return j.SetSums(j.owner.node.sums(j.Unsummed(), limit))
}

// answer is what the claimant is told, encoded.
func (j *judgement) answer() (b []byte) {
	j.owner.look(func(core *ownership.Core, now time.Duration) {
		answers, busy := core.Answer(now, j.Judgement)
		j.owner.node.stats.busyClaims.Add(int64(busy))
		b = make([]byte, 0, 32*len(answers))
		for _, a := range answers {
			b = a.Append(b)
		}
	})
	return b
}

// dropIf forgets the copy of a partition that this node does not serve, if
// nothing has changed in it since its digest was taken.
func (o *owner) dropIf(p int, digest uint64) (dropped bool) {
	may := false
	o.look(func(core *ownership.Core, _ time.Duration) { may = core.BeginDrop(p) })
	if !may {
		return false
	}
	dropped = o.node.store.DropIf(p, digest)
	o.look(func(core *ownership.Core, now time.Duration) { core.EndDrop(now, p, dropped) })
	return dropped
}

const (
	// busyLimit is how long a claim waits for operations that hold partitions
	// which it is about; those of them that go on longer are claimed by
	// themselves later. An operation holds a partition for some milliseconds.
	busyLimit = 100 * time.Millisecond
	busyPoll  = time.Millisecond
)

// sums returns the sums of partitions, and waits as long as that for those that
// an operation holds.
func (n *Node) sums(parts []int, limit time.Duration) []ownership.Sum {
	sums := make([]ownership.Sum, len(parts))
	for deadline := n.since() + limit; ; time.Sleep(busyPoll) {
		busy := false
		for i, p := range parts {
			if sums[i].Known {
				continue
			}
			sum, known := n.store.TrySum(p)
			sums[i] = ownership.Sum{Digest: sum.Digest, Count: uint32(sum.Records), Known: known}
			busy = busy || !known
		}
		if !busy || n.since() >= deadline {
			return sums
		}
	}
}

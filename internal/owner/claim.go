package owner

import (
	"context"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/session"
)

// claim asks the voters of a round and settles it by their answers.
func (o *Owner) claim(ctx context.Context, r *ownership.Round) {
	payload := r.Encode()
	answers := make([][]ownership.Answer, len(r.Asked))
	var wg sync.WaitGroup
	for i, id := range r.Asked {
		wg.Go(func() {
			cctx, cancel := context.WithTimeout(ctx, ownership.ClaimTimeout)
			defer cancel()
			b, err := o.mesh.CallOnceConnected(cctx, id, mesh.TypeClaim, payload)
			if err == nil {
				answers[i], err = ownership.DecodeAnswers(b, len(r.Parts))
			}
			if err != nil && ctx.Err() == nil {
				o.cfg.Log.Debug("claim not answered", "member", id.Name, "error", err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	sums, missing := Sums(o.cfg.Store, r.Parts, Busy), o.cfg.Missing()
	todo := o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		core.SetMissing(now, missing)
		return core.Settle(now, r, answers, sums)
	})
	o.cfg.Pulse.Beat()
	if len(todo.Open) > 0 {
		o.claimed(r, todo.Open)
	}
	if todo.Over != nil {
		o.tell(ctx, todo.Over)
	}
}

// claimed tells of what was opened, and lets its copies be looked at.
func (o *Owner) claimed(r *ownership.Round, opened []ownership.Opened) {
	fetch, orphans := 0, 0
	for _, opened := range opened {
		if opened.Fetch {
			fetch++
		}
		if len(opened.Absent) > 0 {
			orphans++
		}
	}
	o.cfg.Log.Info("claimed", "partitions", len(opened), "epoch", r.Epoch, "to_fetch", fetch, "without_a_copy", orphans, "ring", r.Ring)
	o.cfg.Events.Add("claimed", "partitions", len(opened), "epoch", r.Epoch, "to_fetch", fetch, "without_a_copy", orphans)
	o.cfg.Copies.Recheck()
}

// Judgement is what becomes of another member's claim here.
type Judgement struct {
	*ownership.Judgement
	owner *Owner
	words bool // its claimant knows ownership.Whole and those after it
}

// Judge decides on a claim and closes what it gives up. It waits for nothing.
// Then Sum is called, and then Answer.
func (o *Owner) Judge(from member.ID, payload []byte) (*Judgement, error) {
	r, err := ownership.DecodeRequest(payload)
	if err != nil {
		return nil, err
	}
	j := &Judgement{owner: o, words: o.mesh.Speaks(from, member.WireWords)}
	o.Step(func(core *ownership.Core, now time.Duration) (todo ownership.Todo) {
		j.Judgement, todo = core.Judge(now, from, r)
		return todo
	})
	if j.Yielded > 0 {
		o.cfg.Log.Info("yielded", "partitions", j.Yielded, "to", from.Name, "epoch", r.Epoch)
		o.cfg.Events.Add("yielded", "partitions", j.Yielded, "to", from.Name, "epoch", r.Epoch)
	}
	o.cfg.Pulse.Beat()
	o.cfg.Copies.Recheck()
	return j, nil
}

// Sum takes the sums that are not known yet, waits as long as that for
// partitions that an operation holds, and says whether all are known.
func (j *Judgement) Sum(limit time.Duration) bool {
	return j.SetSums(Sums(j.owner.cfg.Store, j.Unsummed(), limit))
}

// Answer is what the claimant is told, encoded.
func (j *Judgement) Answer() (b []byte) {
	j.owner.Look(func(core *ownership.Core, now time.Duration) {
		answers, busy := core.Answer(now, j.Judgement)
		j.owner.busyClaims.Add(int64(busy))
		b = make([]byte, 0, 32*len(answers))
		for _, a := range answers {
			b = a.Append(b, j.words)
		}
	})
	return b
}

const (
	// Busy is how long a claim waits, at the claimant and at its voters, for
	// operations that hold partitions which it is about; those of them that go
	// on longer are claimed by themselves later. An operation holds a partition
	// for some milliseconds.
	Busy     = 100 * time.Millisecond
	busyPoll = time.Millisecond
)

// Sums returns the sums of partitions, and waits as long as that for those that
// an operation holds.
func Sums(store *session.Store, parts []int, limit time.Duration) []ownership.Sum {
	sums := make([]ownership.Sum, len(parts))
	for begin := time.Now(); ; time.Sleep(busyPoll) {
		busy := false
		for i, p := range parts {
			if sums[i].Known {
				continue
			}
			sum, known := store.TrySum(p)
			sums[i] = ownership.Sum{Digest: sum.Digest, Count: uint32(sum.Records), Known: known}
			busy = busy || !known
		}
		if !busy || time.Since(begin) >= limit {
			return sums
		}
	}
}

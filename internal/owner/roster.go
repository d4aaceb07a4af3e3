package owner

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// RosterSection is the owner's section of heartbeats that tells members who
// counts in mode Majority. It comes before that of Section: whether a member is
// given a lease depends on what it knows of this.
//
//	question: u64 version of the roster that the asker knows, 0 for none
//	answer:   u64 version known here | the rosters in force and before, if that is newer
//
// Without the section a member counts as one that knows of none.
func (o *Owner) RosterSection() mesh.Section {
	version := func() uint64 { return o.rosters().Now.Version }
	return mesh.Section{
		Type: mesh.SectionRoster,
		Ask:  func() []byte { return binary.BigEndian.AppendUint64(nil, version()) },
		Asked: func(from member.ID, said []byte) ([]byte, error) {
			theirs, _, err := readVersion(said)
			if err != nil {
				return nil, err
			}
			ours := o.rosters()
			o.setRoster(from, theirs, ownership.Rosters{})
			b := binary.BigEndian.AppendUint64(nil, ours.Now.Version)
			if ours.Now.Version > theirs {
				b = append(b, ours.Encode()...)
			}
			return b, nil
		},
		Answered: func(from member.ID, _ time.Duration, said []byte) error {
			theirs, rest, err := readVersion(said)
			if err != nil {
				return err
			}
			var known ownership.Rosters
			if len(rest) > 0 {
				if known, err = ownership.DecodeRosters(rest); err != nil {
					return err
				}
			}
			o.setRoster(from, theirs, known)
			return nil
		},
	}
}

func readVersion(said []byte) (version uint64, rest []byte, err error) {
	if len(said) == 0 {
		return 0, nil, nil // a version that has no rosters
	}
	if len(said) < 8 {
		return 0, nil, fmt.Errorf("%d bytes of rosters, 8 or more are accepted", len(said))
	}
	return binary.BigEndian.Uint64(said), said[8:], nil
}

func (o *Owner) rosters() (r ownership.Rosters) {
	o.Look(func(core *ownership.Core, _ time.Duration) { r = core.Rosters() })
	return r
}

// Roster returns who counts in mode Majority; none in mode Available.
func (o *Owner) Roster() ownership.Roster { return o.rosters().Now }

// Electors names the nodes that count in mode Majority, less those whose
// processes have ended; none in mode Available.
func (o *Owner) Electors() (names []string) {
	o.Look(func(core *ownership.Core, _ time.Duration) {
		for _, id := range core.Rosters().Now.Electors {
			if !core.View().HasEnded(id) {
				names = append(names, id.Name)
			}
		}
	})
	return names
}

// MayLeave says whether this node can end without leaving others behind that
// wait for its vote.
func (o *Owner) MayLeave() (may bool) {
	o.Look(func(core *ownership.Core, _ time.Duration) { may = core.MayLeave() })
	return may
}

func (o *Owner) setRoster(from member.ID, version uint64, r ownership.Rosters) {
	var was, is ownership.Roster
	o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		was = core.Rosters().Now
		todo := core.SetRoster(now, from, version, r)
		is = core.Rosters().Now
		return todo
	})
	o.noteRoster(was, is, from.Name)
}

// noteRoster tells the operator of a change of who counts.
func (o *Owner) noteRoster(was, is ownership.Roster, by string) {
	if was.Version == is.Version {
		return
	}
	names := make([]string, len(is.Electors))
	for i, id := range is.Electors {
		names[i] = id.Name
	}
	o.cfg.Log.Info("roster", "version", is.Version, "counting", names, "told_by", by)
	o.cfg.Events.Add("roster", "version", is.Version, "counting", names, "told_by", by)
	o.cfg.Pulse.Beat()
}

// propose asks electors for their votes on a proposal, and counts them.
func (o *Owner) propose(ctx context.Context, p *ownership.Proposal) {
	votes := o.votes(ctx, p)
	if ctx.Err() != nil {
		return
	}
	var was, is ownership.Roster
	o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		was = core.Rosters().Now
		todo := core.Count(now, p, votes)
		is = core.Rosters().Now
		return todo
	})
	o.noteRoster(was, is, o.cfg.Self.Name)
}

// votes asks all electors of a proposal at once.
func (o *Owner) votes(ctx context.Context, p *ownership.Proposal) []*ownership.Vote {
	payload := p.Encode()
	votes := make([]*ownership.Vote, len(p.Asked))
	var wg sync.WaitGroup
	for i, id := range p.Asked {
		if !o.mesh.Speaks(id, member.WireRosters) {
			continue
		}
		wg.Go(func() {
			cctx, cancel := context.WithTimeout(ctx, ownership.ClaimTimeout)
			defer cancel()
			b, err := o.mesh.CallOnceConnected(cctx, id, mesh.TypePropose, payload)
			if err == nil {
				var v ownership.Vote
				if v, err = ownership.DecodeVote(b); err == nil {
					votes[i] = &v
				}
			}
			if err != nil && ctx.Err() == nil {
				o.cfg.Log.Debug("proposal not answered", "member", id.Name, "error", err)
			}
		})
	}
	wg.Wait()
	return votes
}

// Vote answers a proposer.
func (o *Owner) Vote(from member.ID, payload []byte) ([]byte, error) {
	p, err := ownership.DecodeProposal(payload)
	if err != nil {
		return nil, err
	}
	var v ownership.Vote
	o.Step(func(core *ownership.Core, now time.Duration) (todo ownership.Todo) {
		v, todo = core.Vote(now, from, p)
		return todo
	})
	return v.Encode(), nil
}

// GivenUp takes in that a claimant has given a claim up.
func (o *Owner) GivenUp(from member.ID, payload []byte) error {
	over, err := ownership.DecodeOver(payload)
	if err != nil {
		return err
	}
	todo := o.Step(func(core *ownership.Core, now time.Duration) ownership.Todo { return core.GivenUp(now, from, over) })
	if len(todo.Open) > 0 {
		o.cfg.Log.Info("serving on", "partitions", len(todo.Open), "because_gave_up", from.Name, "epoch", over.Epoch)
		o.cfg.Events.Add("serving-on", "partitions", len(todo.Open), "because_gave_up", from.Name, "epoch", over.Epoch)
	}
	o.cfg.Pulse.Beat()
	return nil
}

// tell tells those who were asked that a claim is given up. Who is not reached
// finds out when its promise lapses.
func (o *Owner) tell(ctx context.Context, over *ownership.Over) {
	payload := over.Encode()
	var wg sync.WaitGroup
	for _, id := range over.Asked {
		if !o.mesh.Speaks(id, member.WireRosters) {
			continue // its promise lapses by itself
		}
		wg.Go(func() {
			cctx, cancel := context.WithTimeout(ctx, ownership.ClaimTimeout)
			defer cancel()
			if _, err := o.mesh.Call(cctx, id, mesh.TypeGivenUp, payload); err != nil && ctx.Err() == nil {
				o.cfg.Log.Debug("member not told that a claim is given up", "member", id.Name, "error", err)
			}
		})
	}
	wg.Wait()
}

// due is what steps have left to be done by Run, which has a context.
type due struct {
	proposal *ownership.Proposal
	fetch    []int // partitions that are served again, and were not whole
}

// takeDue returns what is due, once.
func (o *Owner) takeDue() (d due, fetch map[uint64][]int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, o.due = o.due, due{}
	fetch = make(map[uint64][]int)
	for _, p := range slices.Compact(slices.Sorted(slices.Values(d.fetch))) {
		if _, epoch, fetching := o.core.Sources(p); fetching {
			fetch[epoch] = append(fetch[epoch], p)
		}
	}
	return d, fetch
}

// doDue does it.
func (o *Owner) doDue(ctx context.Context) {
	d, fetch := o.takeDue()
	if d.proposal != nil {
		o.cfg.Go(func() { o.propose(ctx, d.proposal) })
	}
	for epoch, parts := range fetch {
		o.cfg.Go(func() { o.cfg.Copies.Fetch(ctx, epoch, parts) })
	}
}

package membership

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// Join contacts the seeds and refuses to go on where this member does not fit
// in: other parameters, or a name that a running member has. The first member
// of a cluster finds no seed that answers, so that is no error.
func (m *Members) Join(ctx context.Context) error {
	for _, seed := range m.cfg.Seeds {
		if m.gossip.isSelf(seed) {
			continue
		}
		if err := m.join(seed); err != nil {
			if member.IsMismatch(err) {
				return fmt.Errorf("join: %w", err)
			}
			m.cfg.Log.Debug("seed does not answer yet", "error", err)
		}
	}
	return m.CheckName(ctx)
}

// join contacts an address once. Where members of an older version are there,
// which take nobody with other parameters of the ring, it comes again with
// theirs.
func (m *Members) join(at string) error {
	_, err := m.gossip.join([]string{at})
	params := m.gossip.elderParams()
	if params == "" {
		return err
	}
	m.cfg.Log.Info("members of an older version have other parameters, which are taken over", "parameters", params)
	if err := m.announce(func(own *member.Meta) { own.Params = params }); err != nil {
		return err
	}
	_, err = m.gossip.join([]string{at})
	return err
}

// Rejoin contacts the seeds, and members that were lost, until ctx ends.
// memberlist itself forgets the dead after 30 s and would never mend a longer
// partition. Seeds are resolved anew each time. It waits for the attempts under
// way, which take some seconds.
func (m *Members) Rejoin(ctx context.Context) {
	if planted.Is(planted.NoRejoin) {
		return
	}
	seeds := slices.DeleteFunc(slices.Clone(m.cfg.Seeds), m.gossip.isSelf)
	r := rejoiner{m: m, lost: newLost(m.cfg.Clock.Since(), seeds), ended: make(chan attempt, rejoinAtOnce)}
	var running sync.WaitGroup
	defer running.Wait()
	for {
		r.lost.see(m.cfg.Clock.Since(), m.addresses())
		for _, at := range r.lost.due(m.cfg.Clock.Since(), rejoinAtOnce-r.running) {
			r.running++
			running.Go(func() {
				r.ended <- attempt{at, m.join(at)}
			})
		}
		timer := time.NewTimer(r.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case a := <-r.ended:
			r.end(a)
		case <-m.moved:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// rejoiner is the state of Rejoin's loop.
type rejoiner struct {
	m       *Members
	lost    *lost
	running int          // attempts
	ended   chan attempt // has room for all that run
	last    error        // of an attempt
	lonely  time.Duration
	warned  bool
}

// attempt is one that has ended.
type attempt struct {
	at  string
	err error
}

// addresses returns those of all other members that are known, and whether one
// takes part there.
func (m *Members) addresses() map[string]bool {
	all := make(map[string]bool)
	for _, who := range m.View().Members {
		if who.ID != m.cfg.Self && who.Gossip != m.gossip.addr {
			all[who.Gossip] = all[who.Gossip] || who.Up
		}
	}
	return all
}

// pause is for how long there is nothing to do, unless something happens.
func (r *rejoiner) pause() time.Duration {
	at, ok := r.lost.next()
	if !ok || r.running == rejoinAtOnce {
		return rejoinPeer
	}
	return max(0, at-r.m.cfg.Clock.Since())
}

func (r *rejoiner) end(a attempt) {
	r.running--
	r.lost.tried(r.m.cfg.Clock.Since(), a.at, a.err == nil, rand.Float64())
	if a.err == nil {
		r.m.cfg.Log.Debug("rejoined", "address", a.at)
	} else {
		r.last = a.err
	}
	r.warnIfLonely()
}

// warnIfLonely warns, once, where none of the seeds has answered for a while.
func (r *rejoiner) warnIfLonely() {
	now := r.m.cfg.Clock.Since()
	for _, up := range r.m.addresses() {
		if up {
			r.lonely, r.warned = now, false
			return
		}
	}
	if len(r.m.cfg.Seeds) > 0 && now-r.lonely > lonelyWarn && !r.warned && r.last != nil {
		r.warned = true
		r.m.cfg.Log.Warn("no seed answers; trying again every few seconds: is it a -gossip address, and are -cluster and -gossip-key-file the same there?", "error", r.last)
	}
}

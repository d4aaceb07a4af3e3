package membership

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
		if _, err := m.gossip.join([]string{seed}); err != nil {
			if member.IsMismatch(err) {
				return fmt.Errorf("join: %w", err)
			}
			m.cfg.Log.Debug("seed does not answer yet", "error", err)
		}
	}
	return m.CheckName(ctx)
}

// Rejoin contacts lost members and the seeds until ctx ends.
func (m *Members) Rejoin(ctx context.Context) { m.gossip.rejoin(ctx, m.cfg.Seeds) }

// rejoin contacts, every few seconds, the seeds and every member ever seen
// that gossip does not know as alive. memberlist itself forgets the dead after
// 30 s and would never mend a longer partition. Seeds are resolved anew each
// time.
func (g *gossip) rejoin(ctx context.Context, seeds []string) {
	if planted.Is(planted.NoRejoin) {
		return
	}
	seen := make(map[string]struct{})
	var last error
	lonely, warned := time.Duration(0), false
	for pause := rejoinFirst; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause + rand.N(pause/2)):
		}
		lonely += pause
		alive := make(map[string]bool)
		for _, h := range g.snapshot() {
			alive[h.Gossip] = alive[h.Gossip] || h.Alive
			if len(seen) < rememberedPeers {
				seen[h.Gossip] = struct{}{}
			}
		}
		var missing []string
		for address := range seen {
			if !alive[address] {
				missing = append(missing, address)
			}
		}
		for _, seed := range seeds {
			if !alive[seed] && !g.isSelf(seed) {
				missing = append(missing, seed)
			}
		}
		if err := g.joinEach(ctx, missing); err != nil {
			last = err
		}
		// A member that knows nobody tries often at first: the seeds may be
		// starting at this moment.
		switch {
		case slices.ContainsFunc(g.snapshot(), func(h heard) bool { return h.Alive }):
			pause, lonely, warned = rejoinInterval, 0, false
		case len(seeds) > 0:
			pause = min(2*pause, rejoinInterval)
			if lonely > lonelyWarn && !warned && last != nil {
				warned = true
				g.log.Warn("no seed answers; trying again every few seconds: is it a -gossip address, and are -cluster and -gossip-key-file the same there?", "error", last)
			}
		default:
			pause = rejoinInterval
		}
	}
}

// joinEach contacts every address by itself, for one that is dead costs two
// seconds: a few at a time. It returns the last error.
func (g *gossip) joinEach(ctx context.Context, addresses []string) (last error) {
	var mu sync.Mutex // guards last
	var group errgroup.Group
	group.SetLimit(rejoinAtOnce)
	for _, address := range addresses {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			n, err := g.join([]string{address})
			switch {
			case n > 0 && err == nil:
				g.log.Debug("rejoined", "address", address)
			case err != nil:
				mu.Lock()
				defer mu.Unlock()
				last = err
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return last
}

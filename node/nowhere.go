package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// This file says whether a delete has to leave a tombstone where the owner knows
// nothing of the session. It has to if a copy may be somewhere and come: with a
// holder that is cut off or frozen, or over a link on its way here. If all others
// can be asked and none has anything, nothing can come back, and a flood of
// deletes of what never was costs no memory.

// keepAbsent is how long a node that vanished is waited for. It is as long as a
// tombstone lives that would have been made because of it.
const keepAbsent = 25 * time.Hour

// nowhereTimeout is how long others are asked for a key of which nothing is
// known here. They are in touch, so one that is late is busy: with a flood of
// such deletes, most likely.
const nowhereTimeout = time.Second

// maxAbsent bounds how many such nodes are remembered.
const maxAbsent = 1024

// absent remembers the nodes that fell silent, have not been seen to end, and
// that gossip has forgotten since. With what they have they may come back from a
// cut of any length.
type absent struct {
	mu    sync.Mutex // guards what follows
	since map[ID]time.Duration
}

// viewChanged takes note of who has gone without a word, and who is back.
func (a *absent) viewChanged(last, view *View, self ID, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range last.Members {
		if m.Role == RoleNode && m.ID != self && view.Member(m.ID) == nil && !m.Refused && !m.Left {
			if a.since == nil {
				a.since = make(map[ID]time.Duration)
			}
			a.since[m.ID] = now
		}
	}
	for id, since := range a.since {
		newer := view.Named(id.Name)
		if view.Member(id) != nil || newer != nil && newer.Boot > id.Boot || now-since > keepAbsent {
			delete(a.since, id)
		}
	}
	for len(a.since) > maxAbsent {
		for id := range a.since {
			delete(a.since, id)
			break
		}
	}
}

func (a *absent) any() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.since) > 0
}

// nowhere says whether it is certain that no other member has any of those
// sessions that the work deletes and that are not known here. Where another one
// has, it is here afterwards.
func (n *Node) nowhere(ctx context.Context, p int, w work) bool {
	if !w.mayWait() { // as most work, which is spared the rest
		return false
	}
	var keys []string
	w.buries(func(key string) {
		if n.store.Peek(key) == nil {
			keys = append(keys, key)
		}
	})
	if len(keys) == 0 {
		return false
	}
	view := n.View()
	links, ok := n.inTouch(view)
	if !ok || !n.owner.Decide(p).Verified() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, nowhereTimeout)
	defer cancel()
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		// A holder that was equal once has what this node has written since,
		// and what others have given to it, who are asked for themselves.
		if id := l.ID().String(); slices.Contains(view.CopyHolders(p), id) && n.repairer.IsSynced(id, p) {
			continue
		}
		wg.Go(func() { errs[i] = n.replicator.FetchKeys(ctx, l, p, keys...) })
	}
	wg.Wait()
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) || n.View() != view {
		return false
	}
	n.stats.nowhere.Add(int64(len(keys)))
	return true
}

// inTouch returns links to all nodes that may have copies, and whether all of
// them answer, and have for a while: those that were lost a moment ago may have
// left something on its way.
func (n *Node) inTouch(view *View) (links []*mesh.Link, ok bool) {
	if n.absent.any() || n.owner.Gate().Alone() || !n.owner.Leased() {
		return nil, false
	}
	if len(view.Members) == 1 && len(n.cfg.Join) == 0 {
		return nil, true // there was never anybody
	}
	if !n.owner.Stands() {
		return nil, false
	}
	for _, m := range view.Members {
		if m.ID == n.id || m.Role != RoleNode || n.View().HasEnded(m.ID) {
			continue
		}
		l := n.mesh.Link(m.ID)
		if l == nil || !l.Connected() || !l.HeardLately() {
			return nil, false
		}
		links = append(links, l)
	}
	return links, true
}

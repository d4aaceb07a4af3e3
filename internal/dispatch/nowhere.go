package dispatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// This file says whether a delete has to leave a tombstone where the owner
// knows nothing of the session. It has to if a copy may be somewhere and come:
// with a holder that is cut off or frozen, or over a link on its way here. If
// all others can be asked and none has anything, nothing can come back, and a
// flood of deletes of what never was costs no memory. Where sessions are taken
// over from elsewhere, any may come.

// keepAbsent is how long a node that vanished is waited for. It is as long as a
// tombstone lives that would have been made because of it.
const keepAbsent = 25 * time.Hour

// nowhereTimeout is how long others are asked for a key of which nothing is
// known here. They are in touch, so one that is late is busy: with a flood of
// such deletes, most likely.
const nowhereTimeout = time.Second

// maxAbsent bounds how many such nodes are remembered.
const maxAbsent = 1024

// absent remembers the nodes that this member saw fall silent, that have not
// been seen to end, and that gossip has forgotten since. With what they have
// they may come back from a cut of any length.
type absent struct {
	mu    sync.Mutex // guards what follows
	since map[member.ID]time.Duration
}

// viewChanged takes note of who has gone without a word, and who is back.
func (a *absent) viewChanged(last, view *member.View, self member.ID, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range last.Members {
		if m.Role == member.RoleNode && m.ID != self && view.Member(m.ID) == nil && !m.Ended && !m.Left {
			if a.since == nil {
				a.since = make(map[member.ID]time.Duration)
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
func (d *Dispatcher) nowhere(ctx context.Context, p int, w work) bool {
	if !w.mayWait() || d.cfg.Upstream != nil { // most work is spared the rest
		return false
	}
	var keys []string
	w.buries(func(key string) {
		if d.cfg.Store.Peek(key) == nil {
			keys = append(keys, key)
		}
	})
	if len(keys) == 0 {
		return false
	}
	view := d.cfg.View()
	links, ok := d.inTouch(view)
	if !ok || !d.cfg.Owner.Decide(p).Verified() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, nowhereTimeout)
	defer cancel()
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		// A holder that was equal once has what this node has written since,
		// and what others have given to it, who are asked for themselves.
		if id := l.ID().String(); slices.Contains(view.CopyHolders(p), id) && d.cfg.Repairer.IsSynced(id, p) {
			continue
		}
		wg.Go(func() { errs[i] = d.cfg.Replicator.FetchKeys(ctx, l, p, keys...) })
	}
	wg.Wait()
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) || d.cfg.View() != view {
		return false
	}
	d.count.nowhere.Add(int64(len(keys)))
	return true
}

// inTouch returns links to all nodes that may have copies, and whether all of
// them answer, and have for a while: those that were lost a moment ago may have
// left something on its way.
func (d *Dispatcher) inTouch(view *member.View) (links []*mesh.Link, ok bool) {
	if d.absent.any() || d.cfg.Absent(keepAbsent) || d.cfg.Owner.Gate().Alone() || !d.cfg.Owner.Leased() {
		return nil, false
	}
	if len(view.Members) == 1 && d.cfg.Alone {
		return nil, true // there was never anybody
	}
	if !d.cfg.Owner.Stands() {
		return nil, false
	}
	for _, m := range view.Members {
		if m.ID == d.cfg.Self || m.Role != member.RoleNode || d.cfg.View().HasEnded(m.ID) {
			continue
		}
		l := d.cfg.Mesh.Link(m.ID)
		if l == nil || !l.Connected() || !l.HeardLately() {
			return nil, false
		}
		links = append(links, l)
	}
	return links, true
}

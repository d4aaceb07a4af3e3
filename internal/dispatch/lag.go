package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	lagInterval = 100 * time.Millisecond
	// lagSlow is the replication lag over which writers are slowed down, and
	// lagRefuse the one over which new sessions are refused: what would be
	// lost with this node must not grow without bound.
	lagSlow   = time.Second
	lagRefuse = 5 * time.Second
	// slowBy is how long each write is held up for each second of lag.
	slowBy = 5 * time.Millisecond
)

// lagGauge is how replication stood at the last look.
type lagGauge struct {
	nanos atomic.Int64 // the largest lag of any member
	// silent are the nodes that take part and that this one does not reach, in
	// any way; nil for none.
	silent atomic.Pointer[map[string]bool]
}

// WatchLag looks at the replication lag until ctx ends.
func (d *Dispatcher) WatchLag(ctx context.Context) { wait.Every(ctx, lagInterval, d.look) }

// look notes how far copies are behind, and which nodes are not reached.
func (d *Dispatcher) look() {
	_, age := d.cfg.Replicator.Lag()
	d.lag.nanos.Store(int64(max(age, d.diskLag())))
	var silent map[string]bool
	for _, m := range d.cfg.View().Others(d.cfg.Self) {
		if l := d.cfg.Mesh.Link(m.ID); l == nil || !l.Reached() && d.isApart(l) {
			if silent == nil {
				silent = make(map[string]bool)
			}
			silent[m.ID.String()] = true
		}
	}
	if silent == nil {
		d.lag.silent.Store(nil)
	} else {
		d.lag.silent.Store(&silent)
	}
}

// apartAfter is how much longer than a node that is not reached others must have
// given this one a lease: longer than ownership takes for the same moment.
const apartAfter = 600 * time.Millisecond

// isApart says whether a node that is not reached is so alone. In mode Majority a
// copy in its place counts for nothing where this node is on the lesser side of a
// cut and in the last second of its lease: the other side goes by the holder that
// it has, which cannot know that another one had copies in its place.
func (d *Dispatcher) isApart(l *mesh.Link) bool {
	return d.cfg.Mode != ownership.Majority || d.cfg.Owner.Gate().LeasedUntil()-l.LastReached() >= ownership.LeaseTime+apartAfter
}

// holders returns the members that are sent copies of partition p, beside this
// one: those that the ring names, and for each of them that is not reached the
// next node by name that is. That one keeps its copy until the one that should
// have it has confirmed it, as any member does with what it should not hold; and
// as every claim asks it, a successor finds what it has.
func (d *Dispatcher) holders(p int) []string {
	view := d.cfg.View()
	named := view.CopyHolders(p)
	silent := d.lag.silent.Load()
	if silent == nil || planted.Is(planted.NoStandIn) {
		return named
	}
	all := slices.Clone(named)
	for _, id := range named {
		if (*silent)[id] {
			if next := d.nextAfter(view, id, all, *silent); next != "" {
				all = append(all, next)
			}
		}
	}
	return all
}

// nextAfter returns the next node by name after one that is silent which is
// reached and not among others, "" for none.
func (d *Dispatcher) nextAfter(view *member.View, id string, others []string, silent map[string]bool) string {
	nodes := view.Nodes()
	at := slices.IndexFunc(nodes, func(m *member.Member) bool { return m.ID.String() == id })
	for i := range nodes {
		m := nodes[(at+1+i)%len(nodes)]
		if next := m.ID.String(); m.ID != d.cfg.Self && !silent[next] && !slices.Contains(others, next) {
			return next
		}
	}
	return ""
}

func (d *Dispatcher) slow() bool { return d.lag.nanos.Load() > int64(lagSlow) }

// diskLag is how far the disk is behind: what would be lost if all nodes ended.
func (d *Dispatcher) diskLag() time.Duration {
	if d.cfg.Disk == nil {
		return 0
	}
	return d.cfg.Disk.Behind()
}

// diskErr is why what writers have to wait for cannot come.
func (d *Dispatcher) diskErr() error {
	if d.cfg.Disk == nil || !d.cfg.Disk.Waits() {
		return nil
	}
	return d.cfg.Disk.Err()
}

// lagOf is how far the best of the copies of partition p is behind: what would
// be lost with this node.
func (d *Dispatcher) lagOf(p int) (lag time.Duration) {
	for i, id := range d.holders(p) {
		_, age := d.cfg.Replicator.LagOf(id)
		if i == 0 || age < lag {
			lag = age
		}
	}
	return lag
}

// admit slows a write down, or refuses a new session, while all other copies of
// its partition, or the disk, are too far behind. Copies of other partitions do
// not count. It refuses every write that would have to wait for a disk that has
// failed. A logout always passes.
func (d *Dispatcher) admit(ctx context.Context, p int, w work) error {
	if w.deletes() {
		return nil
	}
	if err := d.diskErr(); err != nil {
		return fmt.Errorf("%s: a write has to be on the disk, which has failed: %w: %w", w.name(), session.ErrUnavailable, err)
	}
	if !d.slow() {
		return nil
	}
	lag := max(d.lagOf(p), d.diskLag())
	if lag <= lagSlow {
		return nil
	}
	if lag > lagRefuse && w.creates(d.cfg.Store) {
		d.count.refusedLagging.Add(1)
		return fmt.Errorf("%s: copies, or the disk, are %v behind, over %v no new sessions are taken: %w", w.name(), lag.Round(time.Millisecond), lagRefuse, session.ErrFull)
	}
	d.count.slowed.Add(1)
	select {
	case <-time.After(time.Duration(lag.Seconds() * float64(slowBy))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

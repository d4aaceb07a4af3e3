package repair

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// interval is how often the copies of a quiet cluster are compared.
	interval = 2 * time.Second
	// secondLook is how long partitions that differ are left to the stream of
	// changes before they count as different.
	secondLook = 50 * time.Millisecond
	// soon is the pause after a pass that failed, and fullPause where it did so
	// because a member does not take what it lacks.
	soon      = 100 * time.Millisecond
	fullPause = time.Second
)

// Config is what a Repairer needs. All of it is required, but Store and
// Replicator on a router, which holds nothing.
type Config struct {
	Self       member.ID
	View       func() *member.View
	Store      *session.Store
	Replicator *replication.Replicator
	// Away says that the copies here are not to be passed on: see package
	// absence.
	Away func() bool

	Clock    clock.Clock
	Log      *slog.Logger
	Events   *events.Log
	Pulse    *wait.Pulse
	Counters *metric.Set
}

// Repairer sees to it that the right members hold copies, by comparison. It
// fills the copies of a new successor, finds and mends what the stream of
// changes has missed, hands over what this node holds and should not, and
// fetches what this node serves and others have more of. It implements
// owner.Copies.
type Repairer struct {
	cfg   Config
	owner *owner.Owner // with mesh, set by Bind
	mesh  *mesh.Mesh
	wake  wait.Wake
	room  room

	fetchedThrough *metric.Counter

	mu sync.Mutex // guards what follows
	// synced says, for each member and partition, that since this node serves
	// the partition the copy there has once been equal to the one here. From
	// then on the dirty set keeps it so.
	synced map[string]*[ring.Partitions]bool
	pulls  map[int]*pull // of the partitions that are being fetched
	// handovers are of the partitions that this node should hold no copy of.
	handovers map[int]*handover
}

// New returns a Repairer. It needs to be bound before it is used.
func New(cfg Config) *Repairer {
	r := &Repairer{
		cfg: cfg, wake: wait.NewWake(), synced: make(map[string]*[ring.Partitions]bool), pulls: make(map[int]*pull), handovers: make(map[int]*handover),
		fetchedThrough: cfg.Counters.Counter("fetched_through", "Keys fetched from other holders before they were served, in cold partitions."),
	}
	if cfg.Replicator != nil { // a router has none
		cfg.Counters.Func(r.count)
	}
	return r
}

// count puts what the stream of copies and the comparisons count.
func (r *Repairer) count(put metric.Put) {
	s := &r.cfg.Replicator.Stats
	put("copies_sent", "Records sent to other members.", s.Sent.Load())
	put("copy_batches", "Batches of records sent to other members.", s.Batches.Load())
	put("copy_batches_failed", "Batches that were not confirmed, and whose records are sent again.", s.Failed.Load())
	put("copies_quarantined", "Records that a member refused to take, and that are left out until they change.", s.Quarantined.Load())
	put("copies_no_room", "Records for which another member had no memory; copies_quarantined has them too.", s.NoRoom.Load())
	put("copies_merged", "Records merged that other members sent.", s.Merged.Load())
	put("copies_refused", "Records that were not taken from other members.", s.Refused.Load())
	put("repair_pushed", "Records that repair sent.", s.Pushed.Load())
	put("repair_pulled", "Records that repair fetched.", s.Pulled.Load())
	put("repair_mended", "Partitions whose copies differed and were made equal.", s.Mended.Load())
}

// Bind gives it the owner whose partitions it sees to, and the links.
func (r *Repairer) Bind(o *owner.Owner, m *mesh.Mesh) { r.owner, r.mesh = o, m }

// Recheck implements owner.Copies: it looks at the copies soon.
func (r *Repairer) Recheck() { r.wake.Kick() }

// Run compares the copies with those of each other node again and again until
// ctx ends, and waits for what is under way. Each node has a goroutine of its
// own: one that is slow or silent holds up no other.
func (r *Repairer) Run(ctx context.Context) {
	var comparing sync.WaitGroup
	defer comparing.Wait()
	with := make(map[member.ID]*comparison)
	for {
		others := make(map[member.ID]bool)
		for _, m := range r.cfg.View().Others(r.cfg.Self) {
			others[m.ID] = true
			c := with[m.ID]
			if c == nil {
				c = &comparison{wake: wait.NewWake()}
				var cctx context.Context
				cctx, c.stop = context.WithCancel(ctx)
				with[m.ID] = c
				comparing.Go(func() { r.compareWith(cctx, m.ID, c.wake) })
			}
			c.wake.Kick()
		}
		for id, c := range with {
			if !others[id] {
				c.stop()
				delete(with, id)
			}
		}
		select {
		case <-ctx.Done():
			for _, c := range with {
				c.stop()
			}
			return
		case <-r.wake:
		}
	}
}

// comparison is the goroutine that compares copies with one other node.
type comparison struct {
	wake wait.Wake // look soon
	stop context.CancelFunc
}

func (r *Repairer) compareWith(ctx context.Context, id member.ID, wake wait.Wake) {
	for {
		pause := interval + rand.N(interval/4)
		if err := r.pass(ctx, id); err != nil && ctx.Err() == nil {
			r.cfg.Log.Debug("copies", "member", id.Name, "error", err)
			pause = soon
			if refused(err) {
				pause = fullPause
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(pause):
		}
	}
}

// Claimed starts the account of a partition that this node serves from now on.
// equal are the members that were found to hold the same.
func (r *Repairer) Claimed(p int, equal []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, parts := range r.synced {
		parts[p] = false
	}
	for _, id := range equal {
		r.entryLocked(id)[p] = true
	}
}

func (r *Repairer) entryLocked(id string) *[ring.Partitions]bool {
	parts := r.synced[id]
	if parts == nil {
		parts = new([ring.Partitions]bool)
		r.synced[id] = parts
	}
	return parts
}

// Forget drops the account of a member: it has ended, or the stream of changes
// to it has been interrupted.
func (r *Repairer) Forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.synced, id)
}

// SetView drops the accounts of copies that nobody keeps up to date any more.
func (r *Repairer) SetView(view *member.View) {
	defer r.setCrowded()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, parts := range r.synced {
		for p := range parts {
			if parts[p] && !slices.Contains(view.CopyHolders(p), id) {
				parts[p] = false
			}
		}
	}
}

// SetSynced records that a member's copy of partition p has been equal to the
// one here. It does nothing for a member that is not to hold one, since nobody
// would send it what changes.
func (r *Repairer) SetSynced(id string, p int) {
	if !slices.Contains(r.cfg.View().CopyHolders(p), id) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entryLocked(id)[p] = true
}

// Refused is told that a member has not taken what has changed of a key.
func (r *Repairer) Refused(id, key string) { r.setBehind(id, ring.Partition(key)) }

// setBehind says that the copy at a member is not equal any more, and that the
// dirty set does not mend that: the member has no room, or another time.
func (r *Repairer) setBehind(id string, p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entryLocked(id)[p] = false
}

// IsSynced says whether a member's copy of partition p has been equal to the
// one here since this node serves p: it lacks no more than what is on its way.
func (r *Repairer) IsSynced(id string, p int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := r.synced[id]
	return parts != nil && parts[p]
}

// BelowTarget counts the keys, of those that this node serves, that fewer
// members are known to hold than were asked for: with one node for two copies,
// all of them. It says how safe sessions are.
func (r *Repairer) BelowTarget() (keys int) {
	target := r.cfg.View().Target()
	return r.keys(func(holders, synced int) bool { return 1+synced < target || synced < holders })
}

// CopiesDue counts those of them of which a copy can be made, because a member
// that should hold it is there and does not. It falls to 0 while members stay
// the same: whoever waits for copies waits for this.
func (r *Repairer) CopiesDue() (keys int) {
	return r.keys(func(holders, synced int) bool { return synced < holders })
}

// keys counts those of the partitions that are served here of which lack says
// that they lack a copy, by how many other members should hold one, and how
// many are known to.
func (r *Repairer) keys(lack func(holders, synced int) bool) (count int) {
	for _, p := range r.partsWith(lack) {
		count += r.cfg.Store.Count(p)
	}
	return count
}

func (r *Repairer) partsWith(lack func(holders, synced int) bool) (parts []int) {
	r.served(func(p int, holders, lacking []string) {
		if lack(len(holders), len(holders)-len(lacking)) {
			parts = append(parts, p)
		}
	})
	return parts
}

// Behind returns the names of the members that are not known to hold all
// copies that they should, of what this node serves.
func (r *Repairer) Behind() (names []string) {
	r.served(func(_ int, _, lacking []string) {
		for _, holder := range lacking {
			if id, err := member.ParseID(holder); err == nil {
				names = append(names, id.Name)
			}
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// served calls f, in order, for each partition that this node serves, with the
// other members that should hold it, and those of them that are not known to.
func (r *Repairer) served(f func(p int, holders, lacking []string)) {
	view := r.cfg.View()
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range ring.Partitions {
		if !r.owner.Decide(p).Here() {
			continue
		}
		holders := view.CopyHolders(p)
		var lacking []string
		for _, id := range holders {
			if synced := r.synced[id]; synced == nil || !synced[p] {
				lacking = append(lacking, id)
			}
		}
		f(p, holders, lacking)
	}
}

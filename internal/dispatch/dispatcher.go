package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Events is told what happens to keys.
type Events interface {
	// Wanted says whether any member has a subscriber that events may be for.
	Wanted() bool
	// Event queues what happened to a key. It does not block.
	Event(name, key string)
}

// Disk keeps what the store holds.
type Disk interface {
	// Waits says whether a write is acknowledged only after Wait.
	Waits() bool
	// Wait returns when all that has changed before is on the disk.
	Wait(ctx context.Context) error
	// Behind is for how long the oldest change waits that was not written.
	Behind() time.Duration
	// Err is why nothing is written any more, nil if it is.
	Err() error
}

// Config is what a Dispatcher needs. All of it is required, but Store and
// Replicator on a router, which forwards everything.
type Config struct {
	Self       member.ID
	View       func() *member.View
	Store      *session.Store
	Replicator *replication.Replicator
	Owner      *owner.Owner
	Repairer   *repair.Repairer
	Mesh       *mesh.Mesh
	Events     Events

	// Mode is what is done of partitions whose copies are out of reach.
	Mode ownership.Mode
	// Ack is what a write waits for that says nothing of it.
	Ack session.Ack
	// RefuseRevive is for how long after a delete a Redis command that writes
	// without looking is refused.
	RefuseRevive time.Duration
	// Alone says that this member was told of no other one.
	Alone bool
	// Absent says whether a node that took part within the given time is
	// missing, and not known to have ended, as the members tell each other: one
	// that joins has never seen it.
	Absent func(within time.Duration) bool
	// Disk is nil for a node that has none.
	Disk Disk
	// Upstream is nil for a node that takes nothing over.
	Upstream Upstream

	Clock clock.Clock
	Pulse *wait.Pulse
	// Counters lists what any member counts, NodeCounters what nodes alone do.
	Counters, NodeCounters *metric.Set
}

// Dispatcher brings work to where it is done.
type Dispatcher struct {
	cfg      Config
	attempts attemptLog
	absent   absent
	lag      lagGauge
	ring     atomic.Pointer[ringSeen] // nil before the first view
	count    counters
	// deleting counts, by partition, the deletes that run here or wait for
	// their copies.
	deleting [ring.Partitions]atomic.Int32
}

type counters struct {
	forwarded, unavailable                                                                  *metric.Counter
	served, degraded, unverified, unconfirmed, nowhere, refusedLate, refusedLagging, slowed *metric.Counter
}

// New returns a Dispatcher.
func New(cfg Config) *Dispatcher {
	all, nodes := cfg.Counters, cfg.NodeCounters
	d := &Dispatcher{cfg: cfg, count: counters{
		forwarded:   all.Counter("forwarded", "Operations sent to another member."),
		unavailable: all.Counter("unavailable", "Operations that found no owner in time."),

		served:         nodes.Counter("served", "Operations run on this node's store."),
		unconfirmed:    nodes.Counter("unconfirmed_deletes", "Deletes that not every reachable copy confirmed in time."),
		nowhere:        nodes.Counter("deletes_nowhere", "Deletes of sessions that no member has, which left no tombstone."),
		refusedLate:    nodes.Counter("refused_late", "Requests refused because they came too late to be run."),
		refusedLagging: nodes.Counter("refused_lagging", "New sessions refused because copies are too far behind."),
		slowed:         nodes.Counter("slowed", "Writes slowed down because copies are behind."),
		degraded:       nodes.Counter("degraded", "Operations served without being able to reach any other node."),
		unverified:     nodes.Counter("blind", "Misses that were not answered as such, because all holders were out of reach."),
	}}
	nodes.Func(d.countStore)
	return d
}

// countStore puts what the store and the attempt log count.
func (d *Dispatcher) countStore(put metric.Put) {
	s := d.cfg.Store.Counted()
	put("refused_full", "Writes refused because memory is short, here or at another holder of a copy.", int64(s.RefusedFull))
	put("copies_refused_full", "Records that were not taken from other members because memory is short.", int64(s.RefusedCopies))
	put("tombstones_dropped", "Tombstones forgotten before their time because memory is short: their sessions could come back with a member that was away.", int64(s.Dropped))
	put("writes_retried", "Runs of a transaction repeated, because another had written first.", int64(s.Retried))
	put("writes_busy", "Writes to large sessions refused, because others had written first each time.", int64(s.Busy))
	put("repeats_unfenced", "Operations whose attempts cannot be told apart, because too many were repeated or deleted.", d.attempts.unlogged.Load())
}

// Do runs an operation where its key is owned, as that attempt.
func (d *Dispatcher) Do(ctx context.Context, op *session.Op, ack session.Ack, a attempt.Attempt) (session.Reply, error) {
	r, err := d.do(ctx, opWork{op}, ack, a)
	return r.Reply, err
}

// Get returns a session: at once where it is here.
func (d *Dispatcher) Get(ctx context.Context, key string) (*session.Record, error) {
	p := ring.Partition(key)
	if d.cfg.Owner.Verified(p) {
		rec, err := d.cfg.Store.Get(key)
		asks := d.cfg.Upstream != nil && errors.Is(err, session.ErrNotFound)
		if !errors.Is(err, session.ErrNotServed) && !asks && d.cfg.Owner.Verified(p) {
			return rec, err
		}
	}
	reply, err := d.Do(ctx, &session.Op{Kind: session.Get, Key: key}, session.AckDefault, attempt.Attempt{})
	return reply.Record, err
}

// batches saves an allocation a command.
var batches = sync.Pool{New: func() any { return new(batchWork) }}

// Batch runs Redis commands where their keys are owned, and appends their
// answers to dst.
func (d *Dispatcher) Batch(ctx context.Context, b *command.Batch, dst []byte) ([]byte, error) {
	w := batches.Get().(*batchWork)
	*w = batchWork{Batch: b, dst: dst, part: partitionOf(b)}
	r, err := d.do(ctx, w, session.AckDefault, attempt.Attempt{Fenced: true})
	*w = batchWork{}
	batches.Put(w)
	switch {
	case err != nil:
		return dst, err
	case r.forwarded:
		return append(dst, r.answers...), nil
	default:
		return r.answers, nil
	}
}

// AwaitOwner says whether this node serves a key, and waits a little while
// nobody does. Without a lease it asks the others first.
func (d *Dispatcher) AwaitOwner(ctx context.Context, key string) (here bool, err error) {
	p := ring.Partition(key)
	if v := d.cfg.Owner.Decide(p); v.Verdict == ownership.Serve && v.Leased {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	if !d.cfg.Owner.Leased() {
		_, _ = d.cfg.Owner.Ask(ctx) // whether the session may be used is for those who ask for it
	}
	var v ownership.Decision
	if d.cfg.Pulse.Until(ctx, recheck, func() bool { v = d.cfg.Owner.Decide(p); return v.Verdict != ownership.Wait }) != nil {
		return false, fmt.Errorf("partition %d: %w", p, errNoOwner)
	}
	return v.Here(), nil
}

// SetView lets the dispatcher follow the members.
func (d *Dispatcher) SetView(last, view *member.View) {
	if r := d.ring.Load(); r == nil || r.table != view.Table {
		d.ring.Store(&ringSeen{view.Table, d.cfg.Clock.Since()})
	}
	d.absent.viewChanged(last, view, d.cfg.Self, d.cfg.Clock.Since())
}

// Tick forgets attempts whose time is over. It is to be called every second.
func (d *Dispatcher) Tick() { d.attempts.forget(d.cfg.Clock.Now()) }

// Late counts the requests that came too late to be run.
func (d *Dispatcher) Late() *metric.Counter { return d.count.refusedLate }

// reply is what this member says of itself where it has not run the work.
func (d *Dispatcher) reply() reply {
	return reply{Reply: session.Reply{Node: d.cfg.Self.Name, Ring: d.cfg.View().Table.Fingerprint()}}
}

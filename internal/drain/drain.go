// Package drain takes a node out of the ring without losing what it holds.
//
// The life of a drain. The node says that it is leaving, so every other member
// makes a ring without it, and the new owners claim its partitions. Package
// repair hands over what the node still holds and should not. The drainer looks
// on until nothing is left, and says how much there is: it moves no session by
// itself. It runs once at a time, and a second one finds little to do.
package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Status says how far a drain is.
type Status struct {
	// Partitions are those that this node still serves, or holds something of.
	Partitions int `json:"partitions"`
	// Unsynced counts the records in them: what would be lost, as far as this
	// node knows, if it ended now.
	Unsynced int `json:"unsynced"`
	// Kept are those that others hold, but not as many as should, while a node is
	// out of reach.
	Kept int `json:"kept"`
}

const (
	poll = 20 * time.Millisecond
	// lingering is how long a drained node goes on forwarding, so that every
	// router has stopped sending to it: a few rounds of gossip.
	lingering = 500 * time.Millisecond
	// alonePatience is how long nobody may be there who could take a record,
	// where nobody may come back who could, or who counts on this node.
	alonePatience = time.Second
	// missingPatience is how long a node that is out of reach is waited for, where
	// without it there are fewer copies than there should be: as long as it takes
	// to be taken for lost.
	missingPatience = 30 * time.Second
	// tellSlow is how often the log says whom a drain waits for.
	tellSlow = 5 * time.Second
)

// ErrNobodyThere is why a drain fails where no other node can take what is left.
var ErrNobodyThere = errors.New("no other node is there")

// Config is what a Drainer needs of its node. All of it is required.
type Config struct {
	Self member.ID
	// Context ends with the node. A drain that is overtaken by that returns
	// Stopped.
	Context context.Context
	Stopped error
	// State is what the node says of itself, and Leave has it say that it is
	// leaving.
	State func() member.State
	Leave func() error

	View  func() *member.View
	Store *session.Store
	Gate  *ownership.Gate
	// Recheck has what is held here and should not be looked at soon.
	Recheck func()
	// Kept says whether what is held here of a partition is confirmed elsewhere,
	// and stays because too few nodes have it while one is out of reach.
	Kept func(p int) bool
	// Unconfirmed returns the names of the nodes that have not confirmed what is
	// held here and should not.
	Unconfirmed func() []string
	// MayLeave says whether no other node waits for this one's vote.
	MayLeave func() bool
	// Timeout bounds a drain that an operator has started.
	Timeout time.Duration
	Log     *slog.Logger
	Events  *events.Log
	// Go runs f in a goroutine that the node waits for.
	Go func(f func())
}

// Drainer takes a node out of the ring.
type Drainer struct {
	cfg   Config
	turn  chan struct{} // has a place for one drain at a time
	whole atomic.Bool   // one has succeeded
}

// New returns the drainer of a node.
func New(cfg Config) *Drainer { return &Drainer{cfg: cfg, turn: make(chan struct{}, 1)} }

// Drained says whether a drain has handed over everything.
func (d *Drainer) Drained() bool { return d.whole.Load() }

// Run takes the node out of the ring and returns when all that it held is
// confirmed elsewhere, or when ctx ends, with an error that says how much is
// not. Where those who hold it are too few, it waits some time for a node that
// is out of reach. progress is called as it goes. The node serves on, by forwarding.
func (d *Drainer) Run(ctx context.Context, progress func(Status)) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer func() { <-d.turn }()
	if d.cfg.Context.Err() != nil { // the drain that this one waited for was followed by the end
		return d.cfg.Stopped
	}
	if d.cfg.State() != member.StateLeaving {
		d.cfg.Log.Info("draining", "sessions", d.cfg.Store.Stats().Sessions)
		d.cfg.Events.Add("draining", "member", d.cfg.Self.Name)
		progress(d.Status()) // what there is to do; the announcement takes a moment
		if err := d.cfg.Leave(); err != nil {
			return fmt.Errorf("drain: %w", err)
		}
	}
	alone, told, short := time.Now(), time.Now(), time.Now()
	for {
		status := d.Status()
		progress(status)
		if time.Since(told) > tellSlow {
			told = time.Now()
			d.cfg.Log.Warn("the drain waits for nodes to confirm what they were sent, or for one that is out of reach", "nodes", d.cfg.Unconfirmed(), "unsynced", status.Unsynced, "kept", status.Kept)
		}
		if status.Partitions > 0 || status.Kept == 0 {
			short = time.Now()
		}
		if status.Partitions == 0 && (status.Kept == 0 || time.Since(short) > missingPatience) {
			// A copy may still arrive from a member that has not heard yet.
			if d.linger(ctx); d.Status().Partitions == 0 {
				d.awaitLeave(ctx)
				d.whole.Store(true)
				return nil
			}
			continue
		}
		if d.hasTaker() {
			alone = time.Now()
		} else if status.Unsynced == 0 {
			d.awaitLeave(ctx)
			return nil // nobody is there to take over, and there is nothing to take
		} else if time.Since(alone) > alonePatience && d.cfg.MayLeave() && !d.cfg.View().Misses(d.cfg.Self) {
			return fmt.Errorf("drain: %w to take %d records: unsynced=%d", ErrNobodyThere, status.Unsynced, status.Unsynced)
		}
		d.cfg.Recheck()
		select {
		case <-ctx.Done():
			if d.cfg.Context.Err() == nil { // of which ctx may be a part
				return fmt.Errorf("drain: %s: %w", d.left(status), ctx.Err())
			}
			return d.cfg.Stopped
		case <-d.cfg.Context.Done():
			return d.cfg.Stopped
		case <-time.After(poll):
		}
	}
}

// hasTaker says whether a node is there that can take what this one holds, or is
// about to be.
func (d *Drainer) hasTaker() bool {
	return slices.ContainsFunc(d.cfg.View().Members, func(m *member.Member) bool {
		return m.Up && m.Role == member.RoleNode && m.ID != d.cfg.Self && m.State != member.StateLeaving
	})
}

// left says how much is left, and who has not confirmed it.
func (d *Drainer) left(s Status) string {
	text := fmt.Sprintf("unsynced=%d", s.Unsynced)
	if names := d.cfg.Unconfirmed(); len(names) > 0 {
		text += ", not confirmed by " + strings.Join(names, ", ")
	}
	return text
}

// begin waits until no other drain is under way, as long as ctx allows.
func (d *Drainer) begin(ctx context.Context) error {
	if d.cfg.Context.Err() != nil {
		return d.cfg.Stopped
	}
	select {
	case d.turn <- struct{}{}:
		return nil // also where ctx has ended: how much is left is to be told
	default:
	}
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain: another one is under way: unsynced=%d: %w", d.Status().Unsynced, ctx.Err())
	case <-d.cfg.Context.Done():
		return d.cfg.Stopped
	}
}

// Start drains the node for an operator, who may leave: it goes on as long as
// Config.Timeout allows. What ended is told says what has become of the node
// where that failed.
func (d *Drainer) Start(progress func(Status)) (ended <-chan error) {
	end := make(chan error, 1)
	d.cfg.Go(func() {
		ctx, cancel := context.WithTimeout(d.cfg.Context, d.cfg.Timeout)
		defer cancel()
		end <- d.advise(d.Run(ctx, progress))
	})
	return end
}

// advise adds to why a drain has failed what has become of the node: unlike
// after a signal it is still there, and only the operator can say what next.
func (d *Drainer) advise(err error) error {
	switch {
	case err == nil, errors.Is(err, d.cfg.Stopped):
		return err
	case errors.Is(err, ErrNobodyThere):
		return fmt.Errorf("%w; the node stays, out of the ring: start another and drain again, or SIGTERM ends it without them", err)
	default:
		return fmt.Errorf("%w; the node stays, out of the ring: drain again, or SIGTERM ends it", err)
	}
}

func (d *Drainer) linger(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-d.cfg.Context.Done():
	case <-time.After(lingering):
	}
}

// awaitLeave waits until the others do not count this node any more, as long as
// ctx allows: if it ended before, they could be too few to say so.
func (d *Drainer) awaitLeave(ctx context.Context) {
	for !d.cfg.MayLeave() {
		select {
		case <-ctx.Done():
			d.cfg.Log.Warn("leaving, though the other nodes count this one still: -partition-mode majority may refuse until they do not", "name", d.cfg.Self.Name)
			return
		case <-d.cfg.Context.Done():
			return
		case <-time.After(poll):
		}
	}
}

// Status says how much the node still serves or holds.
func (d *Drainer) Status() Status {
	var s Status
	for p := range ring.Partitions {
		count := d.cfg.Store.Count(p)
		away := d.cfg.Gate.Phase(p) == ownership.Away
		switch {
		case away && count == 0:
		case away && d.cfg.Kept(p):
			s.Kept++
		default:
			s.Partitions++
			s.Unsynced += count
		}
	}
	return s
}

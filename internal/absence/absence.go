// Package absence keeps a node that was away for long from bringing back what
// has ended meanwhile.
//
// The end of a session is remembered for a day (session.TombstoneFor). A node
// that was frozen or cut off for longer may hold sessions that were ended
// without it, and of whose end nobody knows any more. So each node keeps
// account of when it was last in touch with at least half of the cluster. One
// that was not for nearly as long as an end is remembered passes no copies on
// until it has asked the others. If one of them was in touch all the time, the
// copies here from before are of no use: the others have what of them still
// lives. What was written here since is kept. If none was, as when all were
// frozen, or cut from each other, nobody knows better, and all is kept.
package absence

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// every is how often a node notes that it is in touch.
	every = 200 * time.Millisecond
	// ahead is how far the stamp of a write may be ahead of that note: the owner
	// had just taken the partition over, its clock was fast, and the note is as
	// old as it gets. What a node has of the time until then is taken for
	// written before. That loses what it wrote out of touch in that time, and
	// brings nothing back.
	ahead = session.Lead + clock.Near + every
	// Limit is how long a node may be away: less than an end is remembered, for
	// clocks differ, and its copies take time to be compared.
	Limit = session.TombstoneFor - time.Hour
)

// Config is what an Absence needs. All of it is required.
type Config struct {
	// Now is the time of day as the members agree about it, and HostAhead how
	// far the clock of this host is ahead of it: of a machine that stood still
	// the host's clock alone may know.
	Now       func() time.Time
	HostAhead func() time.Duration
	// InTouch says whether this node and those that have answered it within the
	// last second are at least half of the cluster.
	InTouch func() bool
	// Others lists the other nodes on the ring.
	Others func() []member.ID
	// Drop forgets the sessions here that were last written before a time, and
	// returns how many. It stops serving what is left, until it was claimed
	// anew.
	Drop func(before time.Time) (sessions int)
	// Before is the account of the process that this one has its sessions from,
	// over its disk; the zero Account if it has none.
	Before Account
	Log    *slog.Logger
	Events *events.Log
}

// Account says when a node was last in touch, and since when no end of a session
// can have escaped it.
type Account struct{ InTouch, Since time.Time }

// Absence says whether one node was away. It may be used from many goroutines.
type Absence struct {
	cfg Config

	mu   sync.Mutex // guards what follows
	last time.Time  // in touch
	// since is from when on no end can have escaped the copies here: this node
	// was never away since then, nor was the one that it has them from.
	since    time.Time
	away     bool               // it was, and what that means is not settled
	asked    map[member.ID]bool // while away: who has answered, and does not know better
	dropping bool
}

// New returns the account of a process that starts now, and holds nothing, or
// what was held before.
func New(cfg Config) *Absence {
	now := cfg.Now()
	a := &Absence{cfg: cfg, last: now, since: now}
	if b := cfg.Before; !b.InTouch.IsZero() && b.InTouch.Before(now) && !planted.Is(planted.OldDiskKept) {
		a.last, a.since = b.InTouch, b.Since
	}
	return a
}

// Account returns the account so far.
func (a *Absence) Account() Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Account{a.last, a.since}
}

// Run keeps the account until ctx ends.
func (a *Absence) Run(ctx context.Context) { wait.Every(ctx, every, a.Tick) }

// Tick takes note of whether this node is in touch. Run calls it.
func (a *Absence) Tick() {
	in := a.cfg.InTouch()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.awayLocked() && in {
		a.last = a.cfg.Now()
	}
}

// Away says that copies from here are not to be passed on: this node was away
// for too long, and has not asked the others yet. It looks at the clocks: a
// process that was frozen may be asked before anything else of it runs.
func (a *Absence) Away() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.awayLocked()
}

func (a *Absence) awayLocked() bool {
	if !a.away && a.cfg.Now().Add(a.cfg.HostAhead()).Sub(a.last) > Limit && !planted.Is(planted.GhostsReturn) {
		a.away, a.asked = true, make(map[member.ID]bool)
	}
	return a.away
}

// Section lets nodes know who was in touch, and since when:
//
//	answer: u64 time of day, unix ms | u64 since when, unix ms; 0 for not known
//
// Questions have none. It comes before all that may give a lease.
func (a *Absence) Section() mesh.Section {
	return mesh.Section{
		Type:  mesh.SectionAbsence,
		Ask:   func() []byte { return nil },
		Asked: func(member.ID, []byte) ([]byte, error) { return a.say(), nil },
		Answered: func(from member.ID, _ time.Duration, said []byte) error {
			switch len(said) {
			case 0: // a version that does not say
				a.hear(from, time.Time{}, time.Time{})
			case 16:
				since := time.Time{}
				if ms := binary.BigEndian.Uint64(said[8:]); ms != 0 {
					since = time.UnixMilli(int64(ms))
				}
				a.hear(from, time.UnixMilli(int64(binary.BigEndian.Uint64(said))), since)
			default:
				return fmt.Errorf("absence of %d bytes: 16 are accepted", len(said))
			}
			return nil
		},
	}
}

func (a *Absence) say() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	since := uint64(0)
	if !a.awayLocked() {
		since = uint64(a.since.UnixMilli())
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(a.cfg.Now().UnixMilli())), since)
}

// hear takes in what another node says: its time, and since when it knows all
// ends; the zero time for not.
func (a *Absence) hear(from member.ID, now, since time.Time) {
	others := a.cfg.Others()
	a.mu.Lock()
	last := a.last
	switch knows := !since.IsZero() && !since.After(last); {
	case a.dropping:
	case !a.awayLocked():
		if !since.IsZero() && since.Before(a.since) {
			a.since = since // what this node has, it has from there
		}
	case !knows:
		a.asked[from] = true
		if !slices.ContainsFunc(others, func(id member.ID) bool { return !a.asked[id] }) {
			a.settleLocked(a.cfg.Now())
			a.cfg.Log.Warn("this node was away for longer than the end of a session is remembered, and none of the others was there all the time: all copies are kept", "since", last)
		}
	case now.Sub(last) <= Limit: // it is the clock of this host that has jumped
		a.settleLocked(a.since)
	default:
		a.dropping = true
		a.mu.Unlock()
		dropped := a.cfg.Drop(last.Add(ahead))
		a.cfg.Log.Warn("this node was away for longer than the end of a session is remembered: it fetches its copies anew", "since", last, "dropped", dropped, "told_by", from.Name)
		a.cfg.Events.Add("copies-dropped", "sessions", dropped, "away_ms", now.Sub(last).Milliseconds(), "told_by", from.Name)
		a.mu.Lock()
		a.dropping = false
		a.settleLocked(since)
	}
	a.mu.Unlock()
}

// settleLocked says that it is settled what the absence means.
func (a *Absence) settleLocked(since time.Time) {
	a.away, a.asked, a.since = false, nil, since
	a.last = a.cfg.Now().Add(max(0, a.cfg.HostAhead()))
}

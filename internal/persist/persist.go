// Package persist keeps what a node's store holds on a disk as well, so that a
// stop of the whole cluster ends no session.
//
// The life of one change. The store has made it and noted its key. Within
// [flushEvery], or at once where a writer waits, [Persister.Run] takes what has
// changed (session.Store.TakeUnsaved), as it is then, and appends it to the
// journal (package disk). In mode EverySecond it syncs once a second, and nobody
// waits for it; in mode Always a writer waits in [Persister.Wait] for the sync
// that covers its change, together with all others who came meanwhile. A key that
// changes a hundred times while the disk is slow is written once.
//
// When the node starts again, [Persister.Load] merges what the journal has into
// the store, as if another node had sent it: a record that has ended since is left
// out, and one that others have a newer state of gives way to it.
//
// When the journal has grown to twice of what is held, a new base is written from
// memory, a partition at a time, while changes go on.
//
// [Persister.Snapshot] has a copy made of what the journal has at one moment.
//
// After the first failure nothing more is written (package disk says why), and
// [Persister.Err] says what it was: the node hands over what it holds.
package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// flushEvery is how long a change stays in memory alone at most, if the disk
	// keeps up: what a killed process loses.
	flushEvery = 50 * time.Millisecond
	// syncEvery is the second of EverySecond.
	syncEvery = time.Second
	// takeKeys bounds how many keys of a partition are taken under one hold of its
	// lock.
	takeKeys = 1024
	// rewriteAgain is how long after a rewrite that failed the next one begins.
	rewriteAgain = time.Minute
)

// Sync says when what was written is made sure to be on the disk.
type Sync int

const (
	// EverySecond syncs once a second: a loss of power loses up to that.
	EverySecond Sync = iota
	// Always syncs before a write is acknowledged.
	Always
	// Never leaves it to the operating system, which takes half a minute.
	Never
)

// ParseSync reads the value of -fsync. The empty string is EverySecond.
func ParseSync(s string) (Sync, error) {
	for sync, name := range syncNames {
		if s == name || s == "" {
			return Sync(sync), nil
		}
	}
	return 0, fmt.Errorf("fsync %q: everysec, always or no are accepted", s)
}

var syncNames = [...]string{EverySecond: "everysec", Always: "always", Never: "no"}

// String returns the name that ParseSync takes.
func (s Sync) String() string { return syncNames[s] }

// Config is what a Persister needs. All of it is required.
type Config struct {
	Journal    *disk.Journal
	Store      *session.Store
	Partitions int
	Sync       Sync
	Note       Note
	Clock      clock.Clock
	Log        *slog.Logger
	Events     *events.Log
}

// Note is something small that the journal remembers beside the records. The zero
// Note is nothing.
type Note struct {
	Name string
	// Of returns what is to be written, nil for nothing yet. It is written at once
	// when key changes, and otherwise after Every.
	Of    func() (note []byte, key string)
	Every time.Duration
}

// Stats are what operators are told.
type Stats struct {
	Sync   Sync
	Bytes  int64         // of all files
	Behind time.Duration // as Persister.Behind has it
	Err    error         // why nothing is written any more
}

// Persister keeps one store on a disk. It may be used from many goroutines.
type Persister struct {
	cfg  Config
	wake wait.Wake
	err  atomic.Pointer[error]

	written   atomic.Int64 // records
	rewritten atomic.Int64 // bases
	size      atomic.Int64 // bytes of all files
	// behind is since when what has changed waits for the disk, as time since the
	// process's start; 0 for nothing.
	behind atomic.Int64
	alone  atomic.Bool // MemoryAlone

	snapshots chan *snapshot // that Snapshot wants begun by Run

	mu   sync.Mutex // guards next
	next *round     // that has not begun
}

// round is one flush and one sync.
type round struct {
	done   chan struct{}
	err    error // when done is closed
	wanted bool  // somebody waits for it
}

// New returns a Persister, and has the store note from now on what changes.
func New(cfg Config) *Persister {
	cfg.Store.KeepUnsaved()
	return &Persister{cfg: cfg, wake: wait.NewWake(), next: newRound(), snapshots: make(chan *snapshot)}
}

func newRound() *round { return &round{done: make(chan struct{})} }

// Loaded is what Load has found.
type Loaded struct {
	disk.Replayed
	Records int // that are held now
	Ended   int // that have ended since they were written
}

// Load merges what the journal has into the store. It is called once, before Run
// and before anything else comes into the store. An error that wraps
// session.ErrFuture says that this host's clock is behind what it was when the
// records were written, and one that wraps session.ErrFull that they need more
// memory than the node may take: nothing is lost, and the node must not go on.
func (p *Persister) Load() (Loaded, error) {
	l := loader{store: p.cfg.Store}
	replayed, err := p.cfg.Journal.Replay(&l)
	l.found.Replayed = replayed
	if err != nil {
		return l.found, fmt.Errorf("load sessions: %w", err)
	}
	for i := range p.cfg.Partitions { // they come from there
		for more := true; more; {
			_, _, more = p.cfg.Store.TakeUnsaved(i, takeKeys)
		}
		l.found.Records += p.cfg.Store.Count(i)
	}
	p.size.Store(p.cfg.Journal.Size())
	return l.found, nil
}

// loader merges records.
type loader struct {
	store *session.Store
	found Loaded
}

// Put implements disk.Replayer.
func (l *loader) Put(rec *session.Record) error {
	_, err := l.store.Restore(rec)
	if errors.Is(err, session.ErrPast) {
		l.found.Ended++
		l.store.Forget(rec.Key()) // of which there may be an older state, which had not ended
		return nil
	}
	return err
}

// Forget implements disk.Replayer.
func (l *loader) Forget(key string) { l.store.Forget(key) }

// Clear implements disk.Replayer.
func (l *loader) Clear(partition int) { l.store.Drop(partition) }

// Err returns why nothing is written any more, nil if it is.
func (p *Persister) Err() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}

// MemoryAlone says that the node serves on without a disk that has failed, so
// that nothing counts as behind any more.
func (p *Persister) MemoryAlone() { p.alone.Store(true) }

// Behind returns for how long the disk has been busy with the oldest change that
// waits for it, be it to be written or synced. Once the disk has failed that goes
// on growing, until MemoryAlone.
func (p *Persister) Behind() time.Duration {
	since := p.behind.Load()
	if since == 0 || p.alone.Load() {
		return 0
	}
	return p.cfg.Clock.Since() - time.Duration(since)
}

// Stats returns the figures of now.
func (p *Persister) Stats() Stats {
	return Stats{Sync: p.cfg.Sync, Bytes: p.size.Load(), Behind: p.Behind(), Err: p.Err()}
}

// Count puts what is counted.
func (p *Persister) Count(put metric.Put) {
	put("disk_records", "Records written to the disk.", p.written.Load())
	put("disk_rewrites", "Times that the journal on the disk was rewritten, as it had grown.", p.rewritten.Load())
}

// Waits says whether writers have to wait for the disk.
func (p *Persister) Waits() bool { return p.cfg.Sync == Always }

// Wait returns when all that has changed before is on the disk.
func (p *Persister) Wait(ctx context.Context) error {
	p.mu.Lock()
	r := p.next
	r.wanted = true
	p.mu.Unlock()
	p.wake.Kick()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the disk: %w", ctx.Err())
	}
}

// Run writes what changes until ctx ends, and then what is left.
func (p *Persister) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var synced time.Time
	var base rewriting
	var taken chan struct{} // of the snapshot under way; nil while there is none
	noted := noted{note: p.cfg.Note}
	for ctx.Err() == nil {
		snapshots := p.snapshots
		if base.done != nil || taken != nil {
			snapshots = nil // which waits: a rewrite removes the files that it has
		}
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		case <-p.wake:
		case err := <-base.done:
			p.endRewrite(&base, err)
			continue
		case s := <-snapshots:
			taken = s.taken
			p.beginSnapshot(s)
			continue
		case <-taken:
			taken = nil
			continue
		}
		now := time.Now()
		due := p.cfg.Sync == EverySecond && now.Sub(synced) >= syncEvery
		if p.turn(due) && due {
			synced = now
		}
		noted.write(p, false)
		if p.cfg.Journal.IsDue() && taken == nil && base.mayBegin(now) {
			p.beginRewrite(ctx, &base)
		}
	}
	base.end()
	p.turn(true)
	noted.write(p, true)
}

// noted is when and for what the note was written last.
type noted struct {
	note   Note
	looked time.Time
	at     time.Time
	key    string
}

// noteLook is how often the note is looked at.
const noteLook = 200 * time.Millisecond

func (n *noted) write(p *Persister, last bool) {
	now := time.Now()
	if n.note.Of == nil || !last && now.Sub(n.looked) < noteLook {
		return
	}
	n.looked = now
	note, key := n.note.Of()
	if note == nil || !last && key == n.key && now.Sub(n.at) < n.note.Every {
		return
	}
	n.at, n.key = now, key
	_ = p.busy(func() error { return p.cfg.Journal.Note(n.note.Name, note) }) // which says what fails
}

// turn is one round: what has changed is written, and synced if that is due or
// somebody waits for it.
func (p *Persister) turn(due bool) (ok bool) {
	p.mu.Lock()
	r := p.next
	p.next = newRound()
	p.mu.Unlock()
	r.err = p.busy(func() error {
		if err := p.flush(); err != nil || !due && !r.wanted || planted.Is(planted.SavedLater) {
			return err
		}
		return p.cfg.Journal.Sync()
	})
	close(r.done)
	p.size.Store(p.cfg.Journal.Size())
	return r.err == nil
}

// busy does something with the journal. What changes meanwhile waits for it.
func (p *Persister) busy(do func() error) error {
	p.behind.CompareAndSwap(0, int64(max(1, p.cfg.Clock.Since())))
	err := do()
	if err != nil {
		p.fail(err)
		return err
	}
	p.behind.Store(0)
	return nil
}

// flush appends what has changed.
func (p *Persister) flush() error {
	var b disk.Batch
	for i := range p.cfg.Partitions {
		for more := p.cfg.Store.HasUnsaved(i); more; {
			var cleared bool
			var some []session.Unsaved
			cleared, some, more = p.cfg.Store.TakeUnsaved(i, takeKeys)
			if cleared {
				b.Clear(i)
			}
			for _, u := range some {
				switch {
				case u.Record == nil:
					b.Forget(u.Key)
				case u.Record.Dead() && planted.Is(planted.UnsavedLogout):
				default:
					b.Put(u.Record)
				}
				if b.Bytes() < disk.BatchBytes {
					continue
				}
				if err := p.append(&b); err != nil {
					return err
				}
			}
		}
	}
	return p.append(&b)
}

func (p *Persister) append(b *disk.Batch) error {
	p.written.Add(int64(b.Len()))
	err := p.cfg.Journal.Append(b)
	b.Reset()
	return err
}

// fail says once what has failed.
func (p *Persister) fail(err error) {
	if p.err.CompareAndSwap(nil, &err) {
		p.cfg.Log.Error("the disk has failed: nothing more is written to it, and this node hands over what it holds", "error", err)
		p.cfg.Events.Add("disk-failed", "error", err.Error())
	}
}

// rewriting is a base that is being written by a goroutine of its own.
type rewriting struct {
	base  *disk.Rewrite
	done  chan error // nil while there is none
	again time.Time  // not before
}

func (r *rewriting) mayBegin(now time.Time) bool { return r.done == nil && !now.Before(r.again) }

func (p *Persister) beginRewrite(ctx context.Context, r *rewriting) {
	var base *disk.Rewrite
	if p.busy(func() (err error) { base, err = p.cfg.Journal.BeginRewrite(); return err }) != nil {
		return
	}
	done := make(chan error, 1)
	r.base, r.done = base, done
	go func() { done <- p.rewrite(ctx, base) }() // endRewrite and end wait for it
}

// rewrite adds all that is held.
func (p *Persister) rewrite(ctx context.Context, base *disk.Rewrite) error {
	compacted := false
	for i := range p.cfg.Partitions {
		compacted = compacted || p.cfg.Store.Compacted(i)
		for _, rec := range p.cfg.Store.Records(i) {
			if err := base.Add(rec); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if compacted {
		if err := base.Carry(func(rec *session.Record) bool { return p.cfg.Store.IsCompacted(rec.Key()) }); err != nil {
			return err
		}
	}
	return base.Finish()
}

func (p *Persister) endRewrite(r *rewriting, err error) {
	r.done = nil
	if err == nil {
		if p.busy(func() error { return p.cfg.Journal.EndRewrite(r.base) }) != nil {
			return
		}
		p.rewritten.Add(1)
		p.size.Store(p.cfg.Journal.Size())
		return
	}
	r.again = time.Now().Add(rewriteAgain)
	if gone := r.base.GiveUp(); gone != nil {
		err = errors.Join(err, gone)
	}
	p.cfg.Log.Warn("the journal could not be rewritten, and goes on growing", "error", err, "again", rewriteAgain)
}

// end waits for a rewrite that is under way when Run ends, and gives it up.
func (r *rewriting) end() {
	if r.done == nil {
		return
	}
	<-r.done
	_ = r.base.GiveUp() // what it has written is removed at the next start otherwise
}

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/absence"
	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/persist"
	"github.com/seed-95a32959/holdfast/internal/snapshot"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Files is a directory in which a node keeps its sessions.
type Files = disk.FS

// What a node's journal remembers beside the sessions.
type remembered struct {
	// Nodes are the boots that had sessions, as far as this one knew: who served,
	// and who was missing.
	Nodes []ID `json:"nodes"`
	// InTouch and Since are as in absence.Account.
	InTouch time.Time `json:"in_touch"`
	Since   time.Time `json:"since"`
}

const (
	// rememberAs is the name of that note.
	rememberAs = "cluster"
	// rememberEvery is how old InTouch may be. The node writes at once if its
	// Nodes change.
	rememberEvery = 10 * time.Second
	// lookAtDisk is how often a node looks whether its disk has failed.
	lookAtDisk = 200 * time.Millisecond
	// keptSnapshots is how many snapshots there are: one that is whole while the
	// next one is taken, or is shipped.
	keptSnapshots = 2
)

// kept is what only a node with a disk has; nil otherwise.
type kept struct {
	files     *disk.Dir // nil where they were given
	journal   *disk.Journal
	persister *persist.Persister
	taker     *snapshot.Taker // nil where no snapshots are taken
	found     remembered
	told      bool               // who of those found is missing; remember's
	stays     bool               // it serves though its disk has failed; lookAtDisk's
	stop      context.CancelFunc // of the persister; nil before it runs
	done      chan struct{}
	saved     bool // all is on the disk; closeDisk's
}

// openDisk opens the journal and loads what it has into the store.
func (n *Node) openDisk() (err error) {
	files := n.cfg.Files
	if files == nil && n.cfg.DataDir == "" {
		return nil
	}
	k := &kept{done: make(chan struct{})}
	if files == nil {
		if k.files, err = disk.OpenDir(n.cfg.DataDir); err != nil {
			return n.badDisk(err)
		}
		files = k.files
	}
	n.kept = k
	if k.journal, err = disk.Open(files, disk.Identity{Cluster: n.cfg.Cluster, Name: n.id.Name}); err != nil {
		return n.badDisk(err)
	}
	if err := n.load(); err != nil {
		return n.badDisk(err)
	}
	if n.cfg.SnapshotEvery > 0 {
		if err := n.setSnapshots(); err != nil {
			return n.badDisk(err)
		}
	}
	return nil
}

// setSnapshots makes what takes snapshots of the journal.
func (n *Node) setSnapshots() error {
	k := n.kept
	newest, err := disk.NewestSnapshot(k.files)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(k.files.Path()) // for programs that work elsewhere
	if err != nil {
		return err
	}
	cfg := snapshot.Config{Every: n.cfg.SnapshotEvery, Newest: newest, Clock: n.clock, Log: n.cfg.Log, Events: n.events}
	cfg.Take = func(ctx context.Context, at time.Time) (path string, err error) {
		name, err := k.persister.Snapshot(ctx, at, keptSnapshots)
		if name == "" {
			return "", err
		}
		return filepath.Join(dir, filepath.FromSlash(name)), err
	}
	if n.cfg.SnapshotExec != "" {
		cfg.Ship = snapshot.Command(n.cfg.SnapshotExec)
	}
	k.taker = snapshot.New(cfg)
	n.nodeCounters().Func(k.taker.Count)
	return nil
}

func (n *Node) badDisk(err error) error {
	reason := err.Error()
	switch {
	case errors.Is(err, disk.ErrForeign):
		reason += "; give each node a directory of its own, or remove this one's files if its sessions may be lost"
	case errors.Is(err, disk.ErrInUse):
		reason += ": another process has it open"
	case errors.Is(err, session.ErrFuture):
		reason += ": the host's clock is behind what it was when they were written; set it, and start again"
	case errors.Is(err, session.ErrFull):
		reason += ": the sessions on the disk need more than {MemoryLimit}; raise it, and start again"
	case errors.Is(err, fs.ErrPermission):
		reason += ": the node must be able to read and write it"
	}
	return &FieldError{Field: "DataDir", Value: n.cfg.DataDir, Reason: reason, Err: err}
}

// load merges what the journal has into the store.
func (n *Node) load() error {
	k := n.kept
	note, err := k.journal.Noted(rememberAs)
	if err != nil {
		return err
	}
	if note != nil {
		if err := json.Unmarshal(note, &k.found); err != nil {
			n.cfg.Log.Warn("what is remembered of the cluster cannot be read: this node waits for nobody", "error", err)
		}
	}
	sync, err := persist.ParseSync(n.cfg.Fsync)
	if err != nil {
		return err
	}
	k.persister = persist.New(persist.Config{
		Journal: k.journal, Store: n.store, Partitions: ring.Partitions, Sync: sync,
		Note:  persist.Note{Name: rememberAs, Every: rememberEvery, Of: n.remember},
		Clock: n.clock, Log: n.cfg.Log, Events: n.events,
	})
	n.nodeCounters().Func(k.persister.Count)
	began := n.clock.Since()
	found, err := k.persister.Load()
	if err != nil {
		return err
	}
	for _, d := range found.Damaged {
		n.cfg.Log.Error("a file of the journal is damaged: what is lost of it comes from the other nodes, if they have it; the file is set aside", "damage", d)
		n.events.Add("disk-damaged", "file", d.File, "offset", d.Offset, "bytes", d.Bytes)
	}
	took := n.clock.Since() - began
	n.cfg.Log.Info("sessions are loaded from the disk", "records", found.Records, "ended", found.Ended, "bytes", found.Bytes, "torn", found.Torn, "ms", took.Milliseconds(), "waits_for", n.awaited())
	n.events.Add("loaded", "records", found.Records, "ended", found.Ended, "ms", took.Milliseconds())
	return nil
}

// keeps says whether the node has sessions from its disk, or should have.
func (n *Node) keeps() bool {
	return n.kept != nil && (len(n.kept.found.Nodes) > 0 || n.store.Stats().Sessions > 0)
}

// awaited are the nodes that had sessions when this one last ran.
func (n *Node) awaited() (names []string) {
	if n.kept != nil {
		for _, id := range n.kept.found.Nodes {
			names = append(names, id.Name)
		}
	}
	return names
}

// account is what this node remembers of its absence; zero without a disk.
func (n *Node) account() absence.Account {
	if n.kept == nil || !n.keeps() {
		return absence.Account{}
	}
	return absence.Account{InTouch: n.kept.found.InTouch, Since: n.kept.found.Since}
}

// remember is what the journal is to remember, and what of it is to be written
// at once when it changes.
func (n *Node) remember() (note []byte, key string) {
	if n.members.State() == StateJoining { // what it found is still what it knows
		return nil, ""
	}
	if !n.kept.told {
		n.kept.told = true
		n.missRemembered()
	}
	var r remembered
	for _, m := range n.View().Others(n.id) {
		r.Nodes = append(r.Nodes, m.ID)
	}
	for _, m := range n.census.Missing() {
		if m.Role == RoleNode && n.View().Named(m.Name) == nil {
			r.Nodes = append(r.Nodes, ID{Name: m.Name, Boot: m.Boot})
		}
	}
	slices.SortFunc(r.Nodes, ID.Compare)
	account := n.absence.Account()
	r.InTouch, r.Since = account.InTouch.UTC(), account.Since.UTC()
	note, err := json.Marshal(r)
	if err != nil { // of strings and times
		panic(fmt.Sprintf("node: %v", err))
	}
	return note, fmt.Sprint(r.Nodes)
}

// missRemembered has those counted as missing that this node remembers, and that
// are not there when it begins to serve. They are remembered, and waited for,
// until they are back or forgotten.
func (n *Node) missRemembered() {
	view := n.View()
	n.census.Remember(slices.DeleteFunc(slices.Clone(n.kept.found.Nodes), func(id ID) bool { return view.Named(id.Name) != nil }), n.kept.found.InTouch)
}

// runDisk keeps the store on the disk until closeDisk.
func (n *Node) runDisk() {
	if n.kept == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(n.ctx)) // beyond all who write
	n.kept.stop = cancel
	go func() { // closeDisk waits for it
		defer close(n.kept.done)
		n.kept.persister.Run(ctx)
	}()
	n.goes(func(ctx context.Context) { wait.Every(ctx, lookAtDisk, n.lookAtDisk) })
	if n.kept.taker != nil {
		n.goes(n.kept.taker.Run)
	}
}

// lookAtDisk takes the node off the ring when its disk has failed: what it
// acknowledges from then on would be in memory alone. Where no other node serves
// it stays, from then on: disks of one size fill up together, and sessions in
// memory are better than none.
func (n *Node) lookAtDisk() {
	failed := n.kept.persister.Err()
	if failed == nil {
		return
	}
	why := "the disk has failed: " + failed.Error()
	if !n.kept.stays && len(n.View().Others(n.id)) == 0 {
		n.kept.stays = true
		n.kept.persister.MemoryAlone()
		n.cfg.Log.Error("this node serves on, though its disk has failed, for no other one does: its sessions are in memory alone", "error", failed)
		n.events.Add("serves-without-disk", "member", n.id.Name)
	}
	if n.kept.stays {
		why = ""
	}
	if err := n.members.SetUnfit("disk", why); err != nil {
		n.cfg.Log.Error("tell the others whether the disk has failed", "error", err)
	}
}

// closeDisk writes what is left. It is called when nothing changes any more.
func (n *Node) closeDisk() {
	if n.kept == nil {
		return
	}
	k := n.kept
	if k.stop != nil {
		k.stop()
		<-k.done
	}
	if k.journal != nil {
		failed := k.journal.Err() // which has been said
		err := k.journal.Close()
		if err != nil && failed == nil {
			n.cfg.Log.Error("close the journal", "error", err)
		}
		k.saved = k.stop != nil && failed == nil && err == nil
	}
	if k.files != nil {
		k.files.Close()
	}
}

// diskStats are what operators are told of the disk; nil without one.
func (n *Node) diskStats() func() adminapi.Disk {
	if n.kept == nil {
		return nil
	}
	return func() adminapi.Disk {
		s := n.kept.persister.Stats()
		d := adminapi.Disk{Fsync: s.Sync.String(), Bytes: s.Bytes, Lag: float64(s.Behind) / float64(time.Millisecond)}
		if s.Err != nil {
			d.Error = s.Err.Error()
		}
		if n.kept.taker != nil {
			d.SnapshotAge, d.SnapshotEvery = n.kept.taker.Age().Seconds(), n.cfg.SnapshotEvery.Seconds()
		}
		return d
	}
}

// startWait is how long the node waits for those it remembers.
func (c *Config) startWait() time.Duration { return max(0, cmp.Or(c.StartWait, 30*time.Second)) }

// disk is what writers wait for; nil without one.
func (n *Node) disk() dispatch.Disk {
	if n.kept == nil {
		return nil
	}
	return n.kept.persister
}

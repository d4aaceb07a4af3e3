package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// fullNodes is of how many nodes the cluster is.
	fullNodes = 3
	// fullSaid is how soon a node says that its disk is full, and fullGone how soon
	// it owns nothing any more and the others have all copies.
	fullSaid, fullGone = 5 * time.Second, 15 * time.Second
	// fullNoticed is how long after all disks are full users need not be served in
	// full: a node notices within 250 ms, and hands over first if another one
	// seems to have a disk yet.
	fullNoticed = 5 * time.Second
	// fullLasts is for how long they are watched then.
	fullLasts = 6 * time.Second
	// lateBytes is the room that is left in every other round, so that the node's
	// own journal takes it.
	lateBytes = 64 << 10
	// allFullEvery is after how many rounds with one full disk one with all follows.
	allFullEvery = 3
)

// diskFull is a cluster whose nodes have small disks, which fill up.
type diskFull struct {
	*bench
	disks  map[*member]*smallDisk
	visits *visits
	ended  []*ledger // with 204

	rounds, all    int             // with one full disk, and with all of them
	said, gone     []time.Duration // from the full disk on
	back           []time.Duration // from the start to one view and all copies
	served         served          // while one disk was full
	fully          served          // while all were
	refused, tried int             // logouts meanwhile
	cost           losses
	broken         map[string][]string // of what a node is to do, by what
	undone         []string
	polls          int
}

// runDiskFull fills up the disk of one node after the other, and of all.
func runDiskFull(ctx context.Context, e *env, r *report) (err error) {
	d := &diskFull{disks: make(map[*member]*smallDisk), broken: make(map[string][]string)}
	defer func() { // when no process has files open there
		for _, disk := range d.disks {
			err = errors.Join(err, disk.close())
		}
	}()
	small := *e
	small.nodes = fullNodes
	var unmade error
	d.bench, err = small.newBenchAt(ctx, loopback(e.basePort), func(m *member) {
		if !m.Node || unmade != nil {
			return
		}
		disk, err := newSmallDisk(ctx, filepath.Join(e.dir, "disk-"+m.Name))
		if err != nil {
			unmade = err
			return
		}
		d.disks[m] = disk
		m.extra = append(m.extra, "-data-dir", disk.dir)
	})
	if err != nil {
		return errors.Join(unmade, err)
	}
	defer d.close()
	if unmade != nil {
		return unmade
	}
	d.visits = startVisits(ctx, d.members)
	defer d.visits.stop()
	for ; d.rounds < e.count; d.rounds++ {
		if err := d.one(ctx, e); err != nil {
			return fmt.Errorf("full disk %d: %w", d.rounds+1, err)
		}
		e.progress("full disk %d of %d: lost replica %d, async %d, %d sessions missing, %d logouts undone", d.rounds+1, e.count, d.cost.sum("replica"), d.cost.sum("async"), d.cost.missing, len(d.undone))
		if d.rounds%allFullEvery > 0 {
			continue
		}
		if err := d.every(ctx, e); err != nil {
			return fmt.Errorf("all disks full %d: %w", d.all, err)
		}
	}
	d.rows(r)
	return nil
}

// one fills up the disk of one node under load, ends the node when it has handed
// over, makes room and starts it again.
func (d *diskFull) one(ctx context.Context, e *env) error {
	m := d.nodes()[d.rounds%len(d.nodes())] // each in turn: who ends often is kept off the ring
	d.tally.during("the disk of %s is full, round %d", m.Name, d.rounds+1)
	leavers, err := d.leavers(ctx, 2)
	if err != nil {
		return err
	}
	d.load.start(ctx)
	stop := d.load.stop
	defer func() { stop() }()
	nursery.Sleep(ctx, e.between(1500*time.Millisecond, 2500*time.Millisecond))
	but := int64(0)
	if d.rounds%2 == 1 {
		but = lateBytes
	}
	begun := time.Now()
	if err := d.disks[m].fill(but); err != nil {
		return err
	}
	full := time.Now() // to fill it takes a while
	d.told(ctx, m, full)
	d.logOut(ctx, leavers[0])
	m.outside = true
	if _, err := d.settle(ctx, fullGone); err != nil {
		d.breaks("leaves", "%s, round %d: %v", m.Name, d.rounds+1, err)
	}
	d.gone = append(d.gone, time.Since(full))
	d.logOut(ctx, leavers[1])
	nursery.Sleep(ctx, time.Second) // that it has left changes nothing
	d.served.add(d.visits.during(begun, time.Now()))
	at, err := d.kill(m)
	if err != nil {
		return err
	}
	if err := d.disks[m].free(); err != nil {
		return err
	}
	if err := d.start(m); err != nil {
		return err
	}
	m.outside = false
	took, err := d.settle(ctx, settleTimeout)
	if err != nil {
		return err
	}
	d.back = append(d.back, took)
	d.load.stop()
	stop = func() {}
	return d.look(ctx, at)
}

// told waits until a node says that its disk has failed.
func (d *diskFull) told(ctx context.Context, m *member, full time.Time) {
	ready, figure := "nothing", false
	for time.Since(full) < fullSaid && ctx.Err() == nil {
		why, err := m.admin.Unready(ctx)
		if err == nil && len(why) > 0 {
			ready = strings.Join(why, "; ")
		}
		stats, err := m.admin.Stats(ctx)
		figure = err == nil && stats.Disk != nil && stats.Disk.Error != ""
		if figure && strings.Contains(ready, "the disk has failed") {
			d.said = append(d.said, time.Since(full))
			return
		}
		nursery.Sleep(ctx, 20*time.Millisecond)
	}
	d.breaks("says", "%s, round %d: `/readyz` says %s, disk_failed is %v", m.Name, d.rounds+1, ready, figure)
}

// every fills up all disks at once, and then makes room and starts one node after
// the other, which all have to hand over what is in memory alone.
func (d *diskFull) every(ctx context.Context, e *env) error {
	d.all++
	d.tally.during("all disks are full, round %d", d.all)
	leavers, err := d.leavers(ctx, 1)
	if err != nil {
		return err
	}
	e.say("all disks are full")
	d.load.start(ctx)
	stop := d.load.stop
	defer func() { stop() }()
	nursery.Sleep(ctx, time.Second)
	at := time.Now()
	for _, disk := range d.disks {
		if err := disk.fill(0); err != nil {
			return err
		}
	}
	if !nursery.Sleep(ctx, fullNoticed) {
		return ctx.Err()
	}
	d.logOut(ctx, leavers[0])
	nursery.Sleep(ctx, fullLasts)
	d.fully.add(d.visits.during(at.Add(fullNoticed), time.Now()))
	for _, m := range d.unfitFirst(ctx) {
		if err := d.disks[m].free(); err != nil {
			return err
		}
		if err := d.terminate(ctx, m); err != nil {
			return err
		}
		if err := d.start(m); err != nil {
			return err
		}
		if err := d.awaitReady(ctx, m); err != nil {
			return err
		}
	}
	if _, err := d.settle(ctx, settleTimeout); err != nil {
		return err
	}
	d.load.stop()
	stop = func() {}
	return d.look(ctx, at)
}

// awaitReady waits until a node has taken its place, whatever the others say.
func (d *diskFull) awaitReady(ctx context.Context, m *member) error {
	deadline := time.Now().Add(settleTimeout)
	for {
		err := m.admin.Ready(ctx)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready %v after its start: %w", m.Name, settleTimeout, err)
		}
		if !nursery.Sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// unfitFirst are the nodes, those first that own nothing.
func (d *diskFull) unfitFirst(ctx context.Context) (list []*member) {
	var own []*member
	for _, m := range d.nodes() {
		if m.admin.Ready(ctx) == nil {
			own = append(own, m)
		} else {
			list = append(list, m)
		}
	}
	return append(list, own...)
}

// leavers stores sessions that are to be ended, several lots of them.
func (d *diskFull) leavers(ctx context.Context, lots int) (list [][]*ledger, err error) {
	for lot := range lots {
		var some []*ledger
		for i := range stopLogouts {
			some = append(some, &ledger{key: fmt.Sprintf("out-%d-%d-%d-%d", d.rounds, d.all, lot, i), prefix: "f", ack: "replica"})
		}
		list = append(list, some)
		err = errors.Join(err, create(ctx, d.router().door, some))
	}
	return list, err
}

// logOut ends sessions, and keeps those of which it was said that no copy has them
// any more.
func (d *diskFull) logOut(ctx context.Context, list []*ledger) {
	for _, l := range list {
		a, _ := d.router().door.one(ctx, request{method: http.MethodDelete, path: l.path()}, requestTimeout)
		l.note("logout: %v", a)
		switch d.tried++; a.status {
		case http.StatusNoContent:
			d.ended = append(d.ended, l)
		case http.StatusAccepted: // a copy has yet to hear of it
		default:
			d.refused++
			d.breaks("logouts", "%v\n    %s", a, l.story())
		}
	}
}

// look reads everything back, when no disk is full any more.
func (d *diskFull) look(ctx context.Context, at time.Time) error {
	d.cost.add(d.load.settle(ctx, d.router().door), 0, at)
	for rest := d.ended; len(rest) > 0; {
		part := rest[:min(batch, len(rest))]
		rest = rest[len(part):]
		for i, a := range readAll(ctx, d.router().door, part) {
			if d.polls++; a.ok() {
				part[i].note("read: %v", a)
				d.undone = append(d.undone, part[i].story())
			}
		}
	}
	return ctx.Err()
}

// breaks keeps a case of a promise that was not kept.
func (d *diskFull) breaks(promise, format string, args ...any) {
	d.broken[promise] = append(d.broken[promise], fmt.Sprintf(format, args...))
}

func (d *diskFull) rows(r *report) {
	d.common(r)
	rounds := func(what, promised string, broken []string) {
		r.promise(what, fmt.Sprintf("%d of %d", d.rounds-len(broken), d.rounds), promised, len(broken) == 0, broken)
	}
	r.figure("full disks", "%d, of one of %d nodes; %d times all of them at once", d.rounds, len(d.nodes()), d.all)
	rounds(fmt.Sprintf("a node whose disk is full says so within %v", fullSaid), "all", d.broken["says"])
	r.figure(fmt.Sprintf("it says so after, in every other round with %d KiB to fill first", lateBytes>>10), "%s", spread(d.said))
	rounds(fmt.Sprintf("it owns nothing and the others have all copies within %v", fullGone), "all", d.broken["leaves"])
	r.figure("that was so after", "%s", spread(d.gone))
	d.served.row(r, "a disk is full: new sessions served everywhere", allShare)
	d.fully.row(r, fmt.Sprintf("all disks are full: new sessions served everywhere, from %v on", fullNoticed), allShare)
	r.never("logouts refused while disks are full", d.refused, d.tried, firstOf(d.broken["logouts"]))
	r.figure("with room again, one view and all copies after the start", "%s", spread(d.back))
	lost := d.cost.sum("replica") + d.cost.sum("async")
	r.promise("acknowledged writes lost, `replica` and `async`", fmt.Sprint(lost), "0", lost == 0, append(d.tally.examples("replica", "lost"), d.tally.examples("async", "lost")...))
	r.promise("sessions that could not be read back", fmt.Sprint(d.cost.missing), "0", d.cost.missing == 0, append(d.tally.examples("replica", "missing"), d.tally.examples("async", "missing")...))
	r.never("logouts undone", len(d.undone), d.polls, firstOf(d.undone))
}

// firstOf are as many cases as are shown.
func firstOf(cases []string) []string { return cases[:min(examples, len(cases))] }

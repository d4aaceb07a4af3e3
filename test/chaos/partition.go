package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	islandNodes = 3
	// islandSessions is how many sessions of each kind are written on both
	// sides of a cut.
	islandSessions = 100
	// islandLogouts is how many sessions are ended on each side.
	islandLogouts = 50
	islandRate    = 100 // requests a second and side
	mergeTimeout  = 90 * time.Second
)

// cutKind is which of the packets between node 1 and all others are lost.
type cutKind struct {
	name        string
	out, in     bool // what node 1 sends, what it should get
	description string
}

var cutKinds = []cutKind{
	{"two-way", true, true, "nothing passes between node-1 and the others"},
	{"mute", true, false, "what node-1 sends is lost, what is sent to it arrives"},
	{"deaf", false, true, "what is sent to node-1 is lost, what it sends arrives"},
}

// runPartition cuts node 1 off from the other nodes and the router, has
// sessions written and ended on both sides, and heals the cut. Clients reach
// all members all the time.
func runPartition(ctx context.Context, e *env, r *report) (err error) {
	l, err := newLab(ctx, islandNodes+1)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := l.close(); err == nil {
			err = cerr
		}
	}()
	c, err := startCluster(ctx, e.bin, e.dir, islandNodes, l.place())
	if err != nil {
		return err
	}
	defer c.close()
	e.say("%d nodes and a router run, each in a network namespace; logs are in %s", islandNodes, e.dir)
	for _, length := range e.cuts {
		for _, kind := range cutKinds {
			p := &partition{lab: l, cluster: c, tally: newTally(), name: fmt.Sprintf("%s %v", kind.name, length)}
			if err := p.run(ctx, e, kind, length); err != nil {
				return fmt.Errorf("%s cut of %v: %w", kind.name, length, err)
			}
			p.rows(r)
		}
	}
	return nil
}

// partition is one cut and what came of it.
type partition struct {
	lab     *lab
	cluster *cluster
	tally   *tally
	name    string

	doors           [2]*door     // without a bound: many requests wait while a cut is young
	sides           [2][]*ledger // of the same sessions: written on node 1's side, on the other
	ended           []*logout
	toView, toEqual time.Duration
	unequal         []string // why copies have not become equal, if they have not
	merged          [2]settled
	undone          int
	cases           []string
}

func (p *partition) run(ctx context.Context, e *env, kind cutKind, length time.Duration) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	p.tally.during("%s", p.name)
	loads := p.loads(e)
	for _, l := range loads {
		l.start(ctx)
	}
	err := p.cutAndHeal(ctx, e, kind, length)
	healed := time.Now()
	if err == nil {
		p.toView, err = p.await(ctx, healed, p.cluster.agreed)
	}
	for _, l := range loads {
		l.stop() // copies become equal when writes stop
	}
	if err != nil {
		return err
	}
	// The answers count too: two copies can have the same newest stamp, and
	// one of them lack an older field.
	if p.toEqual, err = p.await(ctx, healed, func(ctx context.Context) error {
		return errors.Join(p.equal(ctx), p.complete(ctx))
	}); err != nil {
		p.unequal = []string{err.Error()}
	}
	for i, l := range loads {
		p.merged[i] = l.settle(ctx, p.cluster.router().door)
	}
	p.checkLogouts(ctx)
	e.say("%s: one view %s after the heal, equal copies %s after it; lost %d, logouts undone %d of %d", p.name, short(p.toView), short(p.toEqual),
		p.lost(), p.undone, len(p.ended))
	return nil
}

// prepare stores the sessions that both sides will write, and those that one
// side will end while the other writes them.
func (p *partition) prepare(ctx context.Context) error {
	if _, err := p.cluster.settle(ctx, settleTimeout); err != nil {
		return err
	}
	tag := strings.ReplaceAll(p.name, " ", "-")
	first := newLedgers("p-"+tag, islandSessions)
	var second, out []*ledger
	for _, l := range first {
		l.prefix = "a"
		second = append(second, &ledger{key: l.key, prefix: "b", ack: l.ack})
	}
	for i := range 2 * islandLogouts {
		out = append(out, &ledger{key: fmt.Sprintf("out-%s-%d", tag, i), prefix: "f", ack: "async"})
	}
	d := p.cluster.router().door
	for i, l := range first {
		if a, _ := d.one(ctx, l.creation(second[i]), requestTimeout); !a.ok() {
			return fmt.Errorf("store %s: %v", l.key, a)
		}
	}
	if err := create(ctx, d, out); err != nil {
		return err
	}
	p.sides = [2][]*ledger{first, second}
	for _, l := range out {
		p.ended = append(p.ended, &logout{ledger: l})
	}
	return nil
}

func (p *partition) loads(e *env) []*load {
	for i := range p.doors {
		p.doors[i] = newDoor(p.cluster.nodes()[i].Name, p.cluster.nodes()[i].Address(nursery.HTTPPort), true)
	}
	var list []*load
	for i, ledgers := range p.sides {
		list = append(list, &load{
			doors: []*door{p.doors[i]}, ledgers: ledgers, tally: p.tally, seed: e.random.Uint64(), rate: islandRate, writes: 0.7,
		})
	}
	return list
}

// cutAndHeal cuts the links, ends sessions on both sides in the middle of the
// cut, and heals it.
func (p *partition) cutAndHeal(ctx context.Context, e *env, kind cutKind, length time.Duration) error {
	const island = 1 // node 1 lives on host 1
	type link struct{ from, to int }
	var links []link
	for host := range islandNodes + 1 {
		if host == island {
			continue
		}
		if kind.out {
			links = append(links, link{island, host})
		}
		if kind.in {
			links = append(links, link{host, island})
		}
	}
	e.say("%s: cutting; %s", p.name, kind.description)
	for _, l := range links {
		if err := p.lab.cut(ctx, l.from, l.to); err != nil {
			return err
		}
	}
	begun := time.Now()
	if !nursery.Sleep(ctx, length/2) {
		return ctx.Err()
	}
	p.logOut(ctx, length/4)
	if !nursery.Sleep(ctx, time.Until(begun.Add(length))) {
		return ctx.Err()
	}
	for _, l := range links {
		if err := p.lab.heal(ctx, l.from, l.to); err != nil {
			return err
		}
	}
	return nil
}

// logOut ends half of the sessions on each side, for as long as patience
// lasts, while the other side goes on saving them.
func (p *partition) logOut(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var group sync.WaitGroup
	for i, l := range p.ended {
		group.Go(func() { p.logOutOne(ctx, l, p.doors[i%2], p.doors[1-i%2]) })
	}
	group.Wait()
}

func (p *partition) logOutOne(ctx context.Context, l *logout, here, there *door) {
	for ctx.Err() == nil && !l.confirmed {
		l.note("logout sent to %s", here.name)
		a, _ := here.one(ctx, request{method: http.MethodDelete, path: l.path()}, requestTimeout)
		l.note("logout: %v", a)
		l.confirmed = a.ok()
	}
	a, _ := there.one(ctx, request{method: "PATCH", path: l.path(), body: `{"other":1}`}, requestTimeout)
	l.note("write on the other side, through %s: %v", there.name, a)
}

// complete says whether every write that was acknowledged on either side is in
// what the router answers.
func (p *partition) complete(ctx context.Context) error {
	for _, ledgers := range p.sides {
		for rest := ledgers; len(rest) > 0; {
			part := rest[:min(batch, len(rest))]
			rest = rest[len(part):]
			for i, a := range readAll(ctx, p.cluster.router().door, part) {
				if wrong := part[i].wrong(part[i].floor(), a); wrong != nil {
					return fmt.Errorf("%s: %w", part[i].key, wrong)
				}
			}
		}
	}
	return nil
}

// await repeats a look until it finds nothing wrong, and returns how long after
// since that was.
func (p *partition) await(ctx context.Context, since time.Time, look func(context.Context) error) (time.Duration, error) {
	for {
		err := look(ctx)
		if took := time.Since(since); err == nil || took > mergeTimeout {
			return took, err
		}
		if !nursery.Sleep(ctx, 20*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
}

// equal says whether all members have one ring, no copy is missing, and those
// that should hold a session hold the same of it.
func (p *partition) equal(ctx context.Context) error {
	if err := p.cluster.agreed(ctx); err != nil {
		return err
	}
	for _, m := range p.cluster.nodes() {
		s, err := m.admin.Stats(ctx)
		if err != nil {
			return err
		}
		if s.BelowTarget > 0 {
			return fmt.Errorf("%s says that %d keys have too few copies", m.Name, s.BelowTarget)
		}
	}
	for _, l := range p.sides[0] {
		if err := p.sameCopies(ctx, l.key); err != nil {
			return err
		}
	}
	for _, l := range p.ended {
		if err := p.sameCopies(ctx, l.key); err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) sameCopies(ctx context.Context, key string) error {
	k, err := p.cluster.router().admin.Key(ctx, key)
	if err != nil {
		return err
	}
	should := append([]string{k.Owner}, k.Successors...)
	version := ""
	for _, h := range k.Holders {
		holds := h.State == "live" || h.State == "deleted"
		if slices.Contains(should, h.Name) != holds {
			return fmt.Errorf("%s: %s has it as %s; it should be at %v alone", key, h.Name, h.State, should)
		}
		if holds && version == "" {
			version = h.State + h.Version + h.Hash
		}
		if holds && version != h.State+h.Version+h.Hash {
			return fmt.Errorf("%s: copies differ: %v", key, k.Holders)
		}
	}
	return nil
}

// checkLogouts asks all doors for the sessions that were ended, and saves late.
func (p *partition) checkLogouts(ctx context.Context) {
	for i, l := range p.ended {
		if !l.confirmed {
			continue
		}
		back := false
		for _, m := range p.cluster.members {
			a, _ := m.door.one(ctx, request{method: "GET", path: l.path()}, requestTimeout)
			l.note("read through %s after the heal: %v", m.Name, a)
			back = back || a.ok()
		}
		r := request{method: []string{"PUT", "PATCH"}[i%2], path: l.path(), body: `{"late":1}`}
		a, _ := p.cluster.members[i%len(p.cluster.members)].door.one(ctx, r, requestTimeout)
		l.note("late %s: %v", r.method, a)
		if back = back || a.ok(); back {
			p.undone++
			p.cases = append(p.cases, l.story())
		}
	}
}

func (p *partition) lost() (n int) {
	for _, s := range p.merged {
		n += len(s.lost["replica"]) + len(s.lost["async"]) + s.missing
	}
	return n
}

func (p *partition) rows(r *report) {
	all := p.tally.all()
	confirmed := 0
	for _, l := range p.ended {
		if l.confirmed {
			confirmed++
		}
	}
	r.figure(p.name+": one view after the heal", "%s", short(p.toView))
	r.promise(p.name+": equal copies after the heal", short(p.toEqual), fmt.Sprintf("within %v", mergeTimeout), len(p.unequal) == 0, p.unequal)
	cases := append(p.tally.examples("replica", "lost"), p.tally.examples("async", "lost")...)
	r.never(p.name+": acknowledged writes of either side missing after the merge", p.lost(), all.writes-all.by[failed], cases)
	r.never(p.name+": logouts undone", p.undone, confirmed, p.cases[:min(len(p.cases), examples)])
	r.rows = append(r.rows, row{
		what:     p.name + ": a session read as missing by an island that has no copy of it, or after the heal",
		measured: fmt.Sprintf("%s of %s", thousands(all.by[absent]), thousands(all.total())),
		cases:    append(p.tally.examples("replica", "absent"), p.tally.examples("async", "absent")...),
	})
	r.figure(p.name+": requests", "%s, %s failed, %s said to be degraded; slowest %s", thousands(all.total()), thousands(all.by[failed]), thousands(all.degraded), short(p.tally.worst()))
}

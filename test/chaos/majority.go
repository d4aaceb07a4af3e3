package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	majorityNodes = 5
	// majoritySessions is how many sessions of each kind all endpoints write to.
	majoritySessions = 30
	// askers ask one endpoint each, and pause after each answer. There are so
	// many that those which wait for a refusal leave enough for the others.
	askers     = 12
	askerPause = 200 * time.Millisecond
	// leaseLasts is documented: so long after it was cut off, no node serves by
	// what it was promised before.
	leaseLasts = time.Second
	// servesWithin is by when a majority must serve again what it has copies of,
	// and cutLasts how long a cut lasts at least in which it must. All cuts
	// together are shorter than half a minute: later a cluster takes for lost
	// what it does not reach.
	servesWithin = 20 * time.Second
	afterHeal    = 0.6 // share of new sessions served right after the heal
	cutLasts     = 4 * time.Second
)

// contested is a session that clients of all endpoints write to, each its own
// fields: what one endpoint acknowledged, all must show.
type contested struct {
	ledgers []*ledger // by the host of the endpoint
}

// sideAck is one write that was acknowledged.
type sideAck struct {
	session, host  int
	sent, answered time.Time
}

// cutPhase is one state of the network: groups of hosts that reach each other
// and nobody else.
type cutPhase struct {
	name   string
	groups [][]int
	begun  time.Time // when the links began to be cut
	at     time.Time // from when on all of them were
	until  time.Time // when they began to be other ones
	must   []int     // sessions that the majority has a copy of and must serve
	served int       // of these, within servesWithin
	whole  time.Duration
}

// majority is the group of more than half of the nodes, nil where there is none.
func (c *cutPhase) majority() []int {
	for _, g := range c.groups {
		nodes := len(g)
		if slices.Contains(g, 0) { // the router
			nodes--
		}
		if nodes > majorityNodes/2 {
			return g
		}
	}
	return nil
}

// ways are the links that do not work.
func (c *cutPhase) ways() (list []way) {
	for i, a := range c.groups {
		for j, b := range c.groups {
			if i == j {
				continue
			}
			for _, from := range a {
				for _, to := range b {
					list = append(list, way{from, to})
				}
			}
		}
	}
	return list
}

// contest is a cluster in mode majority whose endpoints are asked all the time.
type contest struct {
	*bench
	lab      *lab
	sessions []*contested
	phases   []*cutPhase

	cancel context.CancelFunc
	group  sync.WaitGroup
	marked atomic.Int64 // old answers that said that they might be
	mu     sync.Mutex   // guards acks
	acks   []sideAck
}

// runMajority restarts all nodes in turn, and then cuts the network in other
// places again and again. Clients reach all members all the time.
func runMajority(ctx context.Context, e *env, r *report) (err error) {
	l, err := newLab(ctx, majorityNodes+1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	c, err := startClusterWith(ctx, e.bin, e.dir, majorityNodes, l.place(), func(m *member) {
		if m.Node {
			m.extra = []string{"-partition-mode", "majority"}
		}
		m.door.slots = nil // a side that answers nothing is asked all the same
	})
	if err != nil {
		return err
	}
	defer c.close()
	t := &contest{bench: &bench{cluster: c, tally: newTally()}, lab: l}
	if err := t.create(ctx); err != nil {
		return err
	}
	e.say("%d nodes and a router run in mode majority, each in a network namespace; logs are in %s", majorityNodes, e.dir)
	t.start(ctx, e)
	err = t.faults(ctx, e, r)
	t.cancel()
	t.group.Wait()
	if err != nil {
		return err
	}
	if _, err := c.settle(ctx, settleTimeout); err != nil {
		return err
	}
	t.rows(ctx, r)
	return nil
}

// create stores the sessions, with the fields of all endpoints.
func (t *contest) create(ctx context.Context) error {
	for _, first := range newLedgers("contested", majoritySessions) {
		s := &contested{}
		for i := range t.members {
			s.ledgers = append(s.ledgers, &ledger{key: first.key, prefix: string(rune('a' + i)), ack: first.ack})
		}
		if a, _ := t.router().door.one(ctx, s.ledgers[0].creation(s.ledgers[1:]...), requestTimeout); !a.ok() {
			return fmt.Errorf("store %s: %v", first.key, a)
		}
		t.sessions = append(t.sessions, s)
	}
	return nil
}

// start has every endpoint asked until cancel is called.
func (t *contest) start(ctx context.Context, e *env) {
	ctx, t.cancel = context.WithCancel(ctx)
	for host := range t.members {
		for range askers {
			random := rand.New(rand.NewPCG(e.random.Uint64(), uint64(host)))
			t.group.Go(func() {
				for nursery.Sleep(ctx, time.Duration(random.Int64N(int64(2*askerPause)))) {
					if !t.members[host].door.down.Load() {
						t.ask(context.WithoutCancel(ctx), host, random.IntN(len(t.sessions)), random.Float64() < 0.7)
					}
				}
			})
		}
	}
}

// ask sends one request through the endpoint of a host and judges the answer by
// what all endpoints had acknowledged before.
func (t *contest) ask(ctx context.Context, host, session int, write bool) {
	s, d := t.sessions[session], t.members[host].door
	mine := s.ledgers[host]
	if write && !mine.writing.TryLock() {
		return
	}
	floors := make([]floor, len(s.ledgers))
	for i, l := range s.ledgers {
		floors[i] = l.floor()
	}
	r, k := request{method: "GET", path: mine.path()}, int64(0)
	if write {
		k, r = mine.write(d.name)
	}
	sent := time.Now()
	a, ours := d.one(ctx, r, requestTimeout)
	answered := time.Now()
	if write {
		mine.written(k, a)
		mine.writing.Unlock()
		if a.ok() {
			floors[host][k%lanes] = k
			t.mu.Lock()
			t.acks = append(t.acks, sideAck{session, host, sent, answered})
			t.mu.Unlock()
		}
	}
	for i, l := range s.ledgers {
		v, why := judge(l, floors[i], a, ours)
		if v == stale && a.degraded {
			// A node that does not reach the holders of a copy serves what it
			// has, and says so.
			v = fine
			t.marked.Add(1)
		}
		if v != fine || i == len(s.ledgers)-1 {
			t.tally.add(l, write, a, v, why)
			return
		}
	}
}

// faults restarts the nodes in turn, cuts, and heals.
func (t *contest) faults(ctx context.Context, e *env, r *report) error {
	t.tally.during("the start")
	if !nursery.Sleep(ctx, time.Second) { // a process that has only just become ready may still be starting
		return ctx.Err()
	}
	t.tally.during("the rolling restart")
	e.say("rolling restart")
	begun := time.Now()
	for _, m := range t.nodes() {
		if err := t.terminate(ctx, m); err != nil {
			return err
		}
		if err := t.comeBack(ctx, m); err != nil {
			return err
		}
	}
	r.figure("rolling restart of all nodes", "%s", short(time.Since(begun)))
	took, err := t.allCount(ctx)
	if err != nil {
		return err
	}
	r.figure("until all count again", "%s", short(took))
	p := e.random.Perm(majorityNodes)
	for i := range p {
		p[i]++ // node i is on host i; host 0 is the router's
	}
	var before []way
	for _, step := range []struct {
		apart [][]int // from all others
		lasts time.Duration
		must  bool // the majority must serve all that it has a copy of
	}{
		{[][]int{{p[0]}}, cutLasts, true},
		{[][]int{{p[0]}, {p[1]}}, cutLasts, true}, // one more
		{nil, cutLasts, true},                     // healed
		{[][]int{{p[2], p[3]}}, cutLasts, true},
		{[][]int{{p[2], p[3]}, {p[0], p[4]}}, cutLasts, false}, // the third one has no majority either
	} {
		c := newCutPhase(len(t.phases)+1, step.apart)
		t.phases = append(t.phases, c)
		if err := t.cut(ctx, e, c, before, step.lasts, step.must); err != nil {
			return err
		}
		before = c.ways()
	}
	t.tally.during("the heal")
	e.say("healing")
	healed := time.Now()
	t.phases[len(t.phases)-1].until = healed
	if err := t.lab.change(ctx, nil, before); err != nil {
		return err
	}
	if took, err = t.settle(ctx, settleTimeout); err != nil {
		return err
	}
	r.figure("one view and all copies after the heal", "%s", short(took))
	// A partition whose copies were out of reach of its owner refuses new
	// sessions for up to half a minute longer; those that there are it serves.
	v := startVisits(ctx, t.members)
	begun = time.Now()
	missing := t.servedAgain(ctx, begun)
	v.stop()
	r.promise("sessions served at every endpoint after that", fmt.Sprintf("all but %d after %s", len(missing), short(time.Since(begun))),
		fmt.Sprintf("all within %v", servesWithin), len(missing) == 0, missing[:min(len(missing), examples)])
	v.during(begun, time.Now()).row(r, "new sessions served then", afterHeal)
	return ctx.Err()
}

// servedAgain waits until every session has been written to since a moment, and
// every endpoint has acknowledged some. It returns what is missing.
func (t *contest) servedAgain(ctx context.Context, since time.Time) (missing []string) {
	for {
		sessions, hosts := make(map[int]bool), make(map[int]bool)
		t.mu.Lock()
		for _, a := range slices.Backward(t.acks) {
			if a.answered.Before(since) {
				break
			}
			if a.sent.After(since) {
				sessions[a.session], hosts[a.host] = true, true
			}
		}
		t.mu.Unlock()
		missing = nil
		for i, s := range t.sessions {
			if !sessions[i] {
				missing = append(missing, s.ledgers[0].story())
			}
		}
		for host, m := range t.members {
			if !hosts[host] {
				missing = append(missing, "every session at "+m.Name)
			}
		}
		if len(missing) == 0 || time.Since(since) > servesWithin || !nursery.Sleep(ctx, 50*time.Millisecond) {
			return missing
		}
	}
}

// allCount waits until every node says that all nodes count.
func (t *contest) allCount(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	for {
		var err error
		for _, m := range t.nodes() {
			if s, serr := m.admin.Stats(ctx); serr != nil {
				err = errors.Join(err, serr)
			} else if len(s.Electors) < majorityNodes {
				err = errors.Join(err, fmt.Errorf("for %s only %v count", m.Name, s.Electors))
			}
		}
		if err == nil || time.Since(begun) > settleTimeout {
			return time.Since(begun), err
		}
		if !nursery.Sleep(ctx, 50*time.Millisecond) {
			return time.Since(begun), ctx.Err()
		}
	}
}

// newCutPhase is the state in which some groups of hosts are cut off from each
// other and from all others.
func newCutPhase(number int, apart [][]int) *cutPhase {
	var rest []int
	for host := range majorityNodes + 1 {
		if !slices.ContainsFunc(apart, func(g []int) bool { return slices.Contains(g, host) }) {
			rest = append(rest, host)
		}
	}
	c := &cutPhase{groups: append(slices.Clone(apart), rest)}
	if len(apart) == 0 {
		c.name = fmt.Sprintf("healed before cut %d", number+1)
		return c
	}
	var sides []string
	for _, g := range c.groups {
		var names []string
		for _, host := range g {
			if host > 0 {
				names = append(names, fmt.Sprint(host))
			}
		}
		sides = append(sides, strings.Join(names, " "))
	}
	c.name = fmt.Sprintf("cut %d, nodes %s", number, strings.Join(sides, " / "))
	return c
}

// cut goes over from the cuts of before to those of c, and stays for a while,
// or longer until the majority has acknowledged a write of each session that it
// must serve.
func (t *contest) cut(ctx context.Context, e *env, c *cutPhase, before []way, lasts time.Duration, must bool) error {
	if must {
		var err error
		if c.must, err = t.copied(ctx, c.majority()); err != nil {
			return err
		}
	}
	t.tally.during("%s", c.name)
	e.say("%s", c.name)
	now := c.ways()
	without := func(list, others []way) []way {
		return slices.DeleteFunc(slices.Clone(list), func(w way) bool { return slices.Contains(others, w) })
	}
	c.begun = time.Now()
	if n := len(t.phases); n > 1 {
		t.phases[n-2].until = c.begun
	}
	if err := t.lab.change(ctx, without(now, before), without(before, now)); err != nil {
		return err
	}
	c.at = time.Now()
	t.tally.during("%s, since %s", c.name, c.at.Format("15:04:05.000"))
	for {
		served := t.servedBy(c)
		if c.served = len(served); must && c.served == len(c.must) && c.whole == 0 {
			c.whole = time.Since(c.at)
		}
		after := time.Since(c.at)
		if after > lasts && (!must || c.whole > 0 || after > servesWithin) {
			return nil
		}
		if !nursery.Sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// copied returns the sessions of which, by the router's ring, one of these hosts
// has a copy.
func (t *contest) copied(ctx context.Context, hosts []int) (list []int, err error) {
	shown, err := t.router().admin.Ring(ctx)
	if err != nil {
		return nil, err
	}
	if len(shown.Partitions) != ring.Partitions {
		return nil, fmt.Errorf("/admin/ring shows %d partitions, %d wanted", len(shown.Partitions), ring.Partitions)
	}
	for i, s := range t.sessions {
		p := shown.Partitions[ring.Partition(s.ledgers[0].key)]
		if slices.ContainsFunc(hosts, func(h int) bool {
			return t.members[h].Name == p.Owner || slices.Contains(p.Successors, t.members[h].Name)
		}) {
			list = append(list, i)
		}
	}
	return list, nil
}

// servedBy returns those of a cut's sessions that its majority has acknowledged
// a write of.
func (t *contest) servedBy(c *cutPhase) map[int]bool {
	hosts := c.majority()
	found := make(map[int]bool)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range slices.Backward(t.acks) {
		if a.answered.Before(c.at) {
			break // they are in the order of the answers, nearly
		}
		if a.sent.After(c.at) && slices.Contains(hosts, a.host) && slices.Contains(c.must, a.session) {
			found[a.session] = true
		}
	}
	return found
}

// sides is what was acknowledged in one cut.
type sides struct {
	major, minor []int // by the second after the cut
	last         time.Duration
	late         []string // by a minority, sent after the leases of before were over
	both         []string // by a minority, sent when the majority had acknowledged a write of that session
}

// sides counts the acknowledgements of a cut by side and time.
func (t *contest) sides(c *cutPhase) (s sides) {
	hosts := c.majority()
	first := make(map[int]time.Time) // answer of the majority, by session
	for _, a := range t.acks {
		if a.sent.After(c.at) && slices.Contains(hosts, a.host) {
			if at, ok := first[a.session]; !ok || a.answered.Before(at) {
				first[a.session] = a.answered
			}
		}
	}
	for _, a := range t.acks {
		if a.sent.Before(c.at) || a.answered.After(c.until) {
			continue
		}
		counts := &s.minor
		if slices.Contains(hosts, a.host) {
			counts = &s.major
		}
		for second := int(a.sent.Sub(c.at) / time.Second); len(*counts) <= second; {
			*counts = append(*counts, 0)
		}
		(*counts)[int(a.sent.Sub(c.at)/time.Second)]++
		if slices.Contains(hosts, a.host) {
			continue
		}
		s.last = max(s.last, a.sent.Sub(c.at))
		told := fmt.Sprintf("%s: sent %s after the cut to %s, answered after %s\n    %s", c.name, short(a.sent.Sub(c.at)), t.members[a.host].Name,
			short(a.answered.Sub(a.sent)), t.sessions[a.session].ledgers[a.host].story())
		if a.sent.Sub(c.at) > leaseLasts {
			s.late = append(s.late, told)
		}
		if at, ok := first[a.session]; ok && a.sent.After(at) {
			s.both = append(s.both, told)
		}
	}
	return s
}

func (t *contest) rows(ctx context.Context, r *report) {
	all := 0
	var late, both []string
	for _, c := range t.phases {
		s := t.sides(c)
		late, both = append(late, s.late...), append(both, s.both...)
		minority := "none"
		if len(s.minor) > 0 {
			minority = fmt.Sprintf("%v, the last one %s after the cut", s.minor, short(s.last))
		}
		if c.majority() == nil {
			r.figure(c.name+": writes acknowledged in each second", "no side has a majority: %s", minority)
			continue
		}
		r.figure(c.name+": writes acknowledged in each second", "by the majority %v, by the others %s", s.major, minority)
		if len(c.must) > 0 {
			after := "not all"
			if c.whole > 0 {
				after = "all " + short(c.whole) + " after the cut"
			}
			r.promise(c.name+": sessions served by the majority, of those of which it has a copy", fmt.Sprintf("%d of %d, %s", c.served, len(c.must), after),
				fmt.Sprintf("all within %v", servesWithin), c.whole > 0, nil)
		}
	}
	all = len(t.acks)
	r.never(fmt.Sprintf("writes acknowledged by a minority that were sent over %v after the cut", leaseLasts), len(late), all, late[:min(len(late), examples)])
	r.never("writes acknowledged by a minority when the majority had acknowledged one of that session", len(both), all, both[:min(len(both), examples)])
	cost := &losses{}
	cost.add(t.readBack(ctx), 0, time.Now())
	t.common(r)
	r.figure("older answers that said `Holdfast-Degraded`", "%s", thousands(int(t.marked.Load())))
	t.lossRows(r, cost)
	r.promise("acknowledged writes lost, `async`, when all is healed", fmt.Sprint(cost.sum("async")), "0", cost.sum("async") == 0, t.tally.examples("async", "lost"))
}

// readBack reads every session when nobody writes, and compares it with what
// was acknowledged at all endpoints.
func (t *contest) readBack(ctx context.Context) settled {
	found := settled{lost: make(map[string][]lostWrite)}
	for host := range t.members {
		l := &load{tally: t.tally}
		for _, s := range t.sessions {
			l.ledgers = append(l.ledgers, s.ledgers[host])
		}
		one := l.settle(ctx, t.router().door)
		found.missing += one.missing
		for ack, lost := range one.lost {
			found.lost[ack] = append(found.lost[ack], lost...)
		}
	}
	return found
}

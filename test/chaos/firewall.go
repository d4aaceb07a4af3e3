package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	firewallNodes = 4
	// firewallRate is how many requests a second hold answers against what was
	// acknowledged, beside the visits.
	firewallRate = 100
	// noticed is how long after a fault users need not be served in full: what
	// is under way waits 700 ms for the direct connection.
	noticed = 3 * time.Second
	// faultLasts is how long a fault stays.
	faultLasts = 6 * time.Second
	// youngShare is what is served even while a fault is not noticed, and
	// allShare what counts as all: on a machine that does other things too, a
	// process may get no time for a second, and refuses what waited for it.
	youngShare, allShare = 0.8, 0.9
)

// firewalls are faults that a firewall makes, in one cluster.
type firewalls struct {
	*bench
	lab    *lab
	visits *visits
	report *report
}

// runFirewall has firewalls drop and refuse what comes to a peer port, while
// gossip passes.
func runFirewall(ctx context.Context, e *env, r *report) (err error) {
	l, err := newLab(ctx, firewallNodes+2) // with a host for the one that joins
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	small := *e
	small.nodes, small.sessions, small.rate = firewallNodes, islandSessions, firewallRate
	b, err := small.newBenchAt(ctx, l.place(), func(*member) {})
	if err != nil {
		return err
	}
	defer b.close()
	f := &firewalls{bench: b, lab: l, report: r}
	f.visits = startVisits(ctx, b.members)
	defer f.visits.stop()
	b.load.start(ctx)
	for _, fault := range []func(context.Context, *env) error{f.joiner, f.cutLink, f.refusedLink, f.silentBulk} {
		if err = fault(ctx, e); err != nil {
			break
		}
	}
	b.load.stop()
	if err != nil {
		return err
	}
	found := b.load.settle(ctx, b.router().door)
	cost := &losses{}
	cost.add(found, 0, time.Now())
	b.common(r)
	b.lossRows(r, cost)
	return nil
}

// host is the number of the host that a member is on.
func (f *firewalls) host(m *member) int {
	for i, o := range f.members {
		if o == m {
			return i
		}
	}
	return -1
}

// peerPort is the number of every node's peer port: all have hosts of their own.
func peerPort(m *member) int { return m.Port + nursery.PeerPort }

// during names a fault in the report's cases, and tells of it.
func (f *firewalls) during(e *env, what string) time.Time {
	f.tally.during("%s", what)
	e.say("%s", what)
	return time.Now()
}

// joiner starts a node whose peer port is closed to all, one way and then the
// other, and opens it.
func (f *firewalls) joiner(ctx context.Context, e *env) error {
	m := f.add()
	m.outside = true
	port := peerPort(m)
	for _, way := range []struct{ name, rule string }{
		{"drops", fmt.Sprintf("tcp dport %d drop", port)},
		{"rejects", fmt.Sprintf("tcp dport %d reject with tcp reset", port)},
	} {
		if err := f.lab.firewall(ctx, f.host(m), way.rule); err != nil {
			return err
		}
		what := "a node joins whose peer port " + way.name
		begun := f.during(e, what)
		if err := f.start(m); err != nil {
			return err
		}
		why, ready := f.cluster.watchReady(ctx, m, begun.Add(faultLasts))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.visits.during(begun, time.Now()).row(f.report, what+": new sessions served everywhere", allShare)
		says := strings.Contains(why, "node-1") // of the nodes that do not reach it
		f.report.promise(what+": `/readyz`", or(why, "nothing"), "`503`, and says whom it does not hear", !ready && says, nil)
		if err := f.agreed(ctx); err != nil {
			f.report.promise(what+": it is on no ring", "no", "yes", false, []string{err.Error()})
		}
		if _, err := f.kill(m); err != nil {
			return err
		}
	}
	if err := f.lab.firewall(ctx, f.host(m), fmt.Sprintf("tcp dport %d drop", port)); err != nil {
		return err
	}
	if err := f.start(m); err != nil {
		return err
	}
	if !nursery.Sleep(ctx, 2*time.Second) {
		return ctx.Err()
	}
	if err := f.lab.firewall(ctx, f.host(m)); err != nil {
		return err
	}
	m.outside = false
	begun := f.during(e, "the peer port opens")
	took, err := f.settle(ctx, settleTimeout)
	if err != nil {
		return err
	}
	f.report.figure("the peer port opens: the node is ready after", "%s", short(took))
	f.visits.during(begun, time.Now()).row(f.report, "the peer port opens: new sessions served", allShare)
	return nil
}

// cutLink has two nodes drop what the other one sends to their peer ports, or
// answers from its own.
func (f *firewalls) cutLink(ctx context.Context, e *env) error {
	one, two := f.nodes()[0], f.nodes()[1]
	return f.link(ctx, e, fmt.Sprintf("between %s and %s all of the peer link is dropped", one.Name, two.Name), one, two, func(m, from *member) []string {
		return []string{
			fmt.Sprintf("ip saddr %s tcp dport %d drop", from.Host, peerPort(m)),
			fmt.Sprintf("ip saddr %s tcp sport %d drop", from.Host, peerPort(from)),
		}
	})
}

// refusedLink has one node refuse what another sends to its peer port.
func (f *firewalls) refusedLink(ctx context.Context, e *env) error {
	one, two := f.nodes()[1], f.nodes()[2]
	return f.link(ctx, e, fmt.Sprintf("%s refuses what %s sends to its peer port", one.Name, two.Name), one, two, func(m, from *member) []string {
		if m != one {
			return nil
		}
		return []string{fmt.Sprintf("ip saddr %s tcp dport %d reject with tcp reset", from.Host, peerPort(m))}
	})
}

// link makes a fault of one link and heals it.
func (f *firewalls) link(ctx context.Context, e *env, what string, one, two *member, rules func(m, from *member) []string) error {
	relayed, err := f.counter(ctx, "relayed")
	if err != nil {
		return err
	}
	begun := f.during(e, what)
	if err := errors.Join(f.lab.firewall(ctx, f.host(one), rules(one, two)...), f.lab.firewall(ctx, f.host(two), rules(two, one)...)); err != nil {
		return err
	}
	if !nursery.Sleep(ctx, faultLasts) {
		return ctx.Err()
	}
	// All are on the ring and no copy is missing, though the fault is there.
	if err := f.whole(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	now, err := f.counter(ctx, "relayed")
	if err != nil {
		return err
	}
	f.visits.during(begun, begun.Add(noticed)).row(f.report, fmt.Sprintf("%s: new sessions served in the first %v", what, noticed), youngShare)
	f.visits.during(begun.Add(noticed), time.Now()).row(f.report, what+": new sessions served from then on", allShare)
	f.report.promise(what+": requests that a third node passed on", thousands(int(now-relayed)), "some", now > relayed, nil)
	f.during(e, "that link heals")
	if err := errors.Join(f.lab.firewall(ctx, f.host(one)), f.lab.firewall(ctx, f.host(two))); err != nil {
		return err
	}
	if _, err := f.settle(ctx, settleTimeout); err != nil {
		return fmt.Errorf("%s, healed: %w", what, err)
	}
	return nil
}

// counter adds one counter up over the nodes that run.
func (f *firewalls) counter(ctx context.Context, name string) (sum int64, err error) {
	for _, m := range f.nodes() {
		if !m.running() {
			continue
		}
		s, err := m.admin.Stats(ctx)
		if err != nil {
			return 0, err
		}
		sum += s.Counters[name]
	}
	return sum, nil
}

// silentBulk makes the connections for bulk transfers between two nodes
// silent, as a firewall that has forgotten them, and kills a third node: its
// copies are to be rebuilt over these connections too. Then it kills the first
// of the two.
func (f *firewalls) silentBulk(ctx context.Context, e *env) error {
	one, two, third := f.nodes()[0], f.nodes()[1], f.nodes()[2]
	replaced, err := f.counter(ctx, "links_replaced")
	if err != nil {
		return err
	}
	mine, err := f.bulkPort(ctx, one, two)
	if err != nil {
		return err
	}
	theirs, err := f.bulkPort(ctx, two, one)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the bulk connections between %s and %s go silent, and %s dies", one.Name, two.Name, third.Name)
	begun := f.during(e, what)
	if err := errors.Join(f.lab.firewall(ctx, f.host(one), f.forgotten(two, one, mine, theirs)...), f.lab.firewall(ctx, f.host(two), f.forgotten(one, two, theirs, mine)...)); err != nil {
		return err
	}
	at, err := f.kill(third)
	if err != nil {
		return err
	}
	if err := f.whole(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(at)
	now, err := f.counter(ctx, "links_replaced")
	if err != nil {
		return err
	}
	f.report.figure(what+": all copies again after", "%s", short(took))
	f.report.promise(what+": connections that were given up", thousands(int(now-replaced)), "some", now > replaced, nil)
	f.visits.during(begun, time.Now()).row(f.report, what+": new sessions served meanwhile", youngShare)
	// What it owned has its only other copy where the silent connection led.
	begun = f.during(e, "then "+one.Name+" dies")
	if _, err := f.kill(one); err != nil {
		return err
	}
	nursery.Sleep(ctx, noticed)
	if err := f.whole(ctx); err != nil {
		return fmt.Errorf("%s, then %s dies: %w", what, one.Name, err)
	}
	f.visits.during(begun, time.Now()).row(f.report, "then "+one.Name+" dies: new sessions served", youngShare)
	return nil
}

// forgotten are the rules by which m gets nothing more from another node over
// the connection that it has made from one port, and over the one that the
// other has made from another.
func (f *firewalls) forgotten(from, m *member, mine, theirs int) []string {
	return []string{
		fmt.Sprintf("ip saddr %s tcp sport %d tcp dport %d drop", from.Host, peerPort(from), mine),
		fmt.Sprintf("ip saddr %s tcp sport %d tcp dport %d drop", from.Host, theirs, peerPort(m)),
	}
}

// sentSegments is what ss says of how much went over a connection.
var sentSegments = regexp.MustCompile(`data_segs_out:(\d+)`)

// bulkPort finds the port from which one node has made its connection for bulk
// transfers to another. It has three to it: heartbeats go over one, and nothing
// over another but a greeting. So it is the one between them.
func (f *firewalls) bulkPort(ctx context.Context, from, to *member) (int, error) {
	deadline := time.Now().Add(settleTimeout)
	for {
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", f.lab.name(strconv.Itoa(f.host(from))),
			"ss", "-tniHO", "state", "established", "dst", to.Address(nursery.PeerPort)).Output()
		if err != nil {
			return 0, fmt.Errorf("ss: %w", err)
		}
		var found [][2]int // how much each has sent, and its port
		for line := range strings.Lines(string(out)) {
			words, sent := strings.Fields(line), sentSegments.FindStringSubmatch(line)
			if len(words) < 4 || sent == nil {
				continue
			}
			_, p, _ := strings.Cut(words[2], ":")
			n, _ := strconv.Atoi(sent[1])
			port, _ := strconv.Atoi(p)
			found = append(found, [2]int{n, port})
		}
		slices.SortFunc(found, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
		if len(found) == 3 && found[1][0] > found[0][0] && found[1][1] > 0 {
			return found[1][1], nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s has %d connections to the peer port of %s, 3 wanted, of which one is silent:\n%s", from.Name, len(found), to.Name, out)
		}
		if !nursery.Sleep(ctx, 100*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
}

// whole waits until the members that run agree and no copy is missing.
func (f *firewalls) whole(ctx context.Context) error {
	deadline := time.Now().Add(settleTimeout)
	for {
		err := f.agreed(ctx)
		for _, m := range f.awake() {
			if s, serr := m.Client.Stats(ctx); serr != nil {
				err = errors.Join(err, serr)
			} else if s.BelowTarget > 0 {
				err = errors.Join(err, fmt.Errorf("%d keys of %s have too few copies", s.BelowTarget, m.Name))
			}
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if !nursery.Sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

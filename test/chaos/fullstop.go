package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// stopLogouts is how many sessions are ended before each full stop.
	stopLogouts = 20
	// oldDiskEvery is in which rounds one node has ended before the others, so
	// that its disk knows nothing of their last seconds.
	oldDiskEvery = 3
	// oldDiskLead is how long before.
	oldDiskLead = 3 * time.Second
	// stopSync is what everysec may lose.
	stopSync = time.Second
)

// fullStop is a cluster with disks of which all nodes end at once, again and
// again.
type fullStop struct {
	*bench
	with string        // what the rows say it was: ", `-fsync always`"
	may  time.Duration // what was acknowledged up to so long before may be lost

	rounds, old   int
	ages          []time.Duration // of what was lost, when the stop came
	lost, missing int             // acknowledged writes, lost against the promise; sessions
	cases         []string
	whole         []time.Duration // from the first start to one view and all copies

	mu     sync.Mutex // guards what follows
	ended  []*ledger  // with 204, all rounds
	polls  int
	misses int // a session that is there was said not to be
	undone map[string]bool
}

// runFullStop stops all nodes at once, under load, with each way to sync.
func runFullStop(ctx context.Context, e *env, r *report) error {
	for _, fsync := range []string{"everysec", "always"} {
		if err := runFullStops(ctx, e, r, fsync); err != nil {
			return err
		}
	}
	return nil
}

func runFullStops(ctx context.Context, e *env, r *report, fsync string) error {
	dir := filepath.Join(e.dir, "disks-"+fsync)
	b, err := e.newBenchAt(ctx, loopback(e.basePort), func(m *member) {
		if m.Node {
			m.extra = append(m.extra, "-data-dir", filepath.Join(dir, m.Name), "-fsync", fsync)
		}
	})
	if err != nil {
		return err
	}
	defer b.close()
	s := &fullStop{bench: b, with: fmt.Sprintf(", `-fsync %s`", fsync), undone: make(map[string]bool)}
	if fsync == "everysec" {
		s.may = stopSync
	}
	for ; s.rounds < e.count; s.rounds++ {
		at, err := s.stop(ctx, e, s.rounds%oldDiskEvery == oldDiskEvery-1)
		if err == nil {
			err = s.back(ctx, e, at)
		}
		if err != nil {
			return fmt.Errorf("full stop %d, fsync %s: %w", s.rounds+1, fsync, err)
		}
		e.progress("full stop %d of %d, fsync %s: %s", s.rounds+1, e.count, fsync, s.sofar())
	}
	r.figure("full stops"+s.with, "%d of %d nodes, in %d of them one node had ended %v before", s.rounds, len(b.nodes()), s.old, oldDiskLead)
	s.rows(r)
	return nil
}

// sofar tells how it goes.
func (s *fullStop) sofar() string {
	return fmt.Sprintf("%d writes lost that should not be, %d sessions missing, %d logouts undone", s.lost, s.missing, len(s.undone))
}

// stop ends some sessions, and all nodes under load, one of them some time before
// if that is said. It returns when the others ended.
func (s *fullStop) stop(ctx context.Context, e *env, early bool) (at time.Time, err error) {
	s.tally.during("stop %d%s", s.rounds+1, s.with)
	if err := s.logOut(ctx); err != nil {
		return at, err
	}
	s.load.start(ctx)
	nursery.Sleep(ctx, e.between(1500*time.Millisecond, 2500*time.Millisecond))
	at, err = s.stopAll(ctx, e, early)
	s.load.stop()
	return at, err
}

// back starts the nodes that ended at some time, and looks at what is there.
func (s *fullStop) back(ctx context.Context, e *env, at time.Time) error {
	begin := time.Now()
	if err := s.startAll(ctx, e); err != nil {
		return err
	}
	s.whole = append(s.whole, time.Since(begin))
	found := s.load.settle(ctx, s.router().door)
	s.missing += found.missing
	for _, lost := range found.lost {
		for _, w := range lost {
			age := max(0, at.Sub(w.ackedAt))
			if s.ages = append(s.ages, age); age > s.may || s.may == 0 {
				s.lost++
			}
		}
	}
	s.poll(ctx)
	return ctx.Err()
}

// logOut ends sessions, and keeps those of which it was said that no copy has
// them any more.
func (s *fullStop) logOut(ctx context.Context) error {
	var list []*ledger
	for i := range stopLogouts {
		list = append(list, &ledger{key: fmt.Sprintf("out-%d-%d", s.rounds, i), prefix: "f", ack: "replica"})
	}
	d := s.router().door
	if err := create(ctx, d, list); err != nil {
		return err
	}
	for _, l := range list {
		a, _ := d.one(ctx, request{method: http.MethodDelete, path: l.path()}, requestTimeout)
		if l.note("logout: %v", a); a.status == http.StatusNoContent {
			s.ended = append(s.ended, l)
		}
	}
	return nil
}

// stopAll ends all nodes at once, one of them some time before if that is said,
// and returns when.
func (s *fullStop) stopAll(ctx context.Context, e *env, early bool) (at time.Time, err error) {
	if early {
		s.old++
		if _, err := s.kill(e.pick(s.cluster)); err != nil {
			return at, err
		}
		nursery.Sleep(ctx, oldDiskLead)
	}
	at = time.Now()
	for _, m := range s.nodes() {
		if m.running() {
			m.door.lose()
			if err := s.signal(m, syscall.SIGKILL); err != nil {
				return at, err
			}
		}
	}
	for _, m := range s.nodes() {
		if m.process != nil {
			<-m.process.Gone()
			m.process = nil
		}
	}
	return at, nil
}

// startAll starts the nodes one after the other, and asks meanwhile what they
// have. It returns when they agree and have all copies.
func (s *fullStop) startAll(ctx context.Context, e *env) error {
	asking, cancel := context.WithCancel(ctx)
	var polling sync.WaitGroup
	polling.Go(func() {
		for asking.Err() == nil {
			s.poll(asking)
			nursery.Sleep(asking, 20*time.Millisecond)
		}
	})
	defer polling.Wait()
	defer cancel()
	nodes := s.nodes()
	for _, i := range e.random.Perm(len(nodes)) {
		if err := s.start(nodes[i]); err != nil {
			return err
		}
		nursery.Sleep(ctx, e.between(0, 1500*time.Millisecond))
	}
	_, err := s.settle(ctx, settleTimeout)
	return err
}

// poll asks all doors for some of the sessions that are there, and for those that
// have ended.
func (s *fullStop) poll(ctx context.Context) {
	live := s.load.ledgers[:min(batch, len(s.load.ledgers))]
	s.mu.Lock()
	ended := s.ended[max(0, len(s.ended)-batch):]
	s.mu.Unlock()
	for _, d := range s.doors() {
		if d.down.Load() || ctx.Err() != nil {
			continue
		}
		s.ask(ctx, d, live, func(l *ledger, a answer) {
			if a.absent() {
				s.misses++
				l.note("read through %s: %v", d.name, a)
				s.keep("a session that is there: %v from %s\n    %s", a, d.name, l.story())
			}
		})
		s.ask(ctx, d, ended, func(l *ledger, a answer) {
			if a.ok() {
				s.undone[l.key] = true
				s.keep("a session that was ended: %v from %s\n    %s", a, d.name, l.story())
			}
		})
	}
}

func (s *fullStop) ask(ctx context.Context, d *door, list []*ledger, judge func(l *ledger, a answer)) {
	requests, answers := make([]request, len(list)), make([]answer, len(list))
	for i, l := range list {
		requests[i] = request{method: "GET", path: l.path()}
	}
	_, _ = d.send(ctx, requests, answers, requestTimeout) // told by each answer
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range answers {
		s.polls++
		judge(list[i], a)
	}
}

// keep is called under mu.
func (s *fullStop) keep(format string, args ...any) {
	if len(s.cases) < examples {
		s.cases = append(s.cases, fmt.Sprintf(format, args...))
	}
}

func (s *fullStop) rows(r *report) {
	with := s.with
	s.common(r)
	r.figure("from the first start to one view and all copies"+with, "%s", spread(s.whole))
	r.figure("acknowledged writes lost"+with, "%d in all, so long before the stop: %s", len(s.ages), spread(s.ages))
	promise := "0"
	if s.may > 0 {
		promise = fmt.Sprintf("0 that were acknowledged more than %v before", s.may)
	}
	r.promise("acknowledged writes lost against the promise"+with, fmt.Sprint(s.lost), promise, s.lost == 0, append(s.tally.examples("replica", "lost"), s.tally.examples("async", "lost")...))
	r.promise("sessions that could not be read back"+with, fmt.Sprint(s.missing), "0", s.missing == 0, s.tally.examples("replica", "missing"))
	r.never("answers while nodes started that a session which is there is not"+with, s.misses, s.polls, s.cases)
	r.never("logouts undone"+with, len(s.undone), len(s.ended), s.cases)
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// logoutBatch is how many sessions are ended in one round of faults.
	logoutBatch = 100
	// logoutPolls is how long the sessions of a round are asked for afterwards.
	logoutPolls = 2 * time.Second
)

// logout is a session that was ended.
type logout struct {
	*ledger
	confirmed bool // 204: every copy that could be reached has it
}

// logouts keeps what was ended and what came of it.
type logouts struct {
	bench  *bench
	mu     sync.Mutex // guards what follows
	done   []*logout
	undone map[bool]map[string]bool // by confirmed: keys that came back
	tries  []int                    // per logout: attempts until it was acknowledged
	polls  int
	late   int      // saves tried afterwards
	other  int      // polls without a clear answer
	cases  []string // logouts undone
}

// runLogout ends sessions while nodes die and freeze, and asks for them
// afterwards, and lets requests save late.
func runLogout(ctx context.Context, e *env, r *report) error {
	b, err := e.newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	s := &logouts{bench: b, undone: map[bool]map[string]bool{false: {}, true: {}}}
	var k killer
	for round := 0; len(s.done) < e.logouts; round++ {
		b.load.start(ctx)
		err := s.round(ctx, e, &k, round)
		b.load.stop()
		if err != nil {
			return err
		}
		e.progress("%d of %d logouts, %d undone; %d polls, %d late saves", len(s.done), e.logouts, len(s.undone[true])+len(s.undone[false]), s.polls, s.late)
	}
	s.poll(ctx, e, s.done, time.Now()) // all of them once more, and late saves to all
	s.saveLate(ctx, s.done)
	s.rows(r)
	return nil
}

// round makes sessions, ends them while a node dies or freezes, and watches.
func (s *logouts) round(ctx context.Context, e *env, k *killer, round int) error {
	b := s.bench
	var list []*logout
	var ledgers []*ledger
	for i := range logoutBatch {
		l := &logout{ledger: &ledger{key: fmt.Sprintf("out-%d-%d", round, i), prefix: "f", ack: "replica"}}
		list, ledgers = append(list, l), append(ledgers, l.ledger)
	}
	if err := create(ctx, b.router().door, ledgers); err != nil {
		return err
	}
	m, err := k.next(ctx, e, b.cluster)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.end(ctx, list) }()
	nursery.Sleep(ctx, e.between(0, 200*time.Millisecond))
	err = s.accident(ctx, e, k, m, round)
	if e := <-ended; err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.done = append(s.done, list...)
	recent := s.done[max(0, len(s.done)-3*logoutBatch):]
	s.mu.Unlock()
	s.saveLate(ctx, list)
	s.poll(ctx, e, recent, time.Now().Add(logoutPolls))
	_, err = b.cluster.settle(ctx, settleTimeout)
	return err
}

// accident alternates: a node dies and comes back, a node freezes past its
// lease, a node freezes for less than that.
func (s *logouts) accident(ctx context.Context, e *env, k *killer, m *member, round int) error {
	b := s.bench
	switch round % 3 {
	case 0:
		b.tally.during("kill of %s while sessions end", m.Name)
		if _, err := k.kill(b.cluster, m); err != nil {
			return err
		}
		nursery.Sleep(ctx, e.between(0, time.Second))
		return b.start(m)
	default:
		d := e.between(200*time.Millisecond, 900*time.Millisecond)
		if round%3 == 1 {
			d = e.between(1500*time.Millisecond, 4*time.Second)
		}
		b.tally.during("pause of %s for %s while sessions end", m.Name, short(d))
		if err := b.pause(m); err != nil {
			return err
		}
		nursery.Sleep(ctx, d)
		return b.resume(m)
	}
}

// end logs out every session of the list, each until that is acknowledged,
// with a write just before it.
func (s *logouts) end(ctx context.Context, list []*logout) error {
	next := make(chan *logout)
	var group sync.WaitGroup
	errs := make(chan error, len(list))
	for range 8 {
		group.Go(func() {
			for l := range next {
				errs <- s.endOne(ctx, l)
			}
		})
	}
	for _, l := range list {
		next <- l
	}
	close(next)
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *logouts) endOne(ctx context.Context, l *logout) error {
	d := s.bench.router().door
	s.bench.load.write(ctx, l.ledger, d)
	for try := 1; try <= 60; try++ {
		l.note("logout sent to %s", d.name)
		a, _ := d.one(ctx, request{method: http.MethodDelete, path: l.path()}, requestTimeout)
		l.note("logout: %v", a)
		// 410: an earlier try was done after all.
		if a.ok() || a.err == nil && a.status == http.StatusGone {
			l.confirmed = a.status == http.StatusNoContent
			s.mu.Lock()
			s.tries = append(s.tries, try)
			s.mu.Unlock()
			return nil
		}
		if !nursery.Sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("logout not acknowledged in 60 tries\n    %s", l.story())
}

// poll asks all doors for the sessions until the time has come, once at least.
func (s *logouts) poll(ctx context.Context, e *env, list []*logout, until time.Time) {
	for {
		for _, d := range s.bench.doors() {
			if d.down.Load() {
				continue
			}
			s.pollDoor(ctx, d, list)
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return
		}
	}
}

func (s *logouts) pollDoor(ctx context.Context, d *door, list []*logout) {
	for rest := list; len(rest) > 0; {
		part := rest[:min(batch, len(rest))]
		rest = rest[len(part):]
		requests, answers := make([]request, len(part)), make([]answer, len(part))
		for i, l := range part {
			requests[i] = request{method: "GET", path: l.path()}
		}
		_, _ = d.send(ctx, requests, answers, requestTimeout) // told by each answer
		for i, a := range answers {
			s.judge(part[i], "read through "+d.name, a)
		}
	}
}

// saveLate has requests that began before the logout save afterwards.
func (s *logouts) saveLate(ctx context.Context, list []*logout) {
	for i, l := range list {
		r := request{method: "PATCH", path: l.path(), body: `{"late":1}`}
		if i%2 == 0 {
			r.method = "PUT"
		}
		doors := s.bench.doors()
		d := doors[i%len(doors)]
		if d.down.Load() {
			d = doors[0]
		}
		a, _ := d.one(ctx, r, requestTimeout)
		s.mu.Lock()
		s.late++
		s.mu.Unlock()
		s.judge(l, r.method+" through "+d.name, a)
	}
}

// judge counts what was answered about a session that was ended.
func (s *logouts) judge(l *logout, what string, a answer) {
	if a.ok() {
		l.note("%s: %v", what, a)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls++
	switch {
	case a.ok():
		if s.undone[l.confirmed][l.key] = true; len(s.cases) < examples {
			s.cases = append(s.cases, fmt.Sprintf("%s: %v, %s\n    %s", what, a, a.body, l.story()))
		}
	case !a.absent():
		s.other++
	}
}

func (s *logouts) rows(r *report) {
	confirmed := 0
	for _, l := range s.done {
		if l.confirmed {
			confirmed++
		}
	}
	s.bench.common(r)
	r.figure("logouts", "%s, of them %s with `204`; requests each took: %s", thousands(len(s.done)), thousands(confirmed), counts(s.tries))
	r.figure("questions asked of sessions that had been ended", "%s, of them %s late saves; %s without a clear answer", thousands(s.polls), thousands(s.late), thousands(s.other))
	r.never("logouts undone that had been answered with `204`", len(s.undone[true]), confirmed, s.cases)
	r.never("logouts undone that had been answered otherwise (`202`, `410`)", len(s.undone[false]), len(s.done)-confirmed, s.cases)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// ringProven is for how long a ring has to stand before a node takes it for
// certain that nobody else has a session: until then every delete is
// remembered.
const ringProven = 4 * time.Second

// runMemory tries to have the nodes hold more than they may, and to fill them
// so that nobody can log in any more.
func runMemory(ctx context.Context, s *stage) error {
	deletes, logouts, rotates, grown := 180_000, 1000, 1500, 250
	most := 6 * time.Second // for each step
	if s.full {
		deletes, logouts, rotates, grown = 400_000, 3000, 5000, 500
		most = 15 * time.Second
	}
	if !nursery.Sleep(ctx, ringProven) {
		return ctx.Err()
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"deletes of keys that never were", func(ctx context.Context) error { return s.deleteUnknown(ctx, deletes) }},
		{"logouts of sessions that never were", func(ctx context.Context) error { return s.logoutUnknown(ctx, logouts) }},
		{"rotates", func(ctx context.Context) error { return s.rotate(ctx, rotates) }},
	} {
		stepCtx, cancel := context.WithTimeout(ctx, most)
		err := step.do(stepCtx)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if err := s.weigh(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		s.login("after " + step.what)
	}
	return s.grow(ctx, grown)
}

// deleteUnknown deletes keys that never were, with long names, as a cache that
// is cleared does.
func (s *stage) deleteUnknown(ctx context.Context, n int) error {
	const batch = 250
	l, err := dial(attacker, s.nodes()[0].Address(nursery.RESPPort))
	if err != nil {
		return err
	}
	defer l.Close()
	before, sent := s.tombstones(ctx), 0
	for i := 0; i < n && ctx.Err() == nil; i += batch {
		var b []byte
		for k := range batch {
			b = resp.AppendCommand(b, "DEL", fmt.Sprintf("%0500d", i+k))
		}
		replies, err := l.many(b, batch)
		if err != nil {
			return err
		}
		for _, v := range replies {
			s.saw("DEL of an unknown key: %s", said(v))
		}
		sent += batch
	}
	s.leftBehind("deletes of keys", sent, before)
	return nil
}

// tombstones is how many ended sessions all nodes remember, copies too.
func (s *stage) tombstones(ctx context.Context) (n int) {
	for _, m := range s.nodes() {
		if stats, err := m.admin.Stats(context.WithoutCancel(ctx)); err == nil {
			n += stats.Tombstones
		}
	}
	return n
}

// leftBehind notes as a fault that the end of what never was is remembered.
func (s *stage) leftBehind(what string, sent, before int) {
	n := s.tombstones(context.Background()) - before
	s.count(max(0, n), "tombstones left by %s that never were", what)
	if n > sent/10 {
		s.fault("%d %s that never were left %d tombstones", sent, what, n)
	}
}

// many sends commands in one write and reads n replies.
func (l *line) many(b []byte, n int) (list []resp.Value, err error) {
	if err := l.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := l.Write(b); err != nil {
		return nil, err
	}
	for range n {
		v, err := l.replies.Read()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// logoutUnknown ends sessions that never were, over HTTP.
func (s *stage) logoutUnknown(ctx context.Context, n int) error {
	l, err := dial(attacker, s.router().Address(nursery.HTTPPort))
	if err != nil {
		return err
	}
	defer l.Close()
	before, sent := s.tombstones(ctx), 0
	for ; sent < n && ctx.Err() == nil; sent++ {
		a, err := l.ask(request{method: "DELETE", path: fmt.Sprintf("/v1/sessions/%0400d", sent)}, 5*time.Second)
		if err != nil {
			return err
		}
		s.saw("logout of nobody: %d", a.status)
	}
	s.leftBehind("logouts of sessions", sent, before)
	return nil
}

// rotate gives one session new ids, again and again. Each leaves a tombstone.
func (s *stage) rotate(ctx context.Context, n int) error {
	l, err := dial(attacker, s.router().Address(nursery.HTTPPort))
	if err != nil {
		return err
	}
	defer l.Close()
	path := "/v1/sessions/%7B" + strings.Repeat("t", 450) + "%7D:a"
	a, err := l.ask(request{"PUT", path, []string{asJSON}, `{"a":1}`}, 5*time.Second)
	for i := 0; err == nil && i < n && ctx.Err() == nil; i++ {
		if a, err = l.ask(request{method: "POST", path: path + "/rotate"}, 5*time.Second); err != nil {
			break
		}
		s.saw("rotate: %d", a.status)
		if to := a.header.Get("Location"); a.status == http.StatusCreated && to != "" {
			path = to
		} else if a.status/100 == 5 && a.status != http.StatusInsufficientStorage {
			break
		}
	}
	return err
}

// login stores a new session, which must work: nothing that counts against the
// limit is there but ended sessions.
func (s *stage) login(when string) {
	status := 0
	for range 10 { // a moment to make room is allowed
		a, err := s.once(request{"PUT", fmt.Sprintf("/v1/sessions/login-%d", time.Now().UnixNano()), []string{asJSON}, `{"user":"late"}`})
		if err == nil {
			status = a.status
		}
		if status == http.StatusCreated {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	s.fault("a login %s is answered %d for two seconds", when, status)
}

// once sends one request to the router over a connection of its own.
func (s *stage) once(r request) (answer, error) {
	l, err := dial(uploader, s.router().Address(nursery.HTTPPort))
	if err != nil {
		return answer{}, err
	}
	defer l.Close()
	return l.ask(r, 5*time.Second)
}

// grow overwrites small sessions with large values, far over the limit, then
// ends them all.
func (s *stage) grow(ctx context.Context, n int) error {
	l, err := dial(attacker, s.nodes()[0].Address(nursery.RESPPort))
	if err != nil {
		return err
	}
	defer l.Close()
	large := strings.Repeat("x", 900_000)
	keys := names("grown-", n)
	for _, k := range keys {
		for _, args := range [][]string{{"SET", "s" + k, "v"}, {"HSET", "h" + k, "a", "v"}} {
			if err := refused(l.command(5*time.Second, args...)); err != nil {
				return fmt.Errorf("store a small session: %w", err)
			}
		}
	}
	took, refused := 0, 0
	for i, k := range keys {
		var v resp.Value
		if i%2 == 0 {
			v, err = l.command(5*time.Second, "SET", "s"+k, large)
		} else {
			v, err = l.command(5*time.Second, "HSET", "h"+k, "b", large)
		}
		if err != nil {
			return fmt.Errorf("overwrite a small session: %w", err)
		}
		s.saw("growth by 900 kB: %s", said(v))
		switch {
		case !v.IsError():
			took++
		case strings.HasPrefix(v.Text, "OOM"):
			refused++
		}
		if i%50 == 0 {
			if err := s.weigh(context.WithoutCancel(ctx)); err != nil {
				return err
			}
		}
	}
	if took == 0 {
		s.fault("no session could grow at all")
	}
	if refused == 0 {
		s.fault("no growth over the limit was refused with -OOM")
	}
	if a, err := s.once(request{"PATCH", "/v1/sessions/h" + keys[0], []string{asJSON}, `{"c":"` + large + `"}`}); err == nil {
		s.saw("growth by PATCH: %d", a.status)
		if a.status/100 == 5 && a.status != http.StatusInsufficientStorage {
			s.fault("growth over the limit by PATCH is answered %d, and 507 is right", a.status)
		}
	}
	if err := s.weigh(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	a, err := s.once(request{method: "DELETE", path: "/v1/sessions/h" + keys[1]})
	if err != nil || a.status/100 != 2 {
		s.fault("a logout over the limit is answered %d", a.status)
	}
	return errors.Join(s.endAll(l, "s", keys), s.endAll(l, "h", keys), s.afterwards(ctx))
}

// endAll ends sessions, which must always work.
func (s *stage) endAll(l *line, prefix string, keys []string) error {
	var b []byte
	for _, k := range keys {
		b = resp.AppendCommand(b, "DEL", prefix+k)
	}
	replies, err := l.many(b, len(keys))
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	for _, v := range replies {
		if v.IsError() {
			s.fault("a logout over the limit is answered %s", said(v))
		}
	}
	return nil
}

// afterwards checks that there is room again.
func (s *stage) afterwards(ctx context.Context) error {
	err := s.weigh(context.WithoutCancel(ctx))
	s.login("after all large sessions were ended")
	return err
}

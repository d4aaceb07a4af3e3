package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const slowKey = "slow-large"

// uploadEvery is the pace of who sends slowly and steadily.
const uploadEvery = 250 * time.Millisecond

// silentLimit is by when a request must have been ended of whose body nothing
// comes, with some time to spare. Only the full form waits for that.
const silentLimit = 90 * time.Second

// prepareSlow stores what slow readers read.
func prepareSlow(_ context.Context, s *stage) error {
	a, err := s.once(request{"PUT", "/v1/sessions/" + slowKey, []string{asJSON}, `{"large":"` + strings.Repeat("x", 900_000) + `"}`})
	if err == nil && a.status/100 != 2 {
		err = fmt.Errorf("%d: %.200s", a.status, a.body)
	}
	if err != nil {
		return fmt.Errorf("store a large session: %w", err)
	}
	return nil
}

// runSlow opens connections at a node and the router that do nothing, send
// nothing of a body, or read nothing of an answer. Beside them one client in
// the right sends slowly and steadily, and must be served.
func runSlow(ctx context.Context, s *stage) error {
	const idle, bodies, readers = 1500, 100, 50
	long := 12 * time.Second
	if s.full {
		long = 125 * time.Second // beyond all deadlines for whole requests
	}
	node, router := s.nodes()[0].Address(nursery.HTTPPort), s.router().Address(nursery.HTTPPort)
	s.group.Go(func() {
		s.upload("session through the router", router, "PUT", "/v1/sessions/steady-router", 12*time.Second, uploadEvery)
	})
	s.group.Go(func() {
		s.upload("session at a node", node, "PUT", "/v1/sessions/steady-node", 12*time.Second, uploadEvery)
	})
	s.group.Go(func() { s.upload("application through the router", router, "POST", "/upload", long, uploadEvery) })
	for _, at := range []struct{ name, address string }{{"node", node}, {"router", router}} {
		for range bodies {
			s.group.Go(func() { s.silent(ctx, at.name, at.address) })
		}
		// What is held is the harm here, not the work of taking it on: what the
		// buffers of two sockets hold, some MB of answers, is made for each.
		s.group.Go(func() {
			for i := 0; i < readers && nursery.Sleep(ctx, 150*time.Millisecond); i++ {
				s.group.Go(func() { s.deaf(ctx, at.name, at.address) })
			}
		})
		s.group.Go(func() {
			for i := 0; i < idle && nursery.Sleep(ctx, 3*time.Millisecond); i++ {
				s.group.Go(func() { s.hold(ctx, "idle connection", at.name, at.address, nil) })
			}
		})
	}
	<-ctx.Done()
	s.group.Wait()
	return nil
}

// hold sends bytes, if any, and keeps the connection until ctx ends or the
// member ends it. It returns for how long it was held.
func (s *stage) hold(ctx context.Context, what, name, address string, b []byte) (held time.Duration, ended bool) {
	l, err := dial(attacker, address)
	if err != nil {
		s.saw("%s at the %s: not connected", what, name)
		return 0, true
	}
	defer l.Close()
	begun := time.Now()
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Now()) }) // wakes the read below
	defer stop()
	if _, err = l.Write(b); err == nil {
		_, _ = l.Read(make([]byte, 1)) // whatever comes is an end, an answer too
	}
	if ended = ctx.Err() == nil; ended {
		s.saw("%s at the %s: ended", what, name)
	} else {
		s.saw("%s at the %s: held", what, name)
	}
	return time.Since(begun), ended
}

// silent announces a body of which nothing comes.
func (s *stage) silent(ctx context.Context, name, address string) {
	head := "PUT /v1/sessions/silent HTTP/1.1\r\nHost: 127.0.0.1\r\n" + asJSON + "\r\nContent-Length: 1000\r\n\r\n"
	held, ended := s.hold(ctx, "silent body", name, address, []byte(head))
	if !ended && held > silentLimit {
		s.fault("a request of whose body nothing comes is held at the %s for over %v", name, silentLimit)
	}
}

// deaf asks for much and reads nothing.
func (s *stage) deaf(ctx context.Context, name, address string) {
	l, err := dial(attacker, address)
	if err != nil {
		s.saw("slow reader at the %s: not connected", name)
		return
	}
	defer l.Close()
	_ = l.SetWriteDeadline(time.Now().Add(time.Second))
	ask := request{method: "GET", path: "/v1/sessions/" + slowKey}.encode("127.0.0.1")
	_, _ = l.Write(bytes.Repeat(ask, 20)) // what is not taken is not taken
	<-ctx.Done()
	s.saw("slow reader at the %s", name)
}

// upload sends a body slowly and steadily, a part at a time, which must be
// answered at its end.
func (s *stage) upload(what, address, method, path string, takes, every time.Duration) {
	const part = 4000 // many of them are more than what is read ahead of a body
	parts := int(takes / every)
	fail := func(at int, err error) {
		s.fault("a slow and steady upload (%s) was ended after %v of %v: %v", what, time.Duration(at)*every, takes, err)
	}
	l, err := dial(uploader, address)
	if err != nil {
		fail(0, err)
		return
	}
	defer l.Close()
	body := `{"steady":"` + strings.Repeat("x", parts*part-13) + `"}`
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\nContent-Length: %d\r\n\r\n", method, path, asJSON, len(body))
	if _, err := l.Write([]byte(head)); err != nil {
		fail(0, plain("member", err))
		return
	}
	for i := range parts {
		if _, err := l.Write([]byte(body[i*part : (i+1)*part])); err != nil {
			fail(i, plain("member", err))
			return
		}
		// An answer before the end is an end as well.
		_ = l.SetReadDeadline(time.Now().Add(every))
		if _, err := l.in.Peek(1); !isTimeout(err) && i < parts-1 {
			if a, err2 := l.answer(); err2 == nil {
				err = fmt.Errorf("%d", a.status)
			} else {
				err = plain("member", err2)
			}
			fail(i, err)
			return
		}
	}
	_ = l.SetDeadline(time.Now().Add(5 * time.Second))
	a, err := l.answer()
	switch {
	case err != nil:
		fail(parts, plain("member", err))
	case a.status/100 != 2:
		fail(parts, fmt.Errorf("%d", a.status))
	case method == http.MethodPost:
		var r received
		if err := json.Unmarshal([]byte(a.body), &r); err != nil || r.Bytes != int64(len(body)) {
			fail(parts, fmt.Errorf("%d of %d bytes have arrived", r.Bytes, len(body)))
		}
	}
	if err == nil {
		s.saw("steady upload: %d", a.status)
	}
}

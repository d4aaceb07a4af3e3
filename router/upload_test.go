package router_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// pipes is a listener to whose other end tests dial without a network, so that
// time may be a bubble's.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// A body that moves has all the time that it needs. What is bounded is how long
// it stands still, and how long the answer takes once it is there.
func TestUploadsHaveAllTheTime(t *testing.T) {
	const pieces, size = 400, 1000
	for name, c := range map[string]struct {
		path     string
		server   func(*router.Router, net.Listener) error
		member   func(body io.Reader, answer func())
		pause    func(i int) time.Duration
		status   int
		slug     string
		from, to time.Duration // when the answer comes
	}{
		"steadily, to the application": {
			path: "/up", status: 200, pause: everySecond, member: readsAll, from: pieces * time.Second, to: (pieces + 1) * time.Second,
		},
		"steadily, to the session API": {
			path: "/v1/sessions/a", status: 200, pause: everySecond, member: readsAll, from: pieces * time.Second, to: (pieces + 1) * time.Second,
		},
		"steadily, through net/http": {
			path: "/up", status: 200, server: serveHTTP, pause: everySecond, member: readsAll, from: pieces * time.Second, to: (pieces + 1) * time.Second,
		},
		"with pauses": {
			path: "/v1/sessions/a", status: 200, pause: everyTenth(50 * time.Second), member: readsAll, from: 2000 * time.Second, to: 2001 * time.Second,
		},
		"with pauses, through net/http": {
			path: "/up", status: 200, server: serveHTTP, pause: everyTenth(50 * time.Second), member: readsAll, from: 2000 * time.Second, to: 2001 * time.Second,
		},
		"and the answer takes its time": {
			path: "/up", status: 200, pause: everySecond, member: answersAfter(100 * time.Second), from: (pieces + 100) * time.Second, to: (pieces + 101) * time.Second,
		},
		"and the answer never comes": {
			path: "/up", status: 502, slug: "member-silent", pause: everySecond, member: answersAfter(time.Hour),
			from: (pieces + 119) * time.Second, to: (pieces + 123) * time.Second,
		},
		"and it stands still": {
			path: "/up", status: 408, slug: "body-timeout", pause: everyTenth(10 * time.Minute), member: readsAll, from: 60 * time.Second, to: 64 * time.Second,
		},
		"and it stands still, through net/http": {
			path: "/up", status: 408, slug: "body-timeout", server: serveHTTP, pause: everyTenth(10 * time.Minute), member: readsAll, from: 30 * time.Second, to: 64 * time.Second,
		},
		"and the member dies": {
			path: "/up", status: 502, slug: "connection-broken", pause: everySecond, member: diesAfter(100 * size), from: 99 * time.Second, to: 104 * time.Second,
		},
		"and the member dies, through net/http": {
			path: "/up", status: 502, slug: "connection-broken", server: serveHTTP, pause: everySecond, member: diesAfter(100 * size), from: 99 * time.Second, to: 104 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var group sync.WaitGroup
				defer group.Wait()
				// For as long net/http keeps a connection that it has refused,
				// and nothing waits for it.
				defer time.Sleep(time.Second)
				owner := func(ctx context.Context, _, _ string) (net.Conn, error) {
					near, far := net.Pipe()
					group.Go(func() {
						defer far.Close()
						r, err := http.ReadRequest(bufio.NewReader(far))
						if err != nil {
							return
						}
						c.member(r.Body, func() { fmt.Fprint(far, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok") })
					})
					return near, nil
				}
				rt, err := router.New(router.Config{
					Lookup: fixed(router.Target{Name: "owner", HTTP: "owner"}, router.Target{}), Any: func() router.Target { return router.Target{} },
					Finder: &router.Finder{Secrets: [][]byte{secret}, Trust: func(netip.Addr) bool { return false }}, Dial: owner,
				})
				require.NoError(t, err)
				l := newPipes()
				serve := c.server
				if serve == nil {
					serve = (*router.Router).Serve
				}
				group.Go(func() { _ = serve(rt, l) })
				conn := l.dial()
				defer rt.Close()
				defer l.Close()
				defer conn.Close()

				begun := time.Now()
				stop := make(chan struct{})
				group.Go(func() {
					_, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", c.path, pieces*size)
					for i := 0; i < pieces && err == nil; i++ {
						select {
						case <-stop:
							return
						case <-time.After(c.pause(i)):
						}
						_, err = io.WriteString(conn, strings.Repeat("x", size))
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				took := time.Since(begun)
				close(stop)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, c.status, resp.StatusCode, "%s", body)
				if c.slug != "" {
					require.Contains(t, string(body), c.slug)
				}
				require.GreaterOrEqual(t, took, c.from)
				require.LessOrEqual(t, took, c.to)
			})
		})
	}
}

func everySecond(int) time.Duration { return time.Second }

func everyTenth(pause time.Duration) func(int) time.Duration {
	return func(i int) time.Duration {
		if i%10 == 9 {
			return pause
		}
		return 0
	}
}

func readsAll(body io.Reader, answer func()) {
	if _, err := io.Copy(io.Discard, body); err == nil {
		answer()
	}
}

func answersAfter(d time.Duration) func(io.Reader, func()) {
	return func(body io.Reader, answer func()) {
		if _, err := io.Copy(io.Discard, body); err == nil {
			time.Sleep(d)
			answer()
		}
	}
}

// diesAfter breaks its connection when it has read so many bytes.
func diesAfter(n int64) func(io.Reader, func()) {
	return func(body io.Reader, _ func()) { _, _ = io.CopyN(io.Discard, body, n) }
}

func serveHTTP(rt *router.Router, l net.Listener) error {
	server := &http.Server{Handler: rt}
	defer server.Close()
	return server.Serve(l)
}

package router_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("0123456789abcdef")

// seen is a request as a member saw it.
type seen struct {
	method, uri, host, body string
	header, trailer         http.Header
}

// member is an HTTP server that can be killed as a process is: its listener and
// all its connections end at once, with a reset.
type member struct {
	target router.Target
	server *http.Server
	ln     net.Listener
	done   chan struct{}

	mu    sync.Mutex // guards the rest
	conns map[net.Conn]http.ConnState
	seen  []seen
}

// start runs a member that records what it sees and then answers with h; nil
// says its name.
func start(t testing.TB, name string, h http.HandlerFunc) *member {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := &member{
		target: router.Target{Name: name, Boot: name + "-boot", HTTP: ln.Addr().String()},
		ln:     ln, done: make(chan struct{}), conns: make(map[net.Conn]http.ConnState),
	}
	if h == nil {
		h = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) }
	}
	m.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body bytes.Buffer
			r.Body = io.NopCloser(io.TeeReader(r.Body, &body))
			s := seen{method: r.Method, uri: r.RequestURI, host: r.Host, header: r.Header.Clone()}
			defer func() {
				_, _ = io.Copy(io.Discard, r.Body)
				s.body, s.trailer = body.String(), r.Trailer
				m.mu.Lock()
				defer m.mu.Unlock()
				m.seen = append(m.seen, s)
			}()
			h(w, r)
		}),
		ConnState: func(c net.Conn, s http.ConnState) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if s == http.StateClosed || s == http.StateHijacked {
				delete(m.conns, c)
				return
			}
			m.conns[c] = s
		},
	}
	go func() {
		defer close(m.done)
		_ = m.server.Serve(ln) // its error is only that it was closed
	}()
	t.Cleanup(m.stop)
	return m
}

func (m *member) stop() {
	_ = m.server.Close()
	<-m.done
}

// kill ends the member as SIGKILL does.
func (m *member) kill() {
	_ = m.ln.Close()
	m.reset(func(http.ConnState) bool { return true })
}

// reset breaks those connections whose state is chosen.
func (m *member) reset(choose func(http.ConnState) bool) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c, state := range m.conns {
		if choose(state) {
			reset(c)
			n++
		}
	}
	return n
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0) // close then sends RST
	_ = c.Close()
}

func (m *member) requests() []seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]seen(nil), m.seen...)
}

func (m *member) only(t testing.TB) seen {
	t.Helper()
	requests := m.requests()
	require.Len(t, requests, 1, m.target.Name)
	return requests[0]
}

// gone returns the target of a member at whose address nobody listens.
func gone(t testing.TB, name string) router.Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return router.Target{Name: name, Boot: name + "-boot", HTTP: ln.Addr().String()}
}

// front is a Router behind a real server.
type front struct {
	*router.Router
	url    string
	client *http.Client
	failed atomic.Pointer[[]router.Target] // what Failed was told
}

func fixed(owner, successor router.Target) func(string) router.Route {
	return func(string) router.Route { return router.Route{Owner: owner, Successor: successor} }
}

// open starts a Router with its own server. Missing parts of cfg are filled in.
func open(t testing.TB, cfg router.Config) *front {
	t.Helper()
	f := newFront(t, cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.url = "http://" + ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.Serve(ln) }()
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		f.Close()
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		require.NoError(t, f.Shutdown(ctx))
		require.ErrorIs(t, <-served, net.ErrClosed)
	})
	return f
}

// openHandler starts a Router behind net/http's server.
func openHandler(t testing.TB, cfg router.Config) *front {
	t.Helper()
	f := newFront(t, cfg)
	server := httptest.NewServer(f.Router)
	f.url = server.URL
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		server.Close()
		f.Close()
	})
	return f
}

// eachServer runs a test with the Router's own server and with net/http's,
// which must look the same from outside.
func eachServer(t *testing.T, test func(t *testing.T, open func(testing.TB, router.Config) *front)) {
	t.Run("own", func(t *testing.T) { test(t, open) })
	t.Run("net/http", func(t *testing.T) { test(t, openHandler) })
}

func newFront(t testing.TB, cfg router.Config) *front {
	t.Helper()
	f := &front{}
	f.failed.Store(&[]router.Target{})
	if cfg.Finder == nil {
		cfg.Finder = &router.Finder{}
	}
	if cfg.Finder.Secrets == nil {
		cfg.Finder.Secrets = [][]byte{secret}
	}
	if cfg.Any == nil {
		cfg.Any = func() router.Target { return cfg.Lookup("").Owner }
	}
	told := cfg.Failed
	cfg.Failed = func(target router.Target) {
		for {
			old := f.failed.Load()
			list := append(append([]router.Target(nil), *old...), target)
			if f.failed.CompareAndSwap(old, &list) {
				break
			}
		}
		if told != nil {
			told(target)
		}
	}
	rt, err := router.New(cfg)
	require.NoError(t, err)
	f.Router = rt
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return f
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

func (f *front) do(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = bytes.NewReader([]byte(body))
	}
	return f.send(t, method, path, reader, header...)
}

func (f *front) send(t testing.TB, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, f.url+path, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := f.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp, string(b)}
}

// requireProblem checks an error answer of the router's own.
func requireProblem(t testing.TB, a answer, status int, slug string) problem.Document {
	t.Helper()
	require.Equal(t, status, a.StatusCode, a.body)
	require.Equal(t, problem.ContentType, a.Header.Get("Content-Type"))
	var d problem.Document
	require.NoError(t, json.Unmarshal([]byte(a.body), &d))
	require.Equal(t, problem.Base+slug, d.Type, d.Detail)
	require.Equal(t, status, d.Status)
	return d
}

func trustNobody(netip.Addr) bool { return false }

// How long a test waits for what must come, and how often it looks. No test
// passes by the first.
const (
	waitLimit = 20 * time.Second
	tick      = time.Millisecond
)

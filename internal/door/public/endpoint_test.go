package public

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
)

// proven is a request as another member passes it on to f.
func (f *fake) proven(r *http.Request, from member.ID) *http.Request {
	keys, now := NewHops(HopsConfig{f.cfg.Self, f.cfg.Secrets, f.cfg.Owners.View, f.cfg.Now, f.cfg.Ahead}).From(from.String())
	keys[0].Prove(r, from.String(), now)
	return r
}

// A member that proves itself is believed in what it says of a request. An
// owner that it could not reach is waited for, and what must not be run says
// so.
func TestRequestsThatMembersPassOn(t *testing.T) {
	t.Parallel()
	f := newFake(t, "ada")
	f.cfg.InForce = func(_ int, epoch uint64) bool { return epoch == 4 }
	handler := f.endpoint(t).Handler(http.NotFoundHandler())
	send := func(mark string, proven bool) *httptest.ResponseRecorder {
		r := marked(mark, "1f/1")
		r.Header.Set(header.Failover, "bob/1")
		if proven {
			r = f.proven(r, membertest.ID("gate", 1))
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, http.StatusNotFound, send("1/4/99999999999999", true).Code)
	require.Equal(t, []member.ID{{Name: "bob", Boot: "1"}}, f.gone)
	require.Len(t, f.ran, 1)
	require.EqualValues(t, 0x1f, f.ran[0].ID)
	require.True(t, f.ran[0].Repeat)

	w := send("1/5/99999999999999", true)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, header.RetrySoon, w.Header().Get(header.Retry))
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	w = send("nonsense", true)
	require.Equal(t, header.RetryElsewhere, w.Header().Get(header.Retry))
	require.EqualValues(t, 2, f.cfg.Late.Load())
	require.Len(t, f.ran, 1, "neither was run")

	require.Equal(t, http.StatusNotFound, send("1/5/99999999999999", false).Code, "a stranger's word counts for nothing")
	require.Equal(t, attempt.Attempt{Fenced: true}, f.ran[1])
	require.Len(t, f.gone, 3)
	require.EqualValues(t, 3, f.cfg.Counters.Values()["failovers"])
}

// Who serves a key: by a claim in force, else by the ring.
func TestOwnersByClaimAndByRing(t *testing.T) {
	t.Parallel()
	view := viewOf(t, up("a"), up("b"), up("c"))
	p := ring.Partition("k")
	decision := ownership.Decision{Verdict: ownership.Wait}
	owners := Owners{View: func() *member.View { return view }, Decide: func(int) ownership.Decision { return decision }}
	byRing, next := view.Table.Owner(p), view.Table.FirstSuccessor(p)
	want := router.Route{Fingerprint: view.Table.Fingerprint(), Owner: Target(view.Named(byRing)), Successor: Target(view.Named(next))}
	require.Equal(t, want, owners.Route("k"))
	decision = ownership.Decision{Verdict: ownership.Forward, Owner: membertest.ID(next, 1)}
	want.Owner = want.Successor
	require.Equal(t, want, owners.Route("k"), "it has not given the partition up yet")
	decision.Owner = membertest.ID("gone", 1)
	require.Zero(t, owners.Route("k").Owner)
}

type fakeSidecar struct{ refused int }

func (s *fakeSidecar) Address() string          { return "http://app" }
func (s *fakeSidecar) Refused()                 { s.refused++ }
func (s *fakeSidecar) Headers() []router.Header { return nil }
func (s *fakeSidecar) Dial(context.Context) (net.Conn, error) {
	return nil, io.ErrUnexpectedEOF
}

// The sidecar is dialled in its own way, and what refuses a connection is told
// to whom it concerns.
func TestSidecarAndMembersAreDialledApart(t *testing.T) {
	t.Parallel()
	f := newFake(t, "ada")
	e := f.endpoint(t)
	_, err := e.dial(t.Context(), "tcp", "http://app")
	require.ErrorIs(t, err, net.ErrClosed, "without a sidecar")
	s := new(fakeSidecar)
	f.cfg.Sidecar = s
	e = f.endpoint(t)
	_, err = e.dial(t.Context(), "tcp", "http://app")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = e.dial(t.Context(), "tcp", "bob:80")
	require.ErrorIs(t, err, net.ErrClosed)
	e.failed(router.Target{App: true})
	require.Equal(t, 1, s.refused)
	require.Empty(t, f.suspected)
	e.failed(router.Target{Name: "bob", Boot: "1"})
	require.Equal(t, []member.ID{{Name: "bob", Boot: "1"}}, f.suspected)
	e.misled(router.Target{Name: "cyd", Boot: "2"})
	require.Equal(t, []member.ID{{Name: "cyd", Boot: "2"}}, f.misled)
}

// Requests without a key go to the ready nodes in turn.
func TestAnyNodeTakesTurns(t *testing.T) {
	t.Parallel()
	f := newFake(t, "ada")
	e := f.endpoint(t)
	require.Equal(t, "ada", e.anyNode().Name)
	f.view = viewOf(t, up("a"), up("b"))
	require.NotEqual(t, e.anyNode(), e.anyNode())
	down := up("a")
	down.Up = false
	f.view = viewOf(t, down)
	require.Zero(t, e.anyNode())
}

// An endpoint serves until it is shut down, and then lets requests end.
func TestEndpointLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	f := newFake(t, "ada")
	e := f.endpoint(t)
	begun, end := make(chan struct{}), make(chan struct{})
	serve := e.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-end
		_, _ = io.WriteString(w, "done")
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	answer := make(chan string, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		resp, err := client.Get("http://" + l.Addr().String() + "/")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-begun
	shut := make(chan struct{})
	go func() { e.Shutdown(context.Background()); close(shut) }()
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	close(end)
	<-shut
	require.Equal(t, "done", <-answer)
	e.Cut()
}

func TestTrusted(t *testing.T) {
	t.Parallel()
	trust := Trusted([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	require.True(t, trust(netip.MustParseAddr("10.1.2.3")))
	require.True(t, trust(netip.MustParseAddr("::ffff:10.1.2.3")))
	require.False(t, trust(netip.MustParseAddr("11.1.2.3")))
}

package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

func id(name string) member.ID      { return membertest.ID(name, 1) }
func up(name string) *member.Member { return membertest.Up(name, 1) }

func viewOf(t testing.TB, members ...*member.Member) *member.View {
	t.Helper()
	v, err := member.NewView(members[0].ID, members, ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 2}, nil)
	require.NoError(t, err)
	return v
}

// passed keeps what was passed on.
type passed struct{ last *router.Passage }

func (p *passed) Forward(w http.ResponseWriter, _ *http.Request, pass router.Passage) {
	p.last = &pass
	w.WriteHeader(http.StatusTeapot)
}

// ended are sessions of which some were logged out, and the others are none.
type ended map[string]bool

func (e ended) Get(_ context.Context, key string) (*session.Record, error) {
	if e[key] {
		return nil, session.ErrDeleted
	}
	return nil, session.ErrNotFound
}

func (e ended) Do(_ context.Context, op *session.Op, _ session.Ack) (session.Reply, error) {
	if e[op.Key] {
		return session.Reply{}, session.ErrDeleted
	}
	return session.Reply{}, nil
}

// fake is a node of which the test says whether it owns the user.
type fake struct {
	cfg       Config
	here      bool
	err       error
	overtaken error
	passed    passed
}

func newFake(t *testing.T) *fake {
	view := viewOf(t, up("ada"), up("bob"))
	f := new(fake)
	owners := public.Owners{View: func() *member.View { return view }, Decide: func(int) ownership.Decision { return ownership.Decision{} }}
	f.cfg = Config{
		Self: id("ada"), View: owners.View, Sessions: ended{},
		Await:     func(context.Context, string) (bool, error) { return f.here, f.err },
		Overtaken: func(attempt.Attempt) error { return f.overtaken },
		Finder: &router.Finder{
			UserHeader: "X-User-ID", Cookie: "holdfast", Secrets: [][]byte{[]byte("sixteen bytes, or more")},
			Trust: public.Trusted([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}),
		},
		Router: &f.passed, Routes: &Routes{Self: id("ada"), Owners: owners},
		Log: slog.New(slog.DiscardHandler), Counters: new(metric.Set), Late: new(metric.Counter),
	}
	// The Finder makes itself ready with the router that it belongs to.
	_, err := router.New(router.Config{
		Lookup: owners.Route, Any: func() router.Target { return router.Target{} }, Finder: f.cfg.Finder,
	})
	require.NoError(t, err)
	return f
}

func (f *fake) withSidecar(t *testing.T) *Sidecar {
	s, err := NewSidecar(SidecarConfig{Self: id("ada"), At: "http://127.0.0.1:3000", API: "http://ada:80"})
	require.NoError(t, err)
	f.cfg.Routes.Sidecar = s
	return s
}

// ask sends a request of a peer, with headers by name and value.
func ask(h http.Handler, method, path, peer string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = peer + ":50000"
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A user's request is answered at the owner, and passed on elsewhere.
func TestPinGivesRequestsToTheOwner(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	p := New(f.cfg)
	w := ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice")
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Equal(t, &router.Passage{User: "alice"}, f.passed.last)

	f.here, f.passed.last = true, nil
	w = ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice")
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Contains(t, w.Body.String(), "no-application")
	var user, made, node string
	p.Run(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, made, node = r.Header.Get(header.Key), r.Header.Get(header.New), r.Header.Get(header.Node)
		require.Equal(t, user, holdfast.FromContext(r.Context()).ID())
	}))
	w = ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice", header.New, "1", header.Key, "mallory")
	require.Equal(t, []string{"alice", "", "ada"}, []string{user, made, node}, "a stranger's words count for nothing")
	require.Equal(t, "ada", w.Header().Get(header.Node))
	require.Equal(t, f.cfg.View().Table.Fingerprint(), w.Header().Get(header.Ring))
	require.Empty(t, w.Header()["Set-Cookie"])
	require.Nil(t, f.passed.last)

	w = ask(p, "GET", "/", "203.0.113.7")
	require.Len(t, w.Result().Cookies(), 1)
	require.Equal(t, "1", made)
	require.Contains(t, w.Result().Cookies()[0].Value, user)

	f.err = errors.New("nobody serves it")
	w = ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, header.RetryElsewhere, w.Header().Get(header.Retry))
}

// What a member says of the user of a request counts, and no other finding.
func TestPinBelievesMembers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	p, hop := New(f.cfg), &router.Hop{From: id("bob").String()}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set(header.Key, "alice")
	r.Header.Set(header.New, "1")
	r.Header.Set("X-User-ID", "mallory")
	p.ServeHTTP(httptest.NewRecorder(), public.Arrival{Hop: hop}.With(r))
	require.Equal(t, &router.Passage{Hop: hop, User: "alice", Made: true}, f.passed.last)
}

// A write that another node may have been sent since is not passed on. A read
// undoes nothing.
func TestPinPassesNoOvertakenWriteOn(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.overtaken = errors.New("out of touch")
	p := New(f.cfg)
	w := ask(p, "POST", "/buy", "127.0.0.1", "X-User-ID", "alice")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Nil(t, f.passed.last)
	require.EqualValues(t, 1, f.cfg.Late.Load())
	require.Equal(t, http.StatusTeapot, ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice").Code)
	f.overtaken = nil
	require.Equal(t, http.StatusTeapot, ask(p, "POST", "/buy", "127.0.0.1", "X-User-ID", "alice").Code)
}

// The sidecar gets its users' requests, and those of an owner whose own is down
// if a member says so. A user whose id was ended gets another one first.
func TestPinGivesRequestsToTheSidecar(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.withSidecar(t)
	f.here = true
	p := New(f.cfg)
	_ = ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice")
	require.Equal(t, &router.Passage{User: "alice"}, f.passed.last)

	f.cfg.Sessions.(ended)["worn"] = true
	worn := f.cfg.Finder.CookieFor("worn")
	_ = ask(p, "GET", "/", "203.0.113.7", "Cookie", worn.Name+"="+worn.Value)
	require.NotEqual(t, "worn", f.passed.last.User)
	require.Equal(t, ring.Partition("worn"), ring.Partition(f.passed.last.User))
	require.Equal(t, f.cfg.Finder.CookieFor(f.passed.last.User), f.passed.last.SetCookie)
	_ = ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "worn")
	require.Equal(t, "worn", f.passed.last.User, "a proxy says who the user is")

	f.here = false
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set(header.Key, "alice")
	r.Header.Set(header.StandIn, "bob/1")
	p.ServeHTTP(httptest.NewRecorder(), public.Arrival{Hop: &router.Hop{From: id("bob").String()}}.With(r))
	require.Equal(t, router.Target{Name: "ada", Boot: id("ada").Boot, HTTP: "http://127.0.0.1:3000", App: true}, f.passed.last.Lookup("alice").Owner)
	_ = ask(p, "GET", "/", "127.0.0.1", "X-User-ID", "alice", header.StandIn, "bob/1")
	require.Nil(t, f.passed.last.Lookup, "a stranger cannot choose who serves whom")
}

// At addresses of the program's own nobody is a member, and the session API is
// not served.
func TestHandlerOfAProgram(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.here = true
	p := New(f.cfg)
	var seen http.Header
	p.Run(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }))
	h := p.Handler()
	require.Equal(t, http.StatusNotFound, ask(h, "GET", "/v1/sessions/alice", "127.0.0.1").Code)
	require.Nil(t, seen)
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("X-User-ID", "alice")
	r.Header.Set(header.Hop, "made-up")
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, "alice", seen.Get(header.Key))
	require.Empty(t, seen.Get(header.Hop))
	require.Equal(t, "made-up", r.Header.Get(header.Hop), "the caller's request is left alone")
}

func TestCountersOfHandlers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	p := New(f.cfg)
	p.bindings.Unsaved.Add(1)
	p.bindings.Ended.Add(2)
	p.bindings.Unslid.Add(3)
	require.Equal(t, map[string]int64{"requests_unsaved": 1, "requests_ended": 2, "requests_unslid": 3}, f.cfg.Counters.Values())
}

// While the sidecar of an owner is down, its users go to the next node on the
// ring whose is not, and all members name the same one.
func TestRoutesLeadAroundSidecarsThatAreDown(t *testing.T) {
	t.Parallel()
	members := []*member.Member{up("ada"), up("bob"), up("cyd")}
	view := viewOf(t, members...)
	p := ring.Partition("alice")
	owner, successor := view.Table.Owner(p), view.Table.FirstSuccessor(p)
	routes := func(self string, down ...string) *Routes {
		var list []*member.Member
		for _, m := range members {
			c := *m
			for _, name := range down {
				c.AppDown = c.AppDown || c.Name == name
			}
			list = append(list, &c)
		}
		view := viewOf(t, list...)
		return &Routes{Self: id(self), Owners: public.Owners{
			View: func() *member.View { return view }, Decide: func(int) ownership.Decision { return ownership.Decision{} },
		}}
	}
	route := routes("gate").For("alice")
	require.Equal(t, []string{owner, successor, ""}, []string{route.Owner.Name, route.Successor.Name, route.Absent})
	route = routes("gate", owner).For("alice")
	require.Equal(t, []string{successor, owner + "/" + id(owner).Boot}, []string{route.Owner.Name, route.Absent})
	require.NotEmpty(t, route.Successor.Name)
	require.NotEqual(t, owner, route.Successor.Name)
	route = routes("gate", successor).For("alice")
	require.Equal(t, owner, route.Owner.Name)
	require.Empty(t, route.Absent)
	require.NotContains(t, []string{owner, successor, ""}, route.Successor.Name)
	route = routes("gate", "ada", "bob", "cyd").For("alice")
	require.Equal(t, []string{owner, successor}, []string{route.Owner.Name, route.Successor.Name}, "nobody is better off")

	own := routes(owner)
	s, err := NewSidecar(SidecarConfig{Self: id(owner), At: "http://127.0.0.1:3000"})
	require.NoError(t, err)
	own.Sidecar = s
	require.Equal(t, router.Target{Name: owner, Boot: id(owner).Boot, HTTP: "http://127.0.0.1:3000", App: true}, own.For("alice").Owner)
	s.Refused()
	require.Equal(t, successor, own.For("alice").Owner.Name, "before gossip has told anybody")
}

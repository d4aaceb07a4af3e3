package router_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

func TestPinning(t *testing.T) {
	members := []*member{start(t, "a", nil), start(t, "b", nil), start(t, "c", nil)}
	asked := make(chan string, 64)
	f := open(t, router.Config{Lookup: func(key string) router.Route {
		asked <- key
		return router.Route{Owner: members[len(key)%3].target}
	}})

	for _, c := range []struct{ path, key string }{
		{"/v1/sessions/alice", "alice"},
		{"/v1/sessions/%7Bcarol%7D:a", "{carol}:a"},
		{"/v1/sessions/a%2Fb/touch", "a/b"},
		{"/v1/users/bob/sessions", "{bob}"},
		{"/cart", "dave"},
		{"/v1x/sessions/alice", "dave"},
	} {
		got := f.do(t, "GET", c.path, "", "X-User-ID", "dave")
		require.Equal(t, http.StatusOK, got.StatusCode)
		require.Equal(t, c.key, <-asked, c.path)
		owner := members[len(c.key)%3]
		require.Equal(t, owner.target.Name, got.body, c.path)
		requests := owner.requests()
		last := requests[len(requests)-1]
		require.Equal(t, c.path, last.uri, "the path must arrive as it was sent")
		if strings.HasPrefix(c.path, router.API) {
			require.Empty(t, last.header.Get("Holdfast-Key"))
		} else {
			require.Equal(t, c.key, last.header.Get("Holdfast-Key"))
		}
	}
}

func TestCookiePinsABrowser(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60")
			http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark"})
		})
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Finder: &router.Finder{Trust: trustNobody}})

		first := f.do(t, "GET", "/", "")
		var cookie *http.Cookie
		for _, c := range first.Cookies() {
			if c.Name == "holdfast" {
				cookie = c
			}
		}
		require.NotNil(t, cookie)
		require.Len(t, first.Cookies(), 2, "the application's own cookie stays")
		require.True(t, cookie.HttpOnly)
		require.Contains(t, first.Header["Cache-Control"], "private", "no shared cache may keep one user's cookie")
		key := m.requests()[0].header.Get("Holdfast-Key")
		require.True(t, strings.HasPrefix(cookie.Value, key+"."))
		require.Equal(t, "holdfast="+cookie.Value, m.requests()[0].header.Get("Cookie"), "a second hop must find the same user")

		require.Equal(t, []string{"1"}, m.requests()[0].header["Holdfast-New"])

		second := f.do(t, "GET", "/", "", "Cookie", "holdfast="+cookie.Value, "Holdfast-New", "1")
		require.Len(t, second.Cookies(), 1, "a good cookie is not set again")
		require.Equal(t, key, m.requests()[1].header.Get("Holdfast-Key"))
		require.Empty(t, m.requests()[1].header["Holdfast-New"], "whatever the client says")

		f.do(t, "GET", "/", "", "Cookie", "a=b; holdfast=forged.AAAAAAAAAAAAAAAAAAAAAA")
		third := m.requests()[2]
		require.NotEqual(t, "forged", third.header.Get("Holdfast-Key"))
		require.NotEqual(t, key, third.header.Get("Holdfast-Key"))
		require.Regexp(t, `^holdfast=[^;.]{24}\.[^;]{22}; a=b$`, third.header.Get("Cookie"))
	})
}

func TestNoCookieForTheSessionAPI(t *testing.T) {
	m := start(t, "a", nil)
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
	for _, path := range []string{"/v1/sessions", "/v1/sessions/alice", "/v1/sessions/", "/v1/nothing"} {
		require.Empty(t, f.do(t, "POST", path, "{}").Cookies(), path)
	}
}

func TestKeylessRequestsGoRound(t *testing.T) {
	members := []*member{start(t, "a", nil), start(t, "b", nil)}
	n := 0
	f := open(t, router.Config{
		Lookup: func(string) router.Route { panic("there is no key to look up") },
		Any:    func() router.Target { n++; return members[n%2].target },
	})
	for range 4 {
		f.do(t, "POST", "/v1/sessions", `{"a":1}`)
	}
	require.Len(t, members[0].requests(), 2)
	require.Len(t, members[1].requests(), 2)
}

func TestHeaders(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		name := fmt.Sprintf("trusted=%v/", trusted)
		test := func(t *testing.T, open func(testing.TB, router.Config) *front) {
			m := start(t, "a", nil)
			finder := &router.Finder{}
			if !trusted {
				finder.Trust = trustNobody
			}
			f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Finder: finder})
			f.do(t, "GET", "/page?a=1;b&c=%zz", "",
				"Holdfast-Key", "admin", "Holdfast-Failover", "x/y", "Holdfast-Anything", "1", "Holdfast-Ack", "all", "Holdfast-Retry", "1",
				"X-User-ID", "alice",
				"Connection", "X-Private, Holdfast-Hop", "X-Private", "1", "Keep-Alive", "9", "Proxy-Authorization", "p", "Te", "trailers, gzip",
				"Upgrade", "h2c", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop.example", "Forwarded", "for=1.2.3.4",
				"X-Kept", "yes")
			got := m.only(t)
			h := got.header
			require.Equal(t, "/page?a=1;b&c=%zz", got.uri, "the query is passed on as it came")
			require.Equal(t, strings.TrimPrefix(f.url, "http://"), got.host, "the application sees the host that the client asked for")
			for _, name := range []string{"Holdfast-Failover", "Holdfast-Anything", "Holdfast-Retry", "Connection", "X-Private", "Keep-Alive",
				"Proxy-Authorization", "Upgrade", "Forwarded", "Accept-Encoding-Added"} {
				require.NotContains(t, h, name)
			}
			require.Equal(t, []string{"all"}, h["Holdfast-Ack"])
			require.Equal(t, []string{"1"}, h["Holdfast-Hop"])
			require.Equal(t, []string{"trailers"}, h["Te"])
			require.Equal(t, []string{"yes"}, h["X-Kept"])
			if trusted {
				require.Equal(t, []string{"alice"}, h["Holdfast-Key"])
				require.Equal(t, []string{"alice"}, h["X-User-Id"])
				require.Equal(t, []string{"1.2.3.4, 127.0.0.1"}, h["X-Forwarded-For"])
				require.Equal(t, []string{"https"}, h["X-Forwarded-Proto"])
				require.Equal(t, []string{"shop.example"}, h["X-Forwarded-Host"])
			} else {
				require.NotContains(t, []string{"alice", "admin", ""}, h.Get("Holdfast-Key"))
				require.NotContains(t, h, "X-User-Id")
				require.Equal(t, []string{"127.0.0.1"}, h["X-Forwarded-For"])
				require.Equal(t, []string{"http"}, h["X-Forwarded-Proto"])
				require.Equal(t, []string{got.host}, h["X-Forwarded-Host"])
			}
		}
		t.Run(name+"own", func(t *testing.T) { test(t, open) })
		t.Run(name+"net-http", func(t *testing.T) { test(t, openHandler) })
	}
}

func TestAnswerHeaders(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Connection", "X-Private")
			h.Set("X-Private", "1")
			h.Set("Holdfast-Retry", "1")
			h.Set("Holdfast-Node", "a")
			w.WriteHeader(http.StatusTeapot)
		})
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
		got := f.do(t, "GET", "/v1/sessions/alice", "")
		require.Equal(t, http.StatusTeapot, got.StatusCode)
		require.NotContains(t, got.Header, "X-Private")
		require.NotContains(t, got.Header, "Holdfast-Retry")
		require.Equal(t, "a", got.Header.Get("Holdfast-Node"))
	})
}

func TestHopLimit(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		m := start(t, "a", nil)
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
		require.Equal(t, 200, f.do(t, "GET", "/v1/sessions/a", "", "Holdfast-Hop", "1").StatusCode)
		require.Equal(t, "2", m.only(t).header.Get("Holdfast-Hop"))
		for _, hops := range []string{"2", "3", "-1", "01", "x"} {
			requireProblem(t, f.do(t, "GET", "/v1/sessions/a", "", "Holdfast-Hop", hops), http.StatusLoopDetected, "hop-limit")
		}
		require.Len(t, m.requests(), 1)
	})
}

// A router that is its own target must not go round for ever.
func TestLoopEnds(t *testing.T) {
	var self router.Target
	f := open(t, router.Config{Lookup: func(string) router.Route { return router.Route{Owner: self} }, AgreeTimeout: time.Nanosecond})
	self = router.Target{Name: "self", HTTP: strings.TrimPrefix(f.url, "http://")}
	requireProblem(t, f.do(t, "GET", "/v1/sessions/a", ""), http.StatusLoopDetected, "hop-limit")
	require.EqualValues(t, 5, f.Stats().Requests, "it waits once, and sends the request round again")
}

// Visitors of an application have no business with its sessions.
func TestNoAPI(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		m := start(t, "a", nil)
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Any: func() router.Target { return m.target }, NoAPI: true})
		for _, path := range []string{"/v1/sessions/alice", "/v1/sessions", "/v1/users/alice/sessions", "/v1", "/v1/sessions/%61lice",
			"/%76%31/sessions/alice", "//v1/sessions/alice", "/a/../v1/sessions/alice", "/a/%2e%2e/v1/sessions/alice", "/v1%2fsessions/alice"} {
			requireProblem(t, f.do(t, "GET", path, ""), http.StatusNotFound, "no-session-api")
			requireProblem(t, f.do(t, "POST", path, "{}"), http.StatusNotFound, "no-session-api")
		}
		require.Empty(t, m.requests())
		require.Equal(t, http.StatusOK, f.do(t, "GET", "/v10/sessions", "").StatusCode, "is the application's")
		require.Len(t, m.requests(), 1)
	})
}

// While a claimant takes a user over that the former owner has promised to it,
// each takes the other for the owner. The member that has the request from the
// client waits until they agree; members in between answer that they do not.
func TestMembersThatDoNotAgreeYet(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		var asked atomic.Int32
		m := start(t, "a", func(w http.ResponseWriter, _ *http.Request) {
			if n := asked.Add(1); n < 3 {
				w.Header().Set("Holdfast-Retry", "later")
				if n == 2 { // it has taken the user over, by a newer claim than the router knows
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				w.WriteHeader(http.StatusLoopDetected)
			}
		})
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
		got := f.do(t, "POST", "/buy", "one")
		require.Equal(t, http.StatusOK, got.StatusCode)
		require.EqualValues(t, 3, asked.Load())
		for _, r := range m.requests() {
			require.Equal(t, "one", r.body)
		}

		asked.Store(0)
		between := f.do(t, "POST", "/buy", "one", "Holdfast-Hop", "1")
		require.Equal(t, http.StatusLoopDetected, between.StatusCode)
		require.Equal(t, "later", between.Header.Get("Holdfast-Retry"))

		asked.Store(-1000)
		impatient := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), AgreeTimeout: time.Nanosecond})
		got = impatient.do(t, "GET", "/", "")
		require.Equal(t, http.StatusLoopDetected, got.StatusCode)
		require.NotContains(t, got.Header, "Holdfast-Retry")
	})
}

func TestRefusedRequests(t *testing.T) {
	m := start(t, "a", nil)
	rt, err := router.New(router.Config{
		Lookup: fixed(m.target, router.Target{}), Any: func() router.Target { return m.target }, Finder: &router.Finder{Secrets: [][]byte{secret}},
	})
	require.NoError(t, err)
	defer rt.Close()
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
		slug   string
	}{
		"no path":       {func(r *http.Request) { r.URL = &url.URL{Opaque: "//evil.example/x"} }, 400, "malformed-path"},
		"tunnel":        {func(r *http.Request) { r.Method = http.MethodConnect }, 501, "method-not-supported"},
		"cut body":      {func(r *http.Request) { r.Body = io.NopCloser(&cut{}); r.ContentLength = 9 }, 400, "broken-body"},
		"body too long": {func(r *http.Request) { r.Body = http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("123")), 2) }, 413, "body-too-large"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("PUT", "/v1/sessions/a", strings.NewReader("123"))
			c.change(r)
			w := httptest.NewRecorder()
			rt.ServeHTTP(w, r)
			requireProblem(t, answer{w.Result(), w.Body.String()}, c.status, c.slug)
		})
	}
	require.Empty(t, m.requests())
}

type cut struct{}

func (*cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What net/http refuses itself never reaches the handler; it is checked here so
// that a change of that is seen.
func TestMalformedEscapeIsRefused(t *testing.T) {
	m := start(t, "a", nil)
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /v1/sessions/%zz HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Empty(t, m.requests())
}

func TestNoMember(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		f := open(t, router.Config{Lookup: fixed(router.Target{}, router.Target{})})
		for _, path := range []string{"/v1/sessions/a", "/v1/sessions", "/cart"} {
			got := f.do(t, "GET", path, "")
			requireProblem(t, got, http.StatusServiceUnavailable, "no-member")
			require.Equal(t, "1", got.Header.Get("Retry-After"))
		}
		require.EqualValues(t, 3, f.Stats().Errors)
	})
}

func TestConfigErrors(t *testing.T) {
	lookup, any := fixed(router.Target{}, router.Target{}), func() router.Target { return router.Target{} }
	good := func() *router.Finder { return &router.Finder{Secrets: [][]byte{secret}} }
	for want, cfg := range map[string]router.Config{
		"Lookup is nil":     {Any: any, Finder: good()},
		"Any is nil":        {Lookup: lookup, Finder: good()},
		"Finder is nil":     {Lookup: lookup, Any: any},
		"none given":        {Lookup: lookup, Any: any, Finder: &router.Finder{}},
		"3 bytes; 16":       {Lookup: lookup, Any: any, Finder: &router.Finder{Secrets: [][]byte{secret, []byte("abc")}}},
		"finder cookie \"a": {Lookup: lookup, Any: any, Finder: &router.Finder{Secrets: [][]byte{secret}, Cookie: "a b"}},
		"negative":          {Lookup: lookup, Any: any, Finder: good(), DialTimeout: -time.Second},
	} {
		_, err := router.New(cfg)
		require.ErrorContains(t, err, want)
	}
}

// A body as large as can be held, and one byte more, both arrive whole.
func TestBodySizes(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		m := start(t, "a", nil)
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), RetryBody: 1000})
		for _, size := range []int{1, 511, 512, 513, 999, 1000, 1001, 100_000} {
			body := bytes.Repeat([]byte("x"), size)
			f.send(t, "PUT", "/v1/sessions/a", bytes.NewReader(body))
			// Of unknown length: chunked.
			f.send(t, "PUT", "/v1/sessions/a", struct{ io.Reader }{bytes.NewReader(body)})
			f.send(t, "PUT", "/app", struct{ io.Reader }{bytes.NewReader(body)})
			requests := m.requests()
			for _, s := range requests[len(requests)-3:] {
				require.Equal(t, string(body), s.body)
			}
		}
	})
}

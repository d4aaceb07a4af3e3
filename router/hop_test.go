package router_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/alloctest"
	"github.com/seed-95a32959/holdfast/router"
)

// hops are the keys of a member in a cluster that shares a secret, at a time of
// its own.
type hops struct {
	self   string
	secret []byte
	now    func() time.Time
	keys   map[string]*router.HopKey // made before; nil for none
}

func hopsOf(self string) hops { return hops{self: self, secret: secret, now: time.Now} }

func (h hops) To(t router.Target) (string, []*router.HopKey, time.Time) {
	if key := h.keys[t.Name]; key != nil {
		return h.self, []*router.HopKey{key}, h.now()
	}
	new := router.NewHopKey([]byte("one that is not known everywhere"), h.self, t.Name)
	return h.self, []*router.HopKey{new, router.NewHopKey(h.secret, h.self, t.Name)}, h.now()
}

func (h hops) From(member string) ([]*router.HopKey, time.Time) {
	old := router.NewHopKey([]byte("one that is on its way out"), member, h.self)
	return []*router.HopKey{old, router.NewHopKey(h.secret, member, h.self)}, h.now()
}

// proven sends a request as a member does that passes it on to the one called
// "me".
func (f *front) proven(t testing.TB, change func(*http.Request), method, path, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	router.NewHopKey(secret, "r", "me").Prove(r, "r", time.Now(), "x-real-ip", "remote-user")
	change(r)
	resp, err := f.client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp, string(b)}
}

func asItIs(*http.Request) {}

// What one member passes on the next one believes, from an address that nobody
// trusts, and nothing else.
func TestMembersBelieveEachOther(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", nil)
		fence := func(string, router.Target) string { return "fence" }
		second := open(t, router.Config{
			Lookup: fixed(owner.target, router.Target{}), Fence: fence, Hops: hopsOf("second"),
			Finder: &router.Finder{Trust: trustNobody},
		})
		target := router.Target{Name: "second", Boot: "1", HTTP: strings.TrimPrefix(second.url, "http://")}
		first := open(t, router.Config{
			Lookup: fixed(target, router.Target{}), Fence: fence, Hops: hopsOf("first"),
			Finder: &router.Finder{Proxy: []string{"Remote-User"}}, // and loopback is a proxy
		})
		for _, path := range []string{"/page?a=1%20b", "/v1/sessions/%7Ba%7D:b/touch?x=%zz", "/v1/sessions"} {
			got := first.do(t, "PUT", path, "body", "X-User-ID", "alice", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-For", "5.6.7.8", "X-Forwarded-Proto", "https",
				"X-Real-IP", "1.2.3.4", "x-real-ip", "again", "Remote_user", "alice", "True-Client-IP", "1.2.3.4", "Cookie", "a=b")
			require.Equal(t, "owner", got.body)
			seen := owner.requests()
			h := seen[len(seen)-1].header
			require.Equal(t, []string{"2"}, h["Holdfast-Hop"])
			require.Equal(t, []string{"1.2.3.4, 5.6.7.8, 127.0.0.1, 127.0.0.1"}, h["X-Forwarded-For"])
			require.Equal(t, []string{"https"}, h["X-Forwarded-Proto"])
			require.Equal(t, []string{strings.TrimPrefix(first.url, "http://")}, h["X-Forwarded-Host"])
			require.Equal(t, []string{"1.2.3.4", "again"}, h["X-Real-Ip"])
			require.Equal(t, []string{"alice"}, h["Remote_user"])
			require.Equal(t, []string{"alice"}, h["X-User-Id"])
			require.NotContains(t, h, "True-Client-Ip")
			require.Len(t, h["Holdfast-Proof"], 1)
			require.True(t, strings.HasPrefix(h.Get("Holdfast-Proof"), "second/"), "each hop has its own")
			if path[1] == 'p' {
				require.Equal(t, []string{"alice"}, h["Holdfast-Key"])
			}
		}
		require.Zero(t, second.Stats().Unproven)
	})
}

// A sender that cannot prove to be a member is a stranger: without a proof,
// with another member's, with a proof for another receiver, or with one that
// covers something else.
func TestProofsThatAreNone(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", nil)
		f := open(t, router.Config{
			Lookup: fixed(owner.target, router.Target{}), Hops: hopsOf("me"), Finder: &router.Finder{Trust: trustNobody},
			Fence: func(string, router.Target) string { return "fence" },
		})
		ask := func(change func(*http.Request)) http.Header {
			got := f.proven(t, change, "GET", "/page?x=1", "", "Holdfast-Attempt", "1f/2", "Holdfast-Key", "alice", "Holdfast-Hop", "1",
				"X-Forwarded-For", "1.2.3.4", "Remote-User", "alice", "X-Real-Ip", "1.2.3.4")
			require.Equal(t, "owner", got.body)
			seen := owner.requests()
			return seen[len(seen)-1].header
		}
		h := ask(asItIs)
		require.Equal(t, "1f/2", h.Get("Holdfast-Attempt"))
		require.Equal(t, "1.2.3.4, 127.0.0.1", h.Get("X-Forwarded-For"))
		require.Equal(t, "alice", h.Get("Remote-User"))
		require.Zero(t, f.Stats().Unproven)

		prove := func(key *router.HopKey, self string, at time.Time) func(*http.Request) {
			return func(r *http.Request) { key.Prove(r, self, at, "x-real-ip", "remote-user") }
		}
		set := func(name, value string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set(name, value) }
		}
		edit := func(change func(proof string) string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set("Holdfast-Proof", change(r.Header.Get("Holdfast-Proof"))) }
		}
		now := time.Now()
		claims := 0
		for name, change := range map[string]func(*http.Request){
			"none":                 func(r *http.Request) { r.Header.Del("Holdfast-Proof") },
			"two":                  func(r *http.Request) { r.Header.Add("Holdfast-Proof", r.Header.Get("Holdfast-Proof")) },
			"empty":                set("Holdfast-Proof", ""),
			"huge":                 edit(func(p string) string { return p + strings.Repeat(",x", 1024) }),
			"of another cluster":   prove(router.NewHopKey([]byte("another secret of it"), "r", "me"), "r", now),
			"for another member":   prove(router.NewHopKey(secret, "r", "you"), "r", now),
			"of another member":    prove(router.NewHopKey(secret, "r", "me"), "s", now),
			"sent back":            prove(router.NewHopKey(secret, "me", "r"), "me", now),
			"another method":       func(r *http.Request) { r.Method = "DELETE" },
			"another path":         func(r *http.Request) { r.URL.Path = "/other" },
			"another query":        func(r *http.Request) { r.URL.RawQuery = "x=2" },
			"another user":         set("Holdfast-Key", "admin"),
			"a second user":        func(r *http.Request) { r.Header.Add("Holdfast-Key", "admin") },
			"another hop":          set("Holdfast-Hop", "0"),
			"another attempt":      set("Holdfast-Attempt", "1f/0"),
			"a failover":           set("Holdfast-Failover", "a/1"),
			"a stand-in":           set("Holdfast-Stand-In", "a/1"),
			"a fence":              set("Holdfast-Fence", "1/2/3"),
			"another client":       set("X-Forwarded-For", "6.6.6.6"),
			"another protocol":     set("X-Forwarded-Proto", "https"),
			"another host":         set("X-Forwarded-Host", "evil.example"),
			"a covered field":      set("Remote-User", "admin"),
			"no covered field":     func(r *http.Request) { r.Header.Del("X-Real-Ip") },
			"a field less covered": edit(func(p string) string { return strings.TrimSuffix(p, ",remote-user") }),
			"a field more covered": edit(func(p string) string { return p + ",true-client-ip" }),
			"another time":         edit(func(p string) string { return strings.Replace(p, "r/1", "r/2", 1) }),
			"no time":              edit(func(p string) string { return "r/x" + p[strings.LastIndexByte(p[:20], '/'):] }),
			"another signature":    edit(func(p string) string { return strings.Replace(p, "/", "/0", 1) }),
			"too many signatures": edit(func(p string) string {
				return strings.Replace(p, "/x-real", strings.Repeat("."+strings.Split(p, "/")[2], 4)+"/x-real", 1)
			}),
			"no signature":           edit(func(p string) string { return strings.Join(strings.Split(p, "/")[:2], "/") }),
			"a signature of nothing": edit(func(string) string { return "r/0/" + base64.RawURLEncoding.EncodeToString(make([]byte, 16)) }),
		} {
			h := ask(change)
			if name != "none" {
				claims++
			}
			require.NotContains(t, []string{"alice", "admin", ""}, h.Get("Holdfast-Key"), name)
			require.NotEqual(t, "1f", strings.Split(h.Get("Holdfast-Attempt"), "/")[0], name)
			require.Equal(t, "127.0.0.1", h.Get("X-Forwarded-For"), name)
			require.Equal(t, "http", h.Get("X-Forwarded-Proto"), name)
			for _, field := range []string{"Remote-User", "X-Real-Ip", "Holdfast-Failover", "Holdfast-Stand-In"} {
				require.NotContains(t, h, field, name)
			}
			require.EqualValues(t, claims, f.Stats().Unproven, name)
		}

		// What the proof does not cover the member has not said.
		h = ask(func(r *http.Request) {
			r.Header.Set("X-Forwarded-User", "admin")
			r.Header.Set("X-User-Id", "admin")
		})
		require.Equal(t, "1f/2", h.Get("Holdfast-Attempt"))
		require.NotContains(t, h, "X-Forwarded-User")
		require.NotContains(t, h, "X-User-Id")
	})
}

// A member's own address may be a trusted proxy's too, as on loopback. What it
// has not proven it has not said, and a proxy is no member.
func TestMembersAndProxiesAreNotMixedUp(t *testing.T) {
	owner := start(t, "owner", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{}), Hops: hopsOf("me")})
	f.proven(t, func(r *http.Request) { r.Header.Set("X-User-ID", "admin") }, "GET", "/", "", "Holdfast-Key", "alice")
	require.NotContains(t, owner.only(t).header, "X-User-Id", "a member that did not vouch for it")

	f.do(t, "GET", "/", "", "X-User-ID", "alice", "Holdfast-Attempt", "1f/2", "Holdfast-Hop", "2", "Holdfast-Key", "admin")
	h := owner.requests()[1].header
	require.Equal(t, "alice", h.Get("Holdfast-Key"), "a proxy names its user")
	require.Equal(t, "1", h.Get("Holdfast-Hop"), "and is no member")
}

// A proof that was seen on its way is soon worth nothing. A request with one
// may have waited in a socket: it is not carried out.
func TestLateHops(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", nil)
		keys := hopsOf("me")
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{}), Hops: keys})
		at := func(off time.Duration) answer {
			return f.proven(t, func(r *http.Request) {
				router.NewHopKey(secret, "r", "me").Prove(r, "r", time.Now().Add(off))
			}, "GET", "/v1/sessions/a", "")
		}
		for _, off := range []time.Duration{-time.Minute, time.Minute} {
			got := at(off)
			requireProblem(t, got, http.StatusServiceUnavailable, "late-hop")
			require.Equal(t, "1", got.Header.Get("Holdfast-Retry"), "nothing was done")
		}
		require.Empty(t, owner.requests())
		require.Equal(t, "owner", at(0).body)
	})
}

// A loop between members that cannot prove anything to each other, as when
// their secrets differ, ends too.
func TestLoopOfStrangersEnds(t *testing.T) {
	var self router.Target
	keys := hopsOf("self")
	keys.keys = map[string]*router.HopKey{"self": router.NewHopKey([]byte("which self does not know"), "self", "self")}
	f := open(t, router.Config{
		Lookup: func(string) router.Route { return router.Route{Owner: self} }, AgreeTimeout: time.Nanosecond,
		Hops: keys, Finder: &router.Finder{Trust: trustNobody},
	})
	self = router.Target{Name: "self", HTTP: strings.TrimPrefix(f.url, "http://")}
	requireProblem(t, f.do(t, "GET", "/v1/sessions/a", ""), http.StatusLoopDetected, "hop-limit")
	require.NotZero(t, f.Stats().Unproven)
}

// Who the client is and where it is from proxies say in many ways. A visitor
// can write all of them.
func TestWhatProxiesSay(t *testing.T) {
	always := []string{"X-Real-IP", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Ssl"}
	never := []string{
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
		"X-Forwarded-Client-Cert", "Remote-User", "REMOTE_USER", "X-Remote-User", "X-Auth-Request-User", "X_Auth_Request_Email", "X-Authenticated-User",
		"X-WebAuth-User", "X-Goog-Authenticated-User-Email", "X-Amzn-Oidc-Identity", "X-MS-CLIENT-PRINCIPAL-NAME", "Cf-Access-Authenticated-User-Email",
		"Tailscale-User-Login", "Client-Cert", "SSL-Client-S-DN", "X-SSL-Client-CN", "True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP",
		"X-Client-IP", "X-Cluster-Client-IP", "X-Original-Forwarded-For", "Forwarded", "Impersonate-User", "X-User",
	}
	kept := []string{"X-Requested-With", "Accept", "Authorization", "X-Api-Key", "Remote", "X-Csrf-Token", "Referer", "X-Request-Id", "Traceparent"}
	send := func(t *testing.T, open func(testing.TB, router.Config) *front, finder *router.Finder) (passed func(name string) bool) {
		m := start(t, "a", nil)
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Finder: finder, Hops: hopsOf("me")})
		var header []string
		for _, names := range [][]string{always, never, kept} {
			for _, name := range names {
				header = append(header, name, "said of "+name)
			}
		}
		f.do(t, "GET", "/", "", header...)
		h := m.only(t).header
		return func(name string) bool { return h.Get(name) == "said of "+name }
	}
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		loopback := netip.Addr.IsLoopback
		for name, c := range map[string]struct {
			finder *router.Finder
			also   []string
			always bool
		}{
			"visitor":                      {finder: &router.Finder{Trust: trustNobody}},
			"visitor, a user header":       {finder: &router.Finder{Trust: trustNobody, UserHeader: "Remote-User", Proxy: []string{"True-Client-IP"}}},
			"proxy":                        {finder: &router.Finder{Trust: loopback}, always: true},
			"proxy, a user header":         {finder: &router.Finder{Trust: loopback, UserHeader: "X-Forwarded-User"}, always: true, also: []string{"X-Forwarded-User"}},
			"proxy, headers of its own":    {finder: &router.Finder{Trust: loopback, Proxy: []string{"true-client-ip", "X-Forwarded-Email"}}, always: true, also: []string{"True-Client-IP", "X-Forwarded-Email"}},
			"proxy, an underscore in them": {finder: &router.Finder{Trust: loopback, UserHeader: "Remote-User"}, always: true, also: []string{"Remote-User", "REMOTE_USER"}},
		} {
			passed := send(t, open, c.finder)
			for _, field := range always {
				require.Equal(t, c.always, passed(field), "%s: %s", name, field)
			}
			for _, field := range never {
				require.Equal(t, slices.Contains(c.also, field), passed(field), "%s: %s", name, field)
			}
			for _, field := range kept {
				require.True(t, passed(field), "%s: %s", name, field)
			}
		}
	})
}

// Proving and believing a hop takes no memory beyond what tells of it.
func TestHopsAreCheap(t *testing.T) {
	rt, err := router.New(router.Config{
		Lookup: fixed(router.Target{}, router.Target{}), Any: func() router.Target { return router.Target{} },
		Finder: finder(newSecret), Hops: kept{[]*router.HopKey{router.NewHopKey(secret, "r", "me")}},
	})
	require.NoError(t, err)
	defer rt.Close()
	r := request("/v1/sessions/alice", remote, "Holdfast-Hop", "1", "Holdfast-Fence", "1/2/3", "Holdfast-Attempt", "1f/0", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "http")
	router.NewHopKey(secret, "r", "me").Prove(r, "r", time.Now())
	hop, err := rt.Arrived(r)
	require.NoError(t, err)
	require.NotNil(t, hop)
	require.LessOrEqual(t, alloctest.Fewest(func() { _, _ = rt.Arrived(r) }), 3.0)
}

// kept is a member that has its keys at hand.
type kept struct{ keys []*router.HopKey }

func (k kept) To(router.Target) (string, []*router.HopKey, time.Time) {
	return "me", k.keys, time.Now()
}
func (k kept) From(string) ([]*router.HopKey, time.Time) { return k.keys, time.Now() }

func BenchmarkArrived(b *testing.B) {
	rt, err := router.New(router.Config{
		Lookup: fixed(router.Target{}, router.Target{}), Any: func() router.Target { return router.Target{} },
		Finder: finder(newSecret), Hops: kept{[]*router.HopKey{router.NewHopKey(secret, "r", "me")}},
	})
	require.NoError(b, err)
	defer rt.Close()
	r := request("/v1/sessions/alice", remote, "Holdfast-Hop", "1", "Holdfast-Fence", "1/2/3", "Holdfast-Attempt", "1f/0", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "http")
	router.NewHopKey(secret, "r", "me").Prove(r, "r", time.Now().Add(4*time.Second))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = rt.Arrived(r)
	}
}

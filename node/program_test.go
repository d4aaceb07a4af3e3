package node

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// loginApp is a program's handler: it logs in, tells who is logged in, and logs
// out.
func loginApp() http.Handler {
	mux := http.NewServeMux()
	fail := func(w http.ResponseWriter, err error) bool {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
		return err != nil
	}
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		s := holdfast.FromContext(r.Context())
		s.Ack(session.AckReplica)
		w.Header().Set("Before", s.ID())
		if !fail(w, s.Renew()) && !fail(w, s.Set("user", r.FormValue("user"))) {
			fmt.Fprintln(w, "welcome")
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		user, ok, err := holdfast.Get[string](holdfast.FromContext(r.Context()), "user")
		switch {
		case fail(w, err):
		case !ok:
			http.Error(w, "nobody", http.StatusUnauthorized)
		default:
			fmt.Fprintf(w, "%s at %s", user, r.Header.Get("Holdfast-Node"))
		}
	})
	mux.HandleFunc("GET /logout", func(w http.ResponseWriter, r *http.Request) {
		if !fail(w, holdfast.FromContext(r.Context()).Destroy()) {
			fmt.Fprintln(w, "good-bye")
		}
	})
	mux.HandleFunc("GET /seen", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s", r.Header.Get("X-User-ID"), r.Header.Get("X-Forwarded-For"))
		for _, name := range []string{"X-Forwarded-User", "True-Client-IP", "REMOTE_USER", "Holdfast_Key", "Holdfast-Proof"} {
			if r.Header.Get(name) != "" {
				fmt.Fprintf(w, " and %s", name)
			}
		}
	})
	return mux
}

// browser keeps cookies, for all ports of this host alike.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t, &http.Client{Transport: client.Transport, Jar: jar, Timeout: 10 * time.Second}}
}

func (b *browser) get(url string) (status int, body string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), "GET", url, nil)
	require.NoError(b.t, err)
	resp, err := b.client.Do(r)
	require.NoError(b.t, err)
	return resp.StatusCode, readAll(b.t, resp)
}

// id is what the affinity cookie names.
func (b *browser) id() string {
	for _, c := range b.client.Jar.Cookies(&url.URL{Scheme: "http", Host: "127.0.0.1"}) {
		if c.Name == "holdfast" {
			return c.Value[:strings.LastIndexByte(c.Value, '.')]
		}
	}
	return ""
}

func programs(t *testing.T) []*Node {
	return three(t, func(c *Config) {
		c.Demo, c.Handler, c.Secret = false, loginApp(), []byte("the secret of all the nodes")
	})
}

// serve opens an address of the program's own for a node.
func (n *Node) serveProgram(t *testing.T) string {
	s := httptest.NewServer(n.Handler(nil))
	t.Cleanup(s.Close)
	return s.URL
}

// Whichever node is asked, at whichever of its doors, the handler runs at the
// owner, and a login outlives the owner's crash. The logout does too.
func TestProgramOnThreeNodes(t *testing.T) {
	t.Parallel()
	nodes := programs(t)
	doors := make(map[string]string) // by node
	for _, n := range nodes {
		doors[n.id.Name] = n.serveProgram(t)
	}
	cfg := loopbackConfig("front", nodes[0])
	cfg.Role, cfg.Demo, cfg.Secret = RoleRouter, false, nodes[0].cfg.Secret
	front := begin(t, cfg)
	eventually(t, "the router knows the nodes", func() bool { return len(front.View().Nodes()) == 3 })
	viaRouter := []string{front.serveProgram(t) + "/", front.public("/")}

	b := newBrowser(t)
	status, body := b.get(doors["ada"] + "/")
	require.Equal(t, http.StatusUnauthorized, status, body)
	planted := b.id()
	require.NotEmpty(t, planted)
	for i := range 6 { // so that it is forwarded, and served where it was asked
		status, body = b.get(doors[nodes[i%3].id.Name] + fmt.Sprintf("/login?user=user-%d", i))
		require.Equal(t, http.StatusOK, status, body)
	}
	id := b.id()
	require.NotEqual(t, planted, id, "a login renews the id")
	owner := nodes[0].View().Table.Owner(ring.Partition(id))
	for _, n := range nodes {
		for _, base := range []string{doors[n.id.Name], "http://" + n.self().HTTP} {
			status, body = b.get(base + "/")
			require.Equal(t, http.StatusOK, status, body)
			require.Equal(t, "user-5 at "+owner, body)
		}
	}
	for _, url := range viaRouter {
		status, body = b.get(url)
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, "user-5 at "+owner, body, "a program on a router holds nothing, and passes every request on")
	}

	stand(t, nodes...)
	var left []*Node
	for _, n := range nodes {
		if n.id.Name == owner {
			n.cancel(ErrStopped)
			<-n.Done()
			continue
		}
		left = append(left, n)
	}
	for _, n := range left {
		status, body = b.get(doors[n.id.Name] + "/")
		require.Equal(t, http.StatusOK, status, body)
		require.Contains(t, body, "user-5 at ")
		require.NotContains(t, body, owner)
	}
	_, err := left[0].Sessions().Get(t.Context(), planted)
	require.Error(t, err, "the id from before the login is worth nothing")

	status, body = b.get(doors[left[0].id.Name] + "/logout")
	require.Equal(t, http.StatusOK, status, body)
	require.NotEqual(t, id, b.id())
	for _, n := range left {
		// Where the other node may be alive nobody can say that there is no session.
		status, _ = b.get(doors[n.id.Name] + "/")
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusServiceUnavailable}, status)
		_, err := n.Sessions().Get(t.Context(), id)
		require.ErrorContains(t, err, "deleted")
	}
}

// The very first request may be the login: then the node that was asked has
// made one id and the owner another, and the client gets the owner's.
func TestFirstRequestRenews(t *testing.T) {
	t.Parallel()
	nodes := programs(t)
	forwarded := 0
	for i := range 12 {
		b := newBrowser(t)
		resp, err := b.client.Get(nodes[0].public("/login?user=alice"))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, readAll(t, resp))
		require.NotEqual(t, resp.Header.Get("Before"), b.id(), "served here as when passed on")
		require.Len(t, resp.Header["Set-Cookie"], 1)
		status, body := b.get("http://" + nodes[1].self().HTTP + "/")
		require.Equal(t, http.StatusOK, status, "login %d: %s", i, body)
		if nodes[0].View().Table.Owner(ring.Partition(b.id())) != "ada" {
			forwarded++
		}
	}
	require.NotZero(t, forwarded)
}

// Strangers without a session who log out, again and again, leave nothing
// behind; who was logged in does.
func TestAnonymousLogoutsLeaveNothing(t *testing.T) {
	t.Parallel()
	nodes := programs(t)
	tombstones := func() (count int) {
		for _, n := range nodes {
			count += n.store.Stats().Tombstones
		}
		return count
	}
	for _, n := range nodes {
		eventually(t, "the ring stands", n.owner.Stands)
	}
	for i := range 60 {
		stranger := newBrowser(t)
		status, body := stranger.get(nodes[i%3].serveProgram(t) + "/logout")
		require.Equal(t, http.StatusOK, status, body)
		require.NotEmpty(t, stranger.id())
	}
	require.Zero(t, tombstones())
	for _, n := range nodes {
		require.Zero(t, n.counts.Values()["deletes_nowhere"], "nobody is asked about an id that was made for the request")
	}

	b, door := newBrowser(t), nodes[0].serveProgram(t)
	status, body := b.get(door + "/login?user=ann")
	require.Equal(t, http.StatusOK, status, body)
	status, body = b.get(door + "/logout")
	require.Equal(t, http.StatusOK, status, body)
	require.Equal(t, 2, tombstones(), "at the owner, and at the successor")
}

// A user whom a trusted proxy names stays who the proxy says, through login and
// logout.
func TestUserFromTheHeader(t *testing.T) {
	t.Parallel()
	nodes := programs(t)
	as := func(i int, path string) (*http.Response, string) {
		return send(t, "GET", nodes[i].public(path), "", "X-User-ID", "alice")
	}
	for range 2 {
		resp, body := as(0, "/login?user=alice")
		require.Equal(t, http.StatusOK, resp.StatusCode, body)
		require.Empty(t, resp.Header["Set-Cookie"])
		resp, body = as(1, "/")
		require.Equal(t, http.StatusOK, resp.StatusCode, body)
		resp, body = as(2, "/logout")
		require.Equal(t, http.StatusOK, resp.StatusCode, body)
		resp, _ = as(0, "/")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
}

// What a stranger puts into headers that members and proxies speak by does not
// reach the application, on the node that was asked as little as by way of it.
func TestStrangersHeadersAreIgnored(t *testing.T) {
	t.Parallel()
	n := alone(t, func(c *Config) { c.Secret = []byte("the secret of all the nodes") })
	h := n.Handler(loginApp())
	ask := func(peer, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = peer
		for _, name := range []string{"X-User-ID", "X-Forwarded-For", "X-Forwarded-User", "True-Client-IP", "REMOTE_USER", "Holdfast_Key", "Holdfast-Proof", "Holdfast-Key", "Holdfast-Hop", "Holdfast-Fence", "Holdfast-Failover"} {
			r.Header.Set(name, "made-up")
		}
		h.ServeHTTP(w, r)
		require.Equal(t, "made-up", r.Header.Get("Holdfast-Hop"), "the caller's request is left alone")
		return w
	}
	require.Equal(t, "|", ask("203.0.113.7:1234", "/seen").Body.String())
	w := ask("127.0.0.1:1234", "/seen")
	require.Equal(t, "made-up|made-up", w.Body.String(), "a trusted proxy is believed")
	require.Equal(t, http.StatusNotFound, ask("127.0.0.1:1234", "/v1/sessions/alice").Code, "the session API is not served to strangers")
}

// A node without an application says so until the program has given it one.
func TestHandlerMounts(t *testing.T) {
	t.Parallel()
	n := begin(t, func() Config { c := loopbackConfig("solo"); c.Demo = false; return c }())
	eventually(t, "ready", func() bool { owned, cold := n.owner.Gate().Counts(); return owned > 0 && cold == 0 })
	resp, _ := send(t, "GET", n.public("/seen"), "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	n.Handler(loginApp())
	resp, body := send(t, "GET", n.public("/seen"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode, body)

	cfg := loopbackConfig("other") // which has Demo
	cfg.Handler = loginApp()
	_, err := Start(t.Context(), cfg)
	require.ErrorContains(t, err, "Config.Handler: cannot be used with")
}

// All reads what every node owns, once each, from any node.
func TestAllSessionsOfTheCluster(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	want := make(map[string]bool)
	for i := range 40 {
		key := fmt.Sprint("user-", i)
		put(t, nodes[i%3], key, "v")
		want[key] = true
	}
	for _, n := range nodes {
		got := make(map[string]bool)
		for rec, err := range n.Sessions().All(t.Context()) {
			require.NoError(t, err)
			require.False(t, got[rec.Key()], "%s comes once", rec.Key())
			got[rec.Key()] = true
		}
		require.Equal(t, want, got)
	}
	for range nodes[0].Sessions().All(t.Context()) {
		break // a reader may stop
	}
}

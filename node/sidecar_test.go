package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/door/app"
)

// testApp is an application that says who it is, what it was told, and can end
// and come back at its address.
type testApp struct {
	name, network, address string
	server                 *http.Server
	ill                    atomic.Bool
}

func startApp(t *testing.T, name, network, address string) *testApp {
	a := &testApp{name: name, network: network, address: address}
	a.start(t)
	t.Cleanup(a.stop)
	return a
}

func (a *testApp) start(t *testing.T) {
	l, err := net.Listen(a.network, a.address)
	require.NoError(t, err)
	a.address = l.Addr().String()
	a.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && a.ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Header().Set("Holdfast-Node", "forged")
		fmt.Fprintf(w, "%s user=%s node=%s api=%s hop=%s id=%s", a.name, r.Header.Get("Holdfast-Key"), r.Header.Get("Holdfast-Node"),
			r.Header.Get("Holdfast-Api"), r.Header.Get("Holdfast-Hop"), r.Header.Get("X-User-ID"))
	})}
	go func() { _ = a.server.Serve(l) }() // its error is only that it was closed
}

func (a *testApp) stop() { _ = a.server.Close() }

// sidecarEach starts a node with an application of the same name for each name.
func sidecarEach(t *testing.T, change func(*Config), names ...string) (nodes []*Node, apps []*testApp) {
	for _, name := range names {
		a := startApp(t, name, "tcp", "127.0.0.1:0")
		cfg := loopbackConfig(name, nodes...)
		cfg.Demo, cfg.App = false, "http://"+a.address
		change(&cfg)
		apps, nodes = append(apps, a), append(nodes, begin(t, cfg))
	}
	agree(t, nodes...)
	return nodes, apps
}

// routesFrom says whose application n would ask.
func routesFrom(t *testing.T, n *Node) *app.Routes {
	r, err := n.routes(n.self().HTTP)
	require.NoError(t, err)
	return r
}

func (n *Node) ask(t *testing.T, user string) (*http.Response, string) {
	return send(t, "GET", n.public("/"), "", "X-User-ID", user)
}

// While the application beside the owner is down its users go to the first
// successor, whose member forwards nothing back; their sessions stay where they
// are. When it is back, so are they.
func TestUsersOfAnApplicationThatIsDown(t *testing.T) {
	t.Parallel()
	nodes, apps := sidecarEach(t, func(*Config) {}, "ada", "bob", "eve")
	route := nodes[0].owners().Route("alice")
	byName := map[string]int{"ada": 0, "bob": 1, "eve": 2}
	owner, successor := byName[route.Owner.Name], byName[route.Successor.Name]
	third := 3 - owner - successor
	put(t, nodes[0], "alice", "kept")

	told := func(i int) string {
		return fmt.Sprintf("%s user=alice node=%s api=http://%s hop= id=alice", apps[i].name, apps[i].name, nodes[i].self().HTTP)
	}
	for _, n := range nodes {
		resp, body := n.ask(t, "alice")
		require.Equal(t, told(owner), body)
		require.Equal(t, []string{apps[owner].name}, resp.Header["Holdfast-Node"], "the node's word, not the application's")
	}

	apps[owner].stop()
	for _, i := range []int{third, owner, successor} { // at once: nobody was told, and the owner finds out by this request
		_, body := nodes[i].ask(t, "alice")
		require.Equal(t, told(successor), body, "asked at %s", apps[i].name)
	}
	eventually(t, "all know", func() bool {
		for _, n := range nodes {
			if !n.View().Named(apps[owner].name).AppDown {
				return false
			}
		}
		return true
	})
	resp, body := send(t, "GET", nodes[owner].office("/readyz"), "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, "the application does not answer")
	require.Equal(t, apps[successor].name, routesFrom(t, nodes[third]).For("alice").Owner.Name, "without asking the owner first")
	resp, value := get(t, nodes[third], "alice")
	require.Equal(t, "kept", value)
	require.Equal(t, apps[owner].name, resp.Header.Get("Holdfast-Node"), "its session has not moved")

	apps[successor].stop()
	_, body = nodes[owner].ask(t, "alice")
	require.Equal(t, told(third), body, "the last one left")
	apps[third].stop()
	_, body = nodes[owner].ask(t, "alice")
	require.Contains(t, body, "application-unreachable")

	apps[owner].start(t)
	eventually(t, "the owner serves again", func() bool {
		_, body := nodes[third].ask(t, "alice")
		return body == told(owner)
	})
}

// An application that takes connections and says that it is ill is down too.
func TestApplicationHealth(t *testing.T) {
	t.Parallel()
	nodes, apps := sidecarEach(t, func(c *Config) { c.AppHealth = "/health" }, "ada", "bob")
	apps[0].ill.Store(true)
	eventually(t, "ada is not ready", func() bool {
		resp, _ := send(t, "GET", nodes[0].office("/readyz"), "")
		return resp.StatusCode == http.StatusServiceUnavailable && nodes[1].View().Named("ada").AppDown
	})
	for i := range 20 {
		_, body := nodes[i%2].ask(t, fmt.Sprint("user", i))
		require.Contains(t, body, "bob user=")
	}
	apps[0].ill.Store(false)
	eventually(t, "ada is ready", func() bool {
		resp, _ := send(t, "GET", nodes[0].office("/readyz"), "")
		return resp.StatusCode == http.StatusOK && !nodes[1].View().Named("ada").AppDown
	})
}

// A member that is asked to stand in does so whatever its own view says, if a
// member asks; a stranger cannot choose who serves whom.
func TestStandIn(t *testing.T) {
	t.Parallel()
	nodes, _ := sidecarEach(t, func(*Config) {}, "ada", "bob")
	n := nodes[0]
	user := "u"
	for i := 0; n.owners().Route(user).Owner.Name == "ada"; i++ {
		user = fmt.Sprint("u", i)
	}
	_, body := send(t, "GET", n.public("/"), "", "X-User-ID", user, "Holdfast-Stand-In", "bob/1")
	require.Contains(t, body, "bob user="+user)

	r, err := http.NewRequestWithContext(t.Context(), "GET", n.public("/"), nil)
	require.NoError(t, err)
	r.Header.Set("Holdfast-Key", user)
	r.Header.Set("Holdfast-Stand-In", "bob/1")
	resp, err := client.Do(n.proven(r, nodes[1].id.String()))
	require.NoError(t, err)
	require.Contains(t, readAll(t, resp), "ada user="+user)
}

// Over Unix sockets, both ways: the application is reached on one, and told of
// the other, where strangers cannot say who they are.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "hf") // short: such a path has 107 bytes at most
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	doorPath := filepath.Join(dir, "door")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: doorPath, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false) // as a killed process leaves it
	require.NoError(t, left.Close())

	a := startApp(t, "app", "unix", filepath.Join(dir, "app"))
	cfg := loopbackConfig("ada")
	cfg.Demo, cfg.App, cfg.HTTPUnix = false, "unix:"+a.address, doorPath
	n := begin(t, cfg)
	agree(t, n)
	_, body := n.ask(t, "alice")
	require.Equal(t, fmt.Sprintf("app user=alice node=ada api=unix:%s hop= id=alice", doorPath), body)

	local := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", doorPath)
	}}}
	defer local.CloseIdleConnections()
	put(t, n, "alice", "v")
	resp, err := local.Get("http://localhost/v1/sessions/alice")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)

	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/", nil)
	require.NoError(t, err)
	r.Header.Set("X-User-ID", "alice")
	r.Header.Set("Holdfast-Key", "alice")
	resp, err = local.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Len(t, resp.Cookies(), 1, "a user of its own")
	var b [512]byte
	count, _ := resp.Body.Read(b[:])
	require.NotContains(t, string(b[:count]), "alice", "neither believed nor passed on")

	a.stop() // and with it its socket
	resp, _ = n.ask(t, "alice")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.True(t, n.pin.Down())
	second := loopbackConfig("bob", n)
	second.HTTPUnix = doorPath
	_, err = Start(t.Context(), second)
	require.ErrorContains(t, err, "Config.HTTPUnix "+doorPath, "somebody answers there")
}

// What is no socket at the path of one stays there: a mistyped path must not
// cost a file.
func TestUnixSocketInPlaceOfAFile(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "hf")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(path, []byte("dear"), 0o600))
	for field, set := range map[string]func(*Config){
		"Config.HTTPUnix": func(c *Config) { c.HTTPUnix = path }, "Config.RESPUnix": func(c *Config) { c.RESPUnix = path },
	} {
		cfg := loopbackConfig("ada")
		set(&cfg)
		_, err = Start(t.Context(), cfg)
		require.EqualError(t, err, field+" "+path+": it is a file and no socket; give a path that is free")
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "dear", string(kept))
	}
}

// The group of a socket may connect as its owner may, and nobody else.
func TestUnixSocketsAreForOwnerAndGroup(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "hf")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	cfg := loopbackConfig("ada")
	cfg.HTTPUnix, cfg.RESPUnix = filepath.Join(dir, "http"), filepath.Join(dir, "resp")
	begin(t, cfg)
	for _, path := range []string{cfg.HTTPUnix, cfg.RESPUnix} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o660), info.Mode().Perm(), path)
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}

// The Redis endpoint on a Unix socket, beside the one at an address or alone.
func TestRedisOnAUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "hf")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	for name, address := range map[string]string{"alone": "", "both": "127.0.0.1:0"} {
		cfg := loopbackConfig(name)
		cfg.RESP, cfg.RESPUnix = address, filepath.Join(dir, name)
		n := begin(t, cfg)
		agree(t, n)
		put(t, n, "k", "v")
		conn, err := net.Dial("unix", cfg.RESPUnix)
		require.NoError(t, err)
		_, err = conn.Write([]byte("EXISTS k\r\n"))
		require.NoError(t, err)
		answer := make([]byte, 4)
		_, err = io.ReadFull(conn, answer)
		require.NoError(t, err)
		require.Equal(t, ":1\r\n", string(answer))
		require.NoError(t, conn.Close())
		require.Equal(t, address == "", n.self().RESP == "", "what others are told")

		taken := loopbackConfig("second", n)
		taken.RESPUnix = cfg.RESPUnix
		_, err = Start(t.Context(), taken)
		require.ErrorContains(t, err, "Config.RESPUnix "+cfg.RESPUnix)
	}
}

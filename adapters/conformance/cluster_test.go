package conformance

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// cluster is three nodes on loopback, each with an application's handler that
// has no idea of the others.
type cluster struct {
	t     *testing.T
	nodes map[string]*member
}

type member struct {
	*node.Node
	kill func()
	url  string
}

// start begins three nodes and waits until they own everything between them.
// app makes each one's handler.
func start(t *testing.T, app func(*node.Sessions) http.Handler) *cluster {
	t.Helper()
	c := &cluster{t, make(map[string]*member)}
	var join []string
	for _, name := range []string{"ada", "bob", "cyd"} {
		ctx, cancel := context.WithCancel(t.Context())
		n, err := node.Start(ctx, node.Config{
			Name: name, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0",
			Join: join, Ack: session.AckReplica,
		})
		require.NoError(t, err)
		join = []string{n.View().Member(n.ID()).Gossip}
		server := httptest.NewServer(app(n.Sessions()))
		m := &member{Node: n, url: server.URL}
		m.kill = func() {
			server.Close()
			cancel()
			<-n.Done()
		}
		c.nodes[name] = m
		t.Cleanup(m.kill)
	}
	require.Eventually(t, func() bool {
		serving := 0
		for _, m := range c.nodes {
			if len(m.View().Nodes()) != 3 || inspect.Of(m.Node).Cold() > 0 {
				return false
			}
			for _, here := range inspect.Of(m.Node).Serving() {
				if here {
					serving++
				}
			}
		}
		return serving == ring.Partitions
	}, 15*time.Second, 5*time.Millisecond, "three nodes own everything")
	return c
}

// any is some member.
func (c *cluster) any() *member {
	for _, m := range c.nodes {
		return m
	}
	c.t.Fatal("no member is left")
	return nil
}

// killOwner ends the owner of a key, without handing anything over.
func (c *cluster) killOwner(key string) {
	owner := c.any().View().Table.Owner(ring.Partition(key))
	c.nodes[owner].kill()
	delete(c.nodes, owner)
}

// only returns the key of the one session that there is.
func (c *cluster) only() string {
	c.t.Helper()
	var keys []string
	for rec, err := range c.any().Sessions().All(c.t.Context()) {
		require.NoError(c.t, err)
		keys = append(keys, rec.Key())
	}
	require.Len(c.t, keys, 1)
	return keys[0]
}

// browser keeps its cookies; every member is the same host to it.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t, &http.Client{Jar: jar, Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (b *browser) get(m *member, path string) (int, string) {
	b.t.Helper()
	status, body, err := b.try(m, path)
	require.NoError(b.t, err)
	return status, body
}

// try is get for other goroutines than the test's.
func (b *browser) try(m *member, path string) (int, string, error) {
	resp, err := b.client.Get(m.url + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// pause holds up a request of an application at a point that a test chose.
type pause struct{ reached, goOn chan struct{} }

func newPause() pause { return pause{make(chan struct{}), make(chan struct{})} }

func (p pause) wait() {
	p.reached <- struct{}{}
	<-p.goOn
}

// story is what every library must do: a login outlives its owner, each member
// sees it, and it ends for good by a logout, although a request that has read
// the session before saves it after. path /login, /, /logout and /slow are the
// application's; /slow saves the session after p.
func story(t *testing.T, c *cluster, p pause) {
	b := newBrowser(t)
	status, body := b.get(c.any(), "/")
	require.Equal(t, http.StatusUnauthorized, status, body)
	status, body = b.get(c.any(), "/login")
	require.Equal(t, http.StatusOK, status, body)
	key := c.only()
	seen := func(want int) {
		t.Helper()
		for name, m := range c.nodes {
			status, body := b.get(m, "/")
			require.Equal(t, want, status, "at %s: %s", name, body)
		}
	}
	seen(http.StatusOK)
	c.killOwner(key)
	seen(http.StatusOK)

	late := &browser{t, &http.Client{Jar: b.client.Jar, Transport: b.client.Transport}}
	done := make(chan int, 1)
	slow, other := c.any(), c.any()
	go func() {
		status, _, err := late.try(slow, "/slow")
		if err != nil {
			status = -1
		}
		done <- status
	}()
	<-p.reached
	jar, err := cookiejar.New(nil) // the logout takes the cookie away; a thief would keep it
	require.NoError(t, err)
	old := b.client.Jar
	at := mustURL(t, other.url)
	jar.SetCookies(at, old.Cookies(at))
	status, body = b.get(other, "/logout")
	require.Equal(t, http.StatusOK, status, body)
	close(p.goOn)
	require.Equal(t, http.StatusInternalServerError, <-done, "the late save is refused")
	b.client.Jar = jar
	seen(http.StatusUnauthorized)
	_, err = other.Sessions().Get(t.Context(), key)
	require.ErrorIs(t, err, session.ErrDeleted)
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

package node

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/ring"
)

// holder is a client that keeps a cookie whatever the answers say: somebody who
// has found it in a browser that was not closed, or in a log.
type holder struct{ id, cookie string }

func hold(n *Node) holder {
	id := public.NewID(n.owner.Decide)
	c := n.endpoint.Finder().CookieFor(id)
	return holder{id, c.Name + "=" + c.Value}
}

// setID is the id that an answer pins its client to, "" for none.
func setID(resp *http.Response) string {
	for _, c := range resp.Cookies() {
		if c.Name == "holdfast" && c.Value != "" {
			return c.Value[:strings.LastIndexByte(c.Value, '.')]
		}
	}
	return ""
}

// counter is an application that keeps a number, and one path that only looks.
func counter() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		s := holdfast.FromContext(r.Context())
		n, _, err := holdfast.Get[int](s, "n")
		if err == nil {
			err = s.Set("n", n+1)
		}
		fmt.Fprint(w, n+1, " ", err)
	})
	mux.HandleFunc("/look", func(w http.ResponseWriter, r *http.Request) {
		n, _, err := holdfast.Get[int](holdfast.FromContext(r.Context()), "n")
		fmt.Fprint(w, n, " ", err)
	})
	return mux
}

// An id that was made here and logged out begins no session again: who comes
// with its cookie gets a new one, at whichever node.
func TestEndedIDIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	secret := func(c *Config) { c.Secret = []byte("the secret of all the nodes") }
	type cluster struct {
		nodes     []*Node
		path      string
		beginning string // what the answer says of a session that begins
	}
	begun := map[string]cluster{
		"handler": {three(t, secret, func(c *Config) { c.Demo, c.Handler = false, counter() }), "/count", "1 <nil>"},
		"demo":    {three(t, secret), "/", `"visits":1`},
	}
	sidecars, _ := sidecarEach(t, secret, "ada", "bob", "cyd")
	begun["sidecar"] = cluster{sidecars, "/", "user=%s "}
	for name, c := range begun {
		t.Run(name, func(t *testing.T) {
			h := hold(c.nodes[0])
			visit := func(i int, path string) (string, string) {
				resp, body := send(t, "GET", c.nodes[i].public(path), "", "Cookie", h.cookie)
				require.Equal(t, http.StatusOK, resp.StatusCode, body)
				return setID(resp), body
			}
			said := func(id string) string { return strings.ReplaceAll(c.beginning, "%s", id) }
			for i := range c.nodes {
				id, body := visit(i, c.path)
				require.Empty(t, id, "a live id, or one without a session, stays")
				if i == 0 || strings.Contains(c.beginning, "%s") {
					require.Contains(t, body, said(h.id))
				} else {
					require.NotContains(t, body, said(h.id), "it is the same session")
				}
			}
			put(t, c.nodes[0], h.id, "v") // one that has none yet, as a sidecar makes it
			require.NoError(t, c.nodes[1].Sessions().Delete(t.Context(), h.id))
			seen := map[string]bool{h.id: true}
			for i := range c.nodes {
				id, body := visit(i, c.path)
				require.NotEmpty(t, id)
				require.False(t, seen[id], "an id of its own each time")
				seen[id] = true
				require.Equal(t, ring.Partition(h.id), ring.Partition(id), "where the old one was")
				require.Contains(t, body, said(id))
				_, err := c.nodes[i].Sessions().Get(t.Context(), h.id)
				require.ErrorContains(t, err, "deleted")
			}
		})
	}

	// A request that only looks may have been sent beside the login that has
	// moved the session to another id. It must not take that away from the
	// browser.
	nodes := begun["handler"].nodes
	h := hold(nodes[0])
	put(t, nodes[0], h.id, "v")
	require.NoError(t, nodes[0].Sessions().Delete(t.Context(), h.id))
	resp, body := send(t, "GET", nodes[0].public("/look"), "", "Cookie", h.cookie)
	require.Equal(t, "0 <nil>", body)
	require.Empty(t, setID(resp))
}

// Users whom a trusted proxy names log in and out under their names.
func TestNamedUsersBeginAgain(t *testing.T) {
	t.Parallel()
	n := begin(t, loopbackConfig("solo"))
	agree(t, n)
	for range 2 {
		resp, body := n.ask(t, "alice")
		require.Contains(t, body, `"user":"alice","visits":1`)
		require.Empty(t, setID(resp))
		require.NoError(t, n.Sessions().Delete(t.Context(), "alice"))
	}
}

// Of two cookies that are both genuine one may have been planted, and nobody
// can tell which. Neither counts, here as at the router.
func TestTwoCookiesAreNone(t *testing.T) {
	t.Parallel()
	nodes := three(t, func(c *Config) {
		c.Demo, c.Handler, c.Secret = false, loginApp(), []byte("the secret of all the nodes")
	})
	victim, attacker := hold(nodes[0]), hold(nodes[0])
	for i, n := range nodes {
		for _, both := range []string{victim.cookie + "; " + attacker.cookie, attacker.cookie + "; a=b; " + victim.cookie} {
			resp, body := send(t, "GET", n.public(fmt.Sprintf("/login?user=u%d", i)), "", "Cookie", both)
			require.Equal(t, http.StatusOK, resp.StatusCode, body)
			id := setID(resp)
			require.NotContains(t, []string{"", victim.id, attacker.id}, id)
			require.NotContains(t, []string{victim.id, attacker.id}, resp.Header.Get("Before"))
			rec, err := n.Sessions().Get(t.Context(), id)
			require.NoError(t, err, "the login has got its own")
			require.NotNil(t, rec)
		}
	}
	for _, h := range []holder{victim, attacker} {
		_, err := nodes[0].Sessions().Get(t.Context(), h.id)
		require.Error(t, err)
	}
}

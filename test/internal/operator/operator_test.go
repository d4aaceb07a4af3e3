package operator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

// serve answers as a member does that shows the given ring.
func serve(t *testing.T, ring string, ready int) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/ring", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, ring) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(ready) })
	mux.HandleFunc("GET /admin/stats", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"sessions":3,"tombstones":2,"bytes":600,"counters":{"served":9}}`)
	})
	mux.HandleFunc("POST /admin/drain", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintln(w, `{"unsynced":4}`)
		if ready == http.StatusOK {
			fmt.Fprintln(w, `{"done":true}`)
		}
	})
	s := httptest.NewServer(mux)
	c := New(s.Listener.Addr().String())
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c
}

func ringOf(fingerprint string, owners ...string) string {
	members, partitions := "", ""
	for i, o := range owners {
		comma := map[bool]string{true: ","}[i > 0]
		members += fmt.Sprintf(`%s{"name":%q,"pid":%d}`, comma, o, 100+i)
		partitions += fmt.Sprintf(`%s{"owner":%q}`, comma, o)
	}
	return fmt.Sprintf(`{"fingerprint":%q,"members":[%s],"partitions":[%s]}`, fingerprint, members, partitions)
}

func TestSettled(t *testing.T) {
	both := ringOf("f1", "a", "b")
	for _, c := range []struct {
		name   string
		router *Client
		b      Member
		says   string
	}{
		{"all agree", serve(t, both, 200), Member{Pid: 101, Client: serve(t, both, 200)}, ""},
		{"another ring", serve(t, ringOf("f2", "a", "b"), 200), Member{Pid: 101, Client: serve(t, both, 200)}, "has the ring"},
		{"one too few", serve(t, both, 200), Member{Pid: 101, Client: serve(t, ringOf("f1", "a"), 200)}, "b sees 1 owners, 2 nodes run"},
		{"a process of before", serve(t, both, 200), Member{Pid: 999, Client: serve(t, both, 200)}, "sees b with pid 101, which has pid 999"},
		{"not ready", serve(t, both, 503), Member{Pid: 101, Client: serve(t, both, 200)}, "router: GET /readyz: 503"},
	} {
		c.b.Name, c.b.Node = "b", true
		err := Settled(t.Context(), []Member{
			{Name: "router", Client: c.router}, {Name: "a", Node: true, Pid: 100, Client: serve(t, both, 200)}, c.b,
		})
		if c.says == "" {
			require.NoError(t, err, c.name)
		} else {
			require.ErrorContains(t, err, c.says, c.name)
		}
	}
}

func TestUnready(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		why    []string
		says   string
	}{
		{200, `{"status":"ready"}`, nil, ""},
		{503, `{"status":"not ready","why":["leaving","cold"]}`, []string{"leaving", "cold"}, ""},
		{503, `{"status":"not ready"}`, nil, "503"},
		{500, `{"why":["broken"]}`, nil, "500"},
		{503, `<html>`, nil, "GET /readyz"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		client := New(s.Listener.Addr().String())
		why, err := client.Unready(t.Context())
		if c.says == "" {
			require.NoError(t, err, c.body)
		} else {
			require.ErrorContains(t, err, c.says, c.body)
		}
		require.Equal(t, c.why, why, c.body)
		client.Close()
		s.Close()
	}
}

func TestAsks(t *testing.T) {
	c := serve(t, ringOf("f1", "a"), 200)
	s, err := c.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, adminapi.Stats{Sessions: 3, Tombstones: 2, Bytes: 600, Counters: map[string]int64{"served": 9}}, s)
	require.NoError(t, c.Drain(t.Context()))
	require.ErrorContains(t, serve(t, ringOf("f1", "a"), 503).Drain(t.Context()), `ended without done; the last line was {"unsynced":4}`)

	r, err := c.Ring(t.Context())
	require.NoError(t, err)
	require.Empty(t, OwnerOf(r, "a key of a partition that the answer does not show"))
	require.Equal(t, map[string]bool{"a": true}, ownersOf(r))
	c = serve(t, "<html>", 200)
	_, err = c.Ring(t.Context())
	require.Error(t, err)
}

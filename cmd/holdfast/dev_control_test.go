package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// obeying answers orders as dev's loop does, until the test ends.
func obeying(t *testing.T, c *control, answer func(order) orderResult) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case o := <-c.orders:
				o.done <- answer(o)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

func TestControlBelievesOnlyItsChildren(t *testing.T) {
	c, err := newControl()
	require.NoError(t, err)
	defer c.close()
	var verbs []string
	obeying(t, c, func(o order) orderResult {
		verbs = append(verbs, o.verb+" "+o.name)
		if o.verb == "drain" {
			return orderResult{err: http.ErrNotSupported}
		}
		return orderResult{members: []devMember{{Name: "node-1", Node: true, State: running, Pid: 7}}}
	})
	ask := func(method, path, token string) int {
		r, err := http.NewRequestWithContext(t.Context(), method, c.url+path, nil)
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, http.StatusForbidden, ask("POST", "/kill?node=node-1", ""))
	require.Equal(t, http.StatusForbidden, ask("POST", "/kill?node=node-1", c.token+"x"))
	require.Equal(t, http.StatusForbidden, ask("GET", "/members", ""))
	require.Equal(t, http.StatusMethodNotAllowed, ask("GET", "/kill?node=node-1", c.token))
	require.Equal(t, http.StatusNotFound, ask("POST", "/quit", c.token))
	require.Empty(t, verbs, "nothing came through")
	require.Equal(t, http.StatusOK, ask("POST", "/kill?node=node-1", c.token))
	require.Equal(t, http.StatusConflict, ask("POST", "/drain?node=node-1", c.token))
	require.Equal(t, []string{"kill node-1", "drain node-1"}, verbs)
}

func TestControlOfParentPassesOrdersOn(t *testing.T) {
	h, err := controlOfParent()
	require.NoError(t, err)
	require.Nil(t, h, "this process has no such parent")

	c, err := newControl()
	require.NoError(t, err)
	obeying(t, c, func(o order) orderResult {
		return orderResult{members: []devMember{{Name: o.verb + o.name}}}
	})
	t.Setenv(controlURLEnv, c.url)
	t.Setenv(controlTokenEnv, c.token)
	h, err = controlOfParent()
	require.NoError(t, err)
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		var answer struct{ Members []devMember }
		_ = json.Unmarshal(w.Body.Bytes(), &answer) // of a refusal nothing is read
		if len(answer.Members) == 0 {
			return w.Code, ""
		}
		return w.Code, answer.Members[0].Name
	}
	code, did := ask("POST", "/admin/dev/pause?node=node-2")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "pausenode-2", did)
	code, _ = ask("GET", "/admin/dev/pause?node=node-2")
	require.Equal(t, http.StatusMethodNotAllowed, code)
	code, _ = ask("POST", "/admin/dev/members")
	require.Equal(t, http.StatusMethodNotAllowed, code)
	c.close()
	code, _ = ask("GET", "/admin/dev/members")
	require.Equal(t, http.StatusBadGateway, code)

	for _, bad := range []string{"http://example.com:1", "127.0.0.1:1", "://"} {
		t.Setenv(controlURLEnv, bad)
		_, err = controlOfParent()
		require.ErrorContains(t, err, controlURLEnv, bad)
	}
}

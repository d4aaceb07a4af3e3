package admin

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/member"
)

func TestReady(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(f *fake, c *Config){
		"":               func(*fake, *Config) {},
		"leaving":        func(f *fake, _ *Config) { f.state = member.StateLeaving },
		"no cluster yet": func(f *fake, _ *Config) { f.state = member.StateJoining },
		"joining": func(f *fake, c *Config) { // and has joined by the next look
			f.state, c.Waiting = member.StateJoining, func() string { return "" }
		},
		"the majority of the cluster cannot be reached": func(f *fake, _ *Config) { f.minority = true },
		"the clock is 3s ahead":                         func(f *fake, _ *Config) { f.unfit = []string{"the clock is 3s ahead"} },
		"no node is ready":                              func(f *fake, _ *Config) { f.see(t, router("gate")) },
		"the application does not answer":               func(f *fake, _ *Config) { f.appDown = true },
		"12 partitions are cold":                        func(f *fake, _ *Config) { f.cold = 12 },
		"3 keys lack a copy that can be made":           func(f *fake, _ *Config) { f.due = 3 },
	} {
		f := newFake(t)
		c := f.config()
		change(f, &c)
		w := ask(New(c), "GET", "/readyz")
		if want == "" {
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "{\n  \"status\": \"ready\"\n}\n", w.Body.String())
			continue
		}
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, fmt.Sprintf("{\n  \"status\": \"not ready\",\n  \"why\": [\n    %q\n  ]\n}\n", want), w.Body.String())
	}
	f := newFake(t)
	f.cold, f.due = 1, 1
	require.Equal(t, http.StatusOK, ask(New(f.router()), "GET", "/readyz").Code, "a router holds nothing")
}

// Another's death makes no survivor unready: copies are missing at all of them.
func TestOnceReadyANodeIsReadyWhileItServes(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	e := New(f.config())
	code := func() int { return ask(e, "GET", "/readyz").Code }
	f.due = 3
	require.Equal(t, http.StatusServiceUnavailable, code(), "it has just started")
	f.due = 0
	require.Equal(t, http.StatusOK, code())
	f.cold, f.due = 12, 3
	require.Equal(t, http.StatusOK, code())
	f.minority = true
	require.Equal(t, http.StatusServiceUnavailable, code(), "it does not serve")
	f.minority, f.state = false, member.StateLeaving
	require.Equal(t, http.StatusServiceUnavailable, code())
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.drainLines = []drain.Status{{Partitions: 4, Unsynced: 30}, {Partitions: 4, Unsynced: 30}, {Partitions: 1, Unsynced: 2}, {}}
		w := ask(New(f.config()), "POST", "/admin/drain")
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Equal(t, "application/jsonl", w.Header().Get("Content-Type"))
		require.Equal(t, `{"partitions":4,"unsynced":30}`+"\n"+`{"partitions":1,"unsynced":2}`+"\n"+`{"partitions":0,"unsynced":0}`+"\n"+`{"done":true,"unsynced":0}`+"\n", w.Body.String())
		require.True(t, f.stopped)

		f = newFake(t)
		f.drainErr = errors.New("nobody; the node stays")
		w = ask(New(f.config()), "POST", "/admin/drain")
		require.Equal(t, `{"error":"nobody; the node stays","unsynced":8}`+"\n", w.Body.String())
		require.False(t, f.stopped, "it is not at an end")
	})
}

func TestDrainIsRefused(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := ask(New(f.router()), "POST", "/admin/drain?force=1")
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "problems/nothing-to-drain")
	f.see(t, up("ada"), up("bob"))
	e := New(f.config())
	w = ask(e, "POST", "/admin/drain")
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "1 nodes would remain for 2 copies of each session")
	require.Zero(t, f.drained)
	require.Equal(t, http.StatusAccepted, ask(e, "POST", "/admin/drain?force=1").Code)
	f.state = member.StateLeaving
	require.Equal(t, http.StatusAccepted, ask(e, "POST", "/admin/drain").Code, "joins the drain under way")
}

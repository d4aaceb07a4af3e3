package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
)

func TestEnter(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	fresh := visitor{Code: code{Digits: "012345", To: "alice@example.org", Until: now.Add(codeLife)}}
	guessed := fresh
	guessed.Code.Tries = codeTries
	for name, c := range map[string]struct {
		v      visitor
		digits string
		at     time.Time
		want   error
	}{
		"right":         {fresh, "012345", now, nil},
		"last moment":   {fresh, "012345", now.Add(codeLife), nil},
		"late":          {fresh, "012345", now.Add(codeLife + 1), errNoCode},
		"wrong":         {fresh, "012346", now, errWrongCode},
		"short":         {fresh, "01234", now, errWrongCode},
		"nothing":       {fresh, "", now, errWrongCode},
		"no code":       {visitor{}, "", now, errNoCode},
		"too many":      {guessed, "012345", now, errTooOften},
		"logged in, no": {visitor{User: "bob@example.org"}, "", now, errNoCode},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.v
			require.Equal(t, c.want, c.v.enter(c.digits, c.at))
			if c.want == nil {
				require.Equal(t, "alice@example.org", c.v.User)
				require.True(t, c.v.loggedIn(c.v.Proof))
				require.False(t, c.v.loggedIn(""))
				require.Zero(t, c.v.Code, "a code is good for one login")
				return
			}
			require.Equal(t, before.User, c.v.User)
			tries := before.Code.Tries
			if c.want == errWrongCode {
				tries++
			}
			require.Equal(t, tries, c.v.Code.Tries)
		})
	}
}

func TestNobodyIsNotLoggedIn(t *testing.T) {
	require.False(t, (&visitor{}).loggedIn(""), "no user, no proof")
}

func TestVisitsAreBounded(t *testing.T) {
	var v visitor
	for i := range mostVisits + 3 {
		before := v.Visits
		v.visited(time.Unix(int64(i), 0), "node-1")
		if i > 0 {
			require.Equal(t, time.Unix(int64(i-1), 0), before[0].At, "the list of earlier readers has changed")
		}
	}
	require.Len(t, v.Visits, mostVisits)
	require.Equal(t, time.Unix(mostVisits+2, 0), v.Visits[0].At)
}

func TestTrail(t *testing.T) {
	for cookie, want := range map[string]trail{
		"":                              nil,
		"code@node-1":                   {{"code", "node-1"}},
		"code@node-1~login@node-2":      {{"code", "node-1"}, {"login", "node-2"}},
		"code@node-1~dance@node-1~~@~x": {{"code", "node-1"}},
		"code@<b>~code@node-12":         nil,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: trailCookie, Value: cookie})
		require.Equal(t, want, trailOf(r), cookie)
	}
	var long trail
	for range mostSteps + 2 {
		long = long.add(httptest.NewRecorder(), "home", "node-1")
	}
	require.Len(t, long, mostSteps)
	require.Empty(t, long.Moved())
	require.Equal(t, "node-1", long.add(httptest.NewRecorder(), "code", "node-2").Moved())
	require.Empty(t, long.last("code"))
}

func TestReadAddress(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.org": "alice@example.org", " Alice@Example.ORG ": "alice@example.org",
	} {
		got, err := readAddress(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "alice", "{alice}@example.org", "a@b\r\nc", strings.Repeat("a", longestEmail) + "@example.org"} {
		_, err := readAddress(text)
		require.Error(t, err, text)
	}
}

// TestOwnIsBounded: even the memory that is there to fail must not eat the
// machine.
func TestOwnIsBounded(t *testing.T) {
	o := &own{visitors: map[string]visitor{}}
	for i := range 3 * mostVisitors {
		require.NoError(t, o.change(t.Context(), time.Unix(int64(i), 0).String(), func(*visitor) error { return nil }))
		require.LessOrEqual(t, len(o.visitors), mostVisitors)
	}
}

// TestHeldChangesOneAtATime has a second change come in the midst of the first.
func TestHeldChangesOneAtATime(t *testing.T) {
	var config node.Config
	for _, address := range []*string{&config.HTTP, &config.Admin, &config.Peer, &config.Gossip} {
		*address = "127.0.0.1:0"
	}
	config.Name = "alone"
	n, err := node.Start(t.Context(), config)
	require.NoError(t, err)
	defer n.Shutdown(context.Background())
	h := held{n.Sessions()}

	guess := func(v *visitor) error { v.Code.Tries++; return nil }
	for range 2 { // the session is new, then it was deleted
		rounds := 0
		require.NoError(t, h.change(t.Context(), "visitor", func(v *visitor) error {
			if rounds++; rounds == 1 {
				require.NoError(t, h.change(t.Context(), "visitor", guess))
			}
			return guess(v)
		}))
		require.Equal(t, 2, rounds)
		v, err := h.load(t.Context(), "visitor")
		require.NoError(t, err)
		require.Equal(t, 2, v.Code.Tries)
		require.NoError(t, h.forget(t.Context(), "visitor"))
	}
	require.NoError(t, h.change(t.Context(), "visitor", guess))
	require.ErrorIs(t, h.change(t.Context(), "visitor", func(v *visitor) error {
		require.NoError(t, h.forget(t.Context(), "visitor"))
		return context.Canceled // gives up
	}), context.Canceled)
	v, err := h.load(t.Context(), "visitor")
	require.NoError(t, err)
	require.Zero(t, v, "a change that was given up is not saved")
}

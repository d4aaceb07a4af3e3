package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/require"

	holdfastscs "github.com/seed-95a32959/holdfast/adapters/scs"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

var (
	_ scs.Store            = (*holdfastscs.Store)(nil)
	_ scs.CtxStore         = (*holdfastscs.Store)(nil)
	_ scs.IterableStore    = (*holdfastscs.Store)(nil)
	_ scs.IterableCtxStore = (*holdfastscs.Store)(nil)
)

func scsApp(p pause) func(*node.Sessions) http.Handler {
	return func(sessions *node.Sessions) http.Handler {
		manager := scs.New()
		manager.Store = holdfastscs.New(sessions)
		mux := http.NewServeMux()
		mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
			if err := manager.RenewToken(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			manager.Put(r.Context(), "user", "alice")
		})
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if manager.GetString(r.Context(), "user") != "alice" {
				http.Error(w, "nobody", http.StatusUnauthorized)
			}
		})
		mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
			manager.Put(r.Context(), "seen", time.Now().UnixNano())
			p.wait()
		})
		mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
			if err := manager.Destroy(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
		return manager.LoadAndSave(mux)
	}
}

func TestSCS(t *testing.T) {
	p := newPause()
	story(t, start(t, scsApp(p)), p)
}

func TestSCSStore(t *testing.T) {
	c := start(t, func(*node.Sessions) http.Handler { return http.NotFoundHandler() })
	stores := make([]*holdfastscs.Store, 0, 3)
	for _, m := range c.nodes {
		stores = append(stores, holdfastscs.New(m.Sessions()))
	}
	ctx := t.Context()

	all, err := stores[0].AllCtx(ctx)
	require.NoError(t, err)
	require.NotNil(t, all)
	require.Empty(t, all)

	want := make(map[string][]byte)
	for i := range 20 {
		token, data := fmt.Sprint("token-", i), []byte(fmt.Sprint("\x00data-", i))
		require.NoError(t, stores[i%3].CommitCtx(ctx, token, []byte("first"), time.Now().Add(time.Hour)))
		require.NoError(t, stores[(i+1)%3].CommitCtx(ctx, token, data, time.Now().Add(time.Minute)))
		want[token] = data
	}
	other := holdfastscs.New(c.any().Sessions(), holdfastscs.WithPrefix("other:"))
	require.NoError(t, other.Commit("token-0", []byte("another program's"), time.Now().Add(time.Hour)))
	for _, s := range stores {
		all, err = s.All()
		require.NoError(t, err)
		require.Equal(t, want, all)
		data, found, err := s.Find("token-7")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, want["token-7"], data)
	}
	for _, unknown := range []string{"", "never", strings.Repeat("x", 600)} {
		_, found, err := stores[0].Find(unknown)
		require.NoError(t, err)
		require.False(t, found)
		if unknown != "never" {
			require.NoError(t, stores[0].Delete(unknown))
		}
	}

	require.NoError(t, stores[0].Delete("token-7"))
	require.NoError(t, stores[1].Delete("token-7"))
	_, found, err := stores[2].Find("token-7")
	require.NoError(t, err)
	require.False(t, found)
	require.ErrorIs(t, stores[1].Commit("token-7", []byte("late"), time.Now().Add(time.Hour)), session.ErrDeleted)

	require.NoError(t, stores[0].Commit("token-8", []byte("over"), time.Now().Add(-time.Second)))
	_, found, err = stores[1].Find("token-8")
	require.NoError(t, err)
	require.False(t, found)

	dead, cancel := context.WithCancel(ctx)
	cancel()
	for i, s := range stores {
		err := s.CommitCtx(dead, fmt.Sprint("dead-", i), []byte("x"), time.Now().Add(time.Hour))
		if err != nil { // a token that is owned here is written without waiting for anything
			require.NotErrorIs(t, err, session.ErrDeleted)
		}
	}
}

// The end that scs gives a session is its end, to the moment, at its owner and
// at the copy that takes over.
func TestSCSExpiryIsExact(t *testing.T) {
	c := start(t, func(*node.Sessions) http.Handler { return http.NotFoundHandler() })
	store := holdfastscs.New(c.any().Sessions())
	// It may be moved both ways.
	for _, lifetime := range []time.Duration{2 * time.Hour, 30 * time.Minute} {
		end := time.Now().Add(lifetime)
		require.NoError(t, store.Commit("token", []byte("x"), end))
		rec, err := c.any().Sessions().Get(t.Context(), "scs:token")
		require.NoError(t, err)
		e := rec.Expiry()
		require.Zero(t, e.Idle, "nothing slides it")
		require.Equal(t, e.Deadline, e.At)
		require.InDelta(t, end.UnixMilli(), e.At, 1000)
	}
}

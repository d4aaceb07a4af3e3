package conformance

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/require"

	holdfastgorilla "github.com/seed-95a32959/holdfast/adapters/gorilla"
	"github.com/seed-95a32959/holdfast/node"
)

var _ sessions.Store = (*holdfastgorilla.Store)(nil)

var gorillaKeys = [][]byte{[]byte("thirty-two bytes, the same on all")}

func gorillaApp(p pause) func(*node.Sessions) http.Handler {
	return func(cluster *node.Sessions) http.Handler {
		store := holdfastgorilla.New(cluster, gorillaKeys)
		mux := http.NewServeMux()
		handle := func(path string, save bool, change func(r *http.Request, s *sessions.Session) error) {
			mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
				s, err := store.Get(r, "login")
				if err == nil {
					err = change(r, s)
				}
				if err == nil && save {
					err = s.Save(r, w)
				}
				switch {
				case err != nil:
					http.Error(w, err.Error(), http.StatusInternalServerError)
				case !save && s.Values["user"] != "alice":
					http.Error(w, "nobody", http.StatusUnauthorized)
				}
			})
		}
		handle("/login", true, func(r *http.Request, s *sessions.Session) error {
			s.Values["user"] = "alice"
			return store.Renew(r, s)
		})
		handle("/slow", true, func(_ *http.Request, s *sessions.Session) error {
			s.Values["seen"] = true
			p.wait()
			return nil
		})
		handle("/logout", true, func(_ *http.Request, s *sessions.Session) error { s.Options.MaxAge = -1; return nil })
		handle("/", false, func(*http.Request, *sessions.Session) error { return nil })
		return mux
	}
}

func TestGorilla(t *testing.T) {
	p := newPause()
	story(t, start(t, gorillaApp(p)), p)
}

func TestGorillaStore(t *testing.T) {
	c := start(t, func(*node.Sessions) http.Handler { return http.NotFoundHandler() })
	store := holdfastgorilla.New(c.any().Sessions(), gorillaKeys)
	save := func(cookie *http.Cookie, change func(*sessions.Session)) *http.Cookie {
		t.Helper()
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		if cookie != nil {
			r.AddCookie(cookie)
		}
		s, err := store.New(r, "login")
		require.NoError(t, err)
		change(s)
		require.NoError(t, store.Save(r, w, s))
		return w.Result().Cookies()[0]
	}
	cookie := save(nil, func(s *sessions.Session) {
		require.True(t, s.IsNew)
		s.Values["n"] = 1
		s.Options.MaxAge = 0
	})
	require.True(t, cookie.HttpOnly)
	old := cookie
	cookie = save(cookie, func(s *sessions.Session) {
		require.False(t, s.IsNew)
		require.Equal(t, 1, s.Values["n"])
		require.NoError(t, store.Renew(httptest.NewRequest("GET", "/", nil), s))
	})
	save(cookie, func(s *sessions.Session) { require.Equal(t, 1, s.Values["n"], "a renewed session keeps its values") })
	save(old, func(s *sessions.Session) { require.True(t, s.IsNew, "the id from before is worth nothing") })

	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "login", Value: cookie.Value[1:]})
	s, err := store.New(r, "login")
	require.Error(t, err, "nobody here has signed this")
	require.NotNil(t, s)
	require.True(t, s.IsNew)

	r = httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "other", Value: cookie.Value})
	_, err = store.New(r, "other")
	require.Error(t, err, "a cookie is good for one name")
}

package clients

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/boj/redistore"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/gorilla/sessions"
	rbcervilla "github.com/rbcervilla/redisstore/v9"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func scsGoRedis(t *trial) {
	c := redis.NewClient(&redis.Options{Addr: t.Address(0)})
	defer c.Close()
	m := scs.New()
	m.Store = goredisstore.New(c)
	throughKill(t, scsApplication(m), "scs:session:")
}

func scsRedigo(t *trial) {
	pool := &redigo.Pool{Dial: func() (redigo.Conn, error) { return redigo.Dial("tcp", t.Address(0)) }}
	defer pool.Close()
	m := scs.New()
	m.Store = redisstore.New(pool)
	throughKill(t, scsApplication(m), "scs:session:")
}

func scsApplication(m *scs.SessionManager) http.Handler {
	return m.LoadAndSave(application(func(w http.ResponseWriter, r *http.Request) (string, error) {
		switch r.URL.Path {
		case "/login":
			if err := m.RenewToken(r.Context()); err != nil {
				return "", err
			}
			m.Put(r.Context(), "user", "alice")
		case "/logout":
			return "", m.Destroy(r.Context())
		case "/touch":
			m.Put(r.Context(), "touched", true)
		}
		return m.GetString(r.Context(), "user"), nil
	}))
}

// gorillaGoRedis has a ClusterClient below it.
func gorillaGoRedis(t *trial) {
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: t.Addresses()})
	defer c.Close()
	store, err := rbcervilla.NewRedisStore(t.ctx, c)
	require.NoError(t, err)
	stop := others(t, c)
	defer stop()
	throughKill(t, gorillaApplication(store), "session:")
}

func gorillaRedigo(t *trial) {
	store, err := redistore.NewRediStore(4, "tcp", t.Address(0), "", "", []byte("a secret of these tests, 32 bytes"))
	require.NoError(t, err)
	defer store.Close()
	throughKill(t, gorillaApplication(store), "session_")
}

func gorillaApplication(store sessions.Store) http.Handler {
	return application(func(w http.ResponseWriter, r *http.Request) (string, error) {
		s, err := store.Get(r, "web")
		if err != nil {
			return "", err
		}
		switch r.URL.Path {
		case "/login":
			s.Values["user"] = "alice"
		case "/touch":
			s.Values["touched"] = true
		case "/logout":
			s.Options.MaxAge = -1
			delete(s.Values, "user")
		}
		if r.URL.Path != "/" {
			err = s.Save(r, w)
		}
		user, _ := s.Values["user"].(string)
		return user, err
	})
}

// application answers with the user who is logged in.
func application(serve func(w http.ResponseWriter, r *http.Request) (user string, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context() // in which gorilla keeps what it was answered
		user, err := serve(w, r)
		for unsent(err) && ctx.Err() == nil { // once more, as a user would
			user, err = serve(w, r.WithContext(ctx))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, user) // the browser of these tests is there
	})
}

// browser keeps cookies.
type browser struct {
	t    *trial
	base string
	http http.Client
}

// get returns the user of a page.
func (b *browser) get(path string) string {
	b.t.Helper()
	res, err := b.http.Get(b.base + path)
	require.NoError(b.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, res.StatusCode, string(body))
	return string(body)
}

// throughKill logs in to an application whose sessions have a prefix, kills the
// owner of the session and goes on, and logs out for good. The application
// talks to node 0, so it logs in until another one owns the session.
func throughKill(t *trial, app http.Handler, prefix string) {
	server := httptest.NewServer(app)
	defer server.Close()
	var b *browser
	var key string
	for owner := 0; owner == 0; {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		b = &browser{t: t, base: server.URL, http: http.Client{Jar: jar}}
		before := keysWith(t, prefix)
		require.Equal(t, "alice", b.get("/login"))
		for k := range keysWith(t, prefix) {
			if !before[k] {
				key = k
			}
		}
		require.NotEmpty(t, key)
		owner, err = t.Owner(t.ctx, key)
		require.NoError(t, err)
	}
	require.Equal(t, "alice", b.get("/"))
	require.Equal(t, "alice", b.get("/touch"))
	cookies := b.cookies()
	t.killOwner(key)
	require.Equal(t, "alice", b.get("/"))
	require.Equal(t, "alice", b.get("/touch"))
	require.Equal(t, "", b.get("/logout"))
	require.Equal(t, "", b.get("/"))
	require.NoError(t, t.Restore(t.ctx))
	b.restore(cookies)
	require.Equal(t, "", b.get("/"), "the cookie of a session that was ended")
	t.did("log in, touch, owner killed, still logged in, touch, log out, owner back, stays out")
}

func (b *browser) cookies() []*http.Cookie {
	r, err := http.NewRequest(http.MethodGet, b.base, nil)
	require.NoError(b.t, err)
	return b.http.Jar.Cookies(r.URL)
}

// restore is what a thief of cookies does.
func (b *browser) restore(cookies []*http.Cookie) {
	r, err := http.NewRequest(http.MethodGet, b.base, nil)
	require.NoError(b.t, err)
	b.http.Jar.SetCookies(r.URL, cookies)
}

// keysWith lists the keys that begin with a prefix.
func keysWith(t *trial, prefix string) map[string]bool {
	c := redis.NewClient(&redis.Options{Addr: t.Address(0)})
	defer c.Close()
	list, err := c.Keys(t.ctx, prefix+"*").Result()
	require.NoError(t, err)
	keys := make(map[string]bool)
	for _, key := range list {
		if strings.HasPrefix(key, prefix) {
			keys[key] = true
		}
	}
	return keys
}

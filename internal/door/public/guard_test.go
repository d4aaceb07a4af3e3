package public

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// guarded is an endpoint that answers in the test.
func guarded(t *testing.T) (f *fake, ask func(method, path, host string, headers ...string) *httptest.ResponseRecorder) {
	f = newFake(t, "ada")
	f.cfg.Hosts = []string{"shop.example", "10.0.0.1:8080", "ada.internal", "ada"}
	handler := f.endpoint(t).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return f, func(method, path, host string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Host, r.RemoteAddr = host, "127.0.0.1:50000"
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
			if headers[i] == "Peer" {
				r.RemoteAddr = headers[i+1]
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
}

// As at the operator's endpoint, but what the application's visitors ask for is
// the application's matter.
func TestSessionAPIIsClosedToStrangePages(t *testing.T) {
	t.Parallel()
	f, ask := guarded(t)
	for _, host := range []string{"localhost:8080", "127.0.0.1:8080", "10.0.0.1:8080", "192.168.7.7", "ada:8080", "ada.internal:8080", "shop.example"} {
		require.Equal(t, http.StatusCreated, ask("POST", "/v1/sessions", host).Code, host)
		require.Equal(t, http.StatusCreated, ask("POST", "/v1/sessions", host, "Origin", "http://"+host).Code, host)
	}
	for _, host := range []string{"evil.example", "x", ""} {
		for _, path := range []string{"/v1/sessions/a", "/v1/sessions", "/v1", "/%761/sessions/a"} {
			w := ask("DELETE", path, host)
			require.Equal(t, http.StatusForbidden, w.Code, path)
			require.Contains(t, w.Body.String(), "problems/host-not-allowed")
			require.Contains(t, w.Body.String(), "accepted are localhost, ada, ada.internal, shop.example, IP addresses")
		}
		if host != "" {
			require.Equal(t, http.StatusOK, ask("GET", "/cart", host).Code, "the application is for any name")
		}
	}
	require.Equal(t, http.StatusCreated, ask("POST", "/v1/sessions", "anything", "Peer", "@").Code, "on a Unix socket the Host says nothing")
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		require.Equal(t, http.StatusForbidden, ask("POST", "/v1/sessions", "127.0.0.1:8080", headers...).Code, "%v", headers)
		require.Equal(t, http.StatusOK, ask("POST", "/buy", "127.0.0.1:8080", headers...).Code, "%v", headers)
		w := ask("GET", "/v1/sessions/none", "127.0.0.1:8080", headers...)
		require.Equal(t, http.StatusNotFound, w.Code, "a page cannot read the answer")
		require.Equal(t, "same-origin", w.Header().Get("Cross-Origin-Resource-Policy"), "nor load it")
	}
	counted := f.cfg.Counters.Values()
	require.EqualValues(t, 12, counted["refused_hosts"])
	require.EqualValues(t, 3, counted["refused_sites"])
}

// A browser adds its cookie to whatever a page asks for. With it, no matter who
// has signed it, a visitor ends no session but their own.
func TestCookieIsNoRightToSessionsOfOthers(t *testing.T) {
	t.Parallel()
	f, ask := guarded(t)
	const host = "127.0.0.1:8080"
	mine := f.cfg.Finder.CookieFor("me")
	forged := "holdfast=bob.AAAAAAAAAAAAAAAAAAAAAA"
	calls := []struct{ method, suffix string }{{"DELETE", ""}, {"PUT", ""}, {"PATCH", ""}, {"POST", "/touch"}, {"POST", "/rotate"}}
	for _, id := range []string{"alice", "%7Balice%7D:laptop", "me%2F..", "me.", "%7Bbob%7D:me"} {
		for _, call := range calls {
			for _, cookie := range []string{mine.String(), forged + "; " + mine.String(), mine.String() + "; " + forged} {
				w := ask(call.method, "/v1/sessions/"+id+call.suffix, host, "Cookie", cookie)
				require.Equal(t, http.StatusForbidden, w.Code, "%s %s", call.method, id)
				require.Contains(t, w.Body.String(), "problems/not-yours")
			}
		}
	}
	require.Equal(t, http.StatusForbidden, ask("DELETE", "/v1/users/alice/sessions", host, "Cookie", mine.String()).Code)
	require.Equal(t, http.StatusForbidden, ask("DELETE", "/v1/sessions/alice", host, "Cookie", "__Host-"+mine.String()).Code, "of a site behind TLS")
	require.Positive(t, f.cfg.Counters.Values()["refused_visitors"])

	for _, id := range []string{"me", "%7Bme%7D:laptop"} {
		require.Equal(t, http.StatusNoContent, ask("DELETE", "/v1/sessions/"+id, host, "Cookie", mine.String()).Code, "one's own")
	}
	require.Equal(t, http.StatusNoContent, ask("DELETE", "/v1/users/me/sessions", host, "Cookie", mine.String()).Code)
	require.Equal(t, http.StatusCreated, ask("POST", "/v1/sessions", host, "Cookie", mine.String()).Code, "nobody's yet")
	require.Equal(t, http.StatusNotFound, ask("GET", "/v1/sessions/alice", host, "Cookie", mine.String()).Code)
	require.Equal(t, http.StatusNoContent, ask("DELETE", "/v1/sessions/alice", host).Code, "a program")
	require.Equal(t, http.StatusNoContent, ask("DELETE", "/v1/sessions/bob", host, "Cookie", "theme=dark").Code)
}

// Who comes with a visitor's cookie, no matter who has signed it, is not told
// where a rotation has moved a session, their own neither: the cookie may be
// the one that was stolen, or planted, before the login.
func TestVisitorIsNotToldTheNewID(t *testing.T) {
	t.Parallel()
	f, ask := guarded(t)
	const host = "127.0.0.1:8080"
	_, err := f.store.Do(&session.Op{Kind: session.Put, Key: "me"})
	require.NoError(t, err)
	w := ask("POST", "/v1/sessions/me/rotate", host)
	require.Equal(t, http.StatusCreated, w.Code)
	is := w.Header().Get("Location")
	mine := f.cfg.Finder.CookieFor("me").String()
	for _, cookie := range []string{mine, "theme=dark; " + mine, "__Host-" + mine, "holdfast=me.AAAAAAAAAAAAAAAAAAAAAA"} {
		for _, call := range []struct {
			method, suffix string
			code           int
		}{{"GET", "", 410}, {"POST", "/rotate", 410}, {"POST", "/touch", 410}, {"DELETE", "", 204}} {
			w := ask(call.method, "/v1/sessions/me"+call.suffix, host, "Cookie", cookie)
			require.Equal(t, call.code, w.Code, "%s %s", call.method, cookie)
			require.Empty(t, w.Header().Get("Location"))
			require.Empty(t, w.Header().Get("Link"))
			require.NotContains(t, w.Body.String(), "rotated")
		}
	}
	require.Equal(t, is, ask("GET", "/v1/sessions/me", host, "Cookie", "theme=dark").Header().Get("Location"), "a program")
}

package router_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/router"
)

// A page of a strange site reaches the session API neither by a name that was
// made to resolve to the router, nor by a request across sites. The application
// gets whatever comes.
func TestSessionAPIIsClosedToStrangePages(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		m := start(t, "a", nil)
		guard := hostcheck.New("http-host", "shop.example")
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Guard: guard})
		send := func(method, path, host string, headers ...string) (*http.Response, string) {
			t.Helper()
			var body strings.Builder
			r, err := http.NewRequest(method, f.url+path, nil)
			require.NoError(t, err)
			r.Host = host
			for i := 0; i+1 < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			resp, err := f.client.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.NoError(t, resp.Write(&body))
			return resp, body.String()
		}
		paths := []string{"/v1/sessions/alice", "/v1/users/alice/sessions", "/v1/sessions", "/v1/sessions/alice/rotate", "/v1/"}
		for _, path := range paths {
			for _, host := range []string{"evil.example", "evil.example:8080", "x"} {
				resp, body := send("GET", path, host)
				require.Equal(t, http.StatusForbidden, resp.StatusCode, path)
				require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
				require.Contains(t, body, "problems/host-not-allowed")
				require.Contains(t, body, "-http-host")
			}
			for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
				resp, body := send("POST", path, "shop.example", headers...)
				require.Equal(t, http.StatusForbidden, resp.StatusCode, path)
				require.Contains(t, body, "problems/cross-site")
			}
		}
		require.Empty(t, m.requests(), "nothing of these has reached a member")
		hosts, sites := guard.Refused()
		require.EqualValues(t, 3*len(paths), hosts)
		require.EqualValues(t, 4*len(paths), sites)

		for _, host := range []string{"shop.example", "shop.example:443", "localhost:8080", "127.0.0.1", "10.0.0.1:80", "[::1]:80"} {
			resp, _ := send("PUT", "/v1/sessions/alice", host, "Origin", "http://"+host)
			require.Equal(t, http.StatusOK, resp.StatusCode, host)
			requests := m.requests()
			last := requests[len(requests)-1]
			require.Equal(t, m.target.HTTP, last.host, "a name that the member goes by")
			require.Empty(t, last.header.Get("Origin"))
			require.Equal(t, host, last.header.Get("X-Forwarded-Host"))
		}
		mine := (&router.Finder{Secrets: [][]byte{secret}}).CookieFor("me").String()
		before := len(m.requests())
		for _, path := range []string{"/v1/sessions/alice", "/v1/users/alice/sessions", "/v1/sessions/%7Balice%7D:me"} {
			resp, body := send("DELETE", path, "localhost", "Cookie", "theme=dark; "+mine)
			require.Equal(t, http.StatusForbidden, resp.StatusCode, "a visitor's cookie is no right to what is another's")
			require.Contains(t, body, "problems/not-yours")
		}
		require.Len(t, m.requests(), before)
		require.EqualValues(t, 3, f.Stats().Visitors)
		for _, path := range []string{"/v1/sessions/me", "/v1/users/me/sessions", "/v1/sessions/%7Bme%7D:laptop"} {
			resp, _ := send("DELETE", path, "localhost", "Cookie", mine)
			require.Equal(t, http.StatusOK, resp.StatusCode)
		}
		resp, _ := send("DELETE", "/v1/sessions/alice", "localhost")
		require.Equal(t, http.StatusOK, resp.StatusCode, "a program")
		for _, host := range []string{"evil.example", "anything"} {
			resp, _ := send("POST", "/cart", host, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
			require.Equal(t, http.StatusOK, resp.StatusCode, "the application decides for itself")
			requests := m.requests()
			last := requests[len(requests)-1]
			require.Equal(t, host, last.host)
			require.Equal(t, "https://evil.example", last.header.Get("Origin"))
		}
	})
}

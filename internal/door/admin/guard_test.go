package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// A page in a browser on this host must not reach the endpoint: not by a name
// that was made to resolve to it, and not from another site.
func TestClosedToWebPages(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	e := New(f.config())
	serve := func(method, host string, headers ...string) *httptest.ResponseRecorder {
		path := "/healthz"
		switch {
		case method == "POST":
			path = "/admin/drain"
		case method != "GET": // "PATH as GET"
			method, path = "GET", method
		}
		return ask(e, method, path, append(headers, "Host", host)...)
	}
	for _, host := range []string{"127.0.0.1:8081", "127.0.0.1", "localhost", "localhost:8081", "[::1]:8081", "[::1]", "10.1.2.3:8081", "ops.example", "ops.example:8081", "proxy.example", "Proxy.example:443", "ada:8081"} {
		require.Equal(t, http.StatusOK, serve("GET", host).Code, host)
	}
	for _, host := range []string{"evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example:8081", "", ":8081"} {
		w := serve("GET", host)
		require.Equal(t, http.StatusForbidden, w.Code, host)
		require.Contains(t, w.Body.String(), "accepted are localhost", host)
	}
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"},
	} {
		require.Equal(t, http.StatusForbidden, serve("POST", "127.0.0.1:8081", headers...).Code, "%v", headers)
		require.Zero(t, f.drained, "nothing was drained")
		for _, path := range []string{"/healthz", "/", "/admin/cluster", "/debug/pprof/", "/debug/pprof/profile?seconds=1", "/debug/pprof/cmdline"} {
			w := serve(path, "127.0.0.1:8081", headers...)
			require.Equal(t, http.StatusForbidden, w.Code, "%s %v", path, headers)
			require.Contains(t, w.Body.String(), "problems/cross-site")
		}
	}
	require.Equal(t, http.StatusOK, serve("/", "127.0.0.1:8081", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document").Code, "a link may lead to the dashboard")
	require.Equal(t, http.StatusForbidden, serve("/admin/stats", "127.0.0.1:8081", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "document").Code)
	require.Equal(t, http.StatusForbidden, serve("/", "127.0.0.1:8081", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "iframe").Code)
	for _, site := range []string{"same-origin", "none", ""} {
		require.Equal(t, http.StatusOK, serve("/debug/pprof/cmdline", "127.0.0.1:8081", "Sec-Fetch-Site", site).Code, site)
	}
	hosts, sites := e.guard.Refused()
	require.Positive(t, hosts)
	require.Positive(t, sites)
}

// A browser gets the page, with a policy that lets it load its own files only.
func TestDashboardComesWithItsPolicy(t *testing.T) {
	t.Parallel()
	cfg := newFake(t).config()
	cfg.Control = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "control of ", r.URL.Path) })
	e := New(cfg)
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		return ask(e, "GET", path, headers...)
	}
	page := get("/", "Accept", "text/html,*/*;q=0.8")
	require.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	require.Equal(t, policy, page.Header().Get("Content-Security-Policy"))
	require.Equal(t, "no-referrer", page.Header().Get("Referrer-Policy"))
	require.NotRegexp(t, `(?i)<style|<script>| on[a-z]+=| style=`, page.Body.String(), "the policy forbids what is inline")
	require.Contains(t, get("/", "Accept", "*/*").Body.String(), "GET  /admin/cluster", "a terminal gets text")
	for _, asset := range regexp.MustCompile(`/assets/[a-z.]+`).FindAllString(page.Body.String(), -1) {
		w := get(asset)
		require.Equal(t, http.StatusOK, w.Code, asset)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, http.StatusNotModified, get(asset, "If-None-Match", w.Header().Get("Etag")).Code, asset)
	}
	require.Equal(t, "control of /admin/dev/kill", get("/admin/dev/kill").Body.String())
}

package router

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/http1"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]place{
		"":                              {callApp, "", ""},
		"*":                             {callApp, "", ""},
		"/":                             {callApp, "", ""},
		"/v1":                           {callApp, "", ""},
		"//v1/sessions/a":               {callApp, "", ""},
		"/v1/":                          {callKeyless, "", ""},
		"/v1/sessions":                  {callKeyless, "", ""},
		"/v1/sessions/":                 {callKeyless, "", ""},
		"/v1/sessions//touch":           {callKeyless, "", ""},
		"/v1/other/a":                   {callKeyless, "", ""},
		"/v1/users/":                    {callKeyless, "", ""},
		"/v1/sessions/a":                {callKeyed, "a", ""},
		"/v1/sessions/a/":               {callKeyed, "a", ""},
		"/v1/sessions/a/touch":          {callKeyed, "a", "touch"},
		"/v1/sessions/a/b/c":            {callKeyed, "a", "b/c"},
		"/v1/sessions/a%2Fb%2ftouch":    {callKeyed, "a/b/touch", ""},
		"/v1/sessions/%7Bcarol%7D:a":    {callKeyed, "{carol}:a", ""},
		"/v1/sessions/a+b%20c%25":       {callKeyed, "a+b c%", ""},
		"/v1/sessions/%00%ff":           {callKeyed, "\x00\xff", ""},
		"/v1/users/bob/sessions":        {callKeyed, "{bob}", "sessions"},
		"/v1/users/b%2Fo%7Db/sessions/": {callKeyed, "{b/o}b}", "sessions/"},
	} {
		got, err := parsePath(path)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{"/v1/sessions/%zz", "/v1/sessions/a%2", "/v1/users/%/sessions"} {
		_, err := parsePath(path)
		require.ErrorContains(t, err, "%XX", path)
	}
}

// Whatever a key is made of, a client that escapes it as one segment gets
// exactly that key.
func TestKeySurvivesEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := string(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "key"))
		if key == "." || key == ".." {
			t.Skip("a dot segment is resolved by clients before it is sent")
		}
		u, err := url.ParseRequestURI("/v1/sessions/" + url.PathEscape(key) + "/touch?x=1")
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsePath(escapedPath(u))
		if err != nil || got != (place{callKeyed, key, "touch"}) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestEscapedPathKeepsSegments(t *testing.T) {
	for raw, want := range map[string]string{
		"/v1/sessions/{a}:b%2Fc":   "/v1/sessions/%7Ba%7D:b%2Fc",
		"/v1/sessions/a|b":         "/v1/sessions/a%7Cb",
		"/v1/sessions/%7Ba%7D":     "/v1/sessions/%7Ba%7D",
		"/v1/sessions/a%2fb":       "/v1/sessions/a%2fb",
		"/v1/sessions/\xc3\xa9%2F": "/v1/sessions/%C3%A9%2F",
	} {
		u, err := url.ParseRequestURI(raw)
		require.NoError(t, err)
		require.Equal(t, want, escapedPath(u))
	}
	require.Equal(t, "/a", escapedPath(&url.URL{Path: "/a", RawPath: "/{b}"}), "a RawPath that belongs to another Path is ignored")
}

// What is decided about the path must hold for the path that is sent: the
// member has to read the same key.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/v1/sessions/{a}%2F", "/v1/users/%7B/x", "/v1/sessions/a;b", "//", "/v1/sessions/%", "/v1/sessions/\x7f|^`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil || !strings.HasPrefix(raw, "/") {
			return
		}
		here, err := parsePath(escapedPath(u))
		if err != nil {
			t.Fatalf("net/url took %q, parsePath refuses it: %v", raw, err)
		}
		out := *u
		out.RawPath = escapedPath(u)
		v, err := url.ParseRequestURI(out.RequestURI())
		if err != nil {
			t.Fatalf("sent %q, which cannot be read: %v", out.RequestURI(), err)
		}
		if there, err := parsePath(v.EscapedPath()); err != nil || there != here {
			t.Fatalf("%q is %+v here and %+v there (%v)", raw, here, there, err)
		}
	})
}

func TestRepeatable(t *testing.T) {
	for _, c := range []struct {
		method, path, header string
		want                 bool
	}{
		{"GET", "/", "", true},
		{"HEAD", "/", "If-None-Match", true},
		{"OPTIONS", "/", "", true},
		{"PUT", "/", "", true},
		{"DELETE", "/v1/sessions/a", "", true},
		{"PUT", "/v1/sessions/a", "If-Match", false},
		{"PUT", "/v1/sessions/a", "If-None-Match", false},
		{"DELETE", "/", "If-Unmodified-Since", false},
		{"PATCH", "/v1/sessions/a", "", true},
		{"PATCH", "/v1/sessions/a", "If-Match", false},
		{"PATCH", "/v1/sessions/a/x", "", false},
		{"PATCH", "/page", "", false},
		{"POST", "/page", "", false},
		{"POST", "/v1/sessions", "", false},
		{"POST", "/v1/sessions/a/touch", "", true},
		{"POST", "/touch", "", false},
		{"POST", "/v1/sessions/a/rotate", "", false},
		{"POST", "/v1/sessions/a%2Ftouch", "", false},
		{"LOCK", "/", "", false},
	} {
		r := &http1.Request{Method: []byte(c.method)}
		if c.header != "" {
			r.AddField([]byte(c.header), []byte("*"))
		}
		p, err := parsePath(c.path)
		require.NoError(t, err)
		require.Equal(t, c.want, repeatable(r, p), "%s %s %s", c.method, c.path, c.header)
	}
}

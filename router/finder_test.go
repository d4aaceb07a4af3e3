package router_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/alloctest"
	"github.com/seed-95a32959/holdfast/router"
)

func request(path, peer string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", path, nil)
	r.RemoteAddr = peer
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func finder(secrets ...string) *router.Finder {
	f := &router.Finder{}
	for _, s := range secrets {
		f.Secrets = append(f.Secrets, []byte(s))
	}
	return f
}

const (
	oldSecret = "an old secret of 24 byte"
	newSecret = "the new secret of 24 byt"
	local     = "127.0.0.1:9"
	remote    = "192.0.2.7:9"
)

func TestFindOrder(t *testing.T) {
	f := finder(newSecret)
	id, cookie := f.Find(request("/", remote))
	require.NotNil(t, cookie)
	pair := cookie.Name + "=" + cookie.Value

	for _, c := range []struct {
		name string
		r    *http.Request
		user string
	}{
		{"path before cookie", request("/v1/sessions/bob", local, "Cookie", pair, "X-User-ID", "alice"), "bob"},
		{"cookie before header", request("/", local, "Cookie", pair, "X-User-ID", "alice"), id},
		{"header from a trusted peer", request("/", local, "X-User-ID", " alice "), "alice"},
		{"header from IPv6 loopback", request("/", "[::1]:9", "X-User-ID", "alice"), "alice"},
		{"header from mapped loopback", request("/", "[::ffff:127.0.0.1]:9", "X-User-ID", "alice"), "alice"},
		{"header behind a forged cookie", request("/", local, "Cookie", "holdfast=x.y", "X-User-ID", "alice"), "alice"},
		{"second cookie of the name", request("/", remote, "Cookie", "holdfast=x.y; "+pair), id},
	} {
		user, set := f.Find(c.r)
		require.Equal(t, c.user, user, c.name)
		require.Nil(t, set, c.name)
	}
	for _, c := range []struct {
		name string
		r    *http.Request
	}{
		{"header from a stranger", request("/", remote, "X-User-ID", "alice")},
		{"header over a Unix socket", request("/", "@", "X-User-ID", "alice")},
		{"blank header", request("/", local, "X-User-ID", "  ")},
		{"header too long for a key", request("/", local, "X-User-ID", strings.Repeat("a", 513))},
		{"unsigned id", request("/", remote, "Cookie", "holdfast="+id)},
		{"cookie of another name", request("/", remote, "Cookie", "other="+cookie.Value)},
	} {
		user, set := f.Find(c.r)
		require.NotNil(t, set, c.name)
		require.NotContains(t, []string{"alice", id, ""}, user, c.name)
	}
}

// Two cookies that are both genuine and name two ids: an attacker has planted
// one of them, and nothing tells which. Browsers send the one of the longer
// path first, and a planted one may well have that.
func TestTwoGenuineCookiesAreNone(t *testing.T) {
	f := finder(newSecret, oldSecret)
	id, cookie := f.Find(request("/", remote))
	other, planted := f.Find(request("/", remote))
	_, old := finder(oldSecret).Find(request("/", remote))
	own, theirs, older := "holdfast="+cookie.Value, "holdfast="+planted.Value, "holdfast="+old.Value
	for _, header := range [][]string{
		{"Cookie", own + "; " + theirs}, {"Cookie", theirs + "; " + own}, {"Cookie", own + ";a=b;" + theirs + ";" + own},
		{"Cookie", own, "Cookie", theirs}, {"Cookie", own + "; " + older}, {"Cookie", older + "; " + own},
	} {
		user, set := f.Find(request("/", remote, header...))
		require.NotContains(t, []string{id, other, ""}, user)
		require.NotNil(t, set, "a new one, for the whole site")
		_, ok := f.Pinned(request("/", remote, header...))
		require.False(t, ok)
		require.False(t, f.Carries(request("/", remote, header...), id))
		user, set = f.Find(request("/", local, append(header, "X-User-ID", "alice")...))
		require.Equal(t, "alice", user, "as without a cookie")
		require.Nil(t, set)

		r := request("/", remote, header...)
		f.Replace(r, planted)
		require.True(t, f.Carries(r, other), "it has one again")
		require.Equal(t, strings.Contains(strings.Join(header, ""), "a=b"), strings.Contains(r.Header.Get("Cookie"), "a=b"))
	}
	for _, line := range []string{own + "; " + own, "holdfast=x.y; " + own, own + "; holdfast=" + id + ".AAAAAAAAAAAAAAAAAAAAAA"} {
		user, set := f.Find(request("/", remote, "Cookie", line))
		require.Equal(t, id, user, "a forged one beside it takes nothing away")
		require.Nil(t, set)
	}
}

func TestCookieAttributes(t *testing.T) {
	f := finder(newSecret)
	_, c := f.Find(request("/", remote))
	require.Regexp(t, `^holdfast=[\w-]{24}\.[\w-]{22}; Path=/; HttpOnly; SameSite=Lax$`, c.String())

	f = finder(newSecret)
	f.Secure, f.Cookie = true, "pin"
	id, c := f.Find(request("/", remote))
	require.Regexp(t, `^__Host-pin=[\w-]{24}\.[\w-]{22}; Path=/; HttpOnly; Secure; SameSite=Lax$`, c.String())
	again, _ := f.Find(request("/", remote, "Cookie", "__Host-pin="+c.Value))
	require.Equal(t, id, again)
	again, _ = f.Find(request("/", remote, "Cookie", "pin="+c.Value))
	require.NotEqual(t, id, again, "a sibling domain can set a cookie without the prefix")
}

func TestSecretRotation(t *testing.T) {
	before, during, after := finder(oldSecret), finder(newSecret, oldSecret), finder(newSecret)
	id, old := before.Find(request("/", remote))

	user, renewed := during.Find(request("/", remote, "Cookie", old.Name+"="+old.Value))
	require.Equal(t, id, user, "replacing the secret loses no user")
	require.NotNil(t, renewed, "and moves the cookie to the new secret")

	user, set := after.Find(request("/", remote, "Cookie", renewed.Name+"="+renewed.Value))
	require.Equal(t, id, user)
	require.Nil(t, set)

	user, set = after.Find(request("/", remote, "Cookie", old.Name+"="+old.Value))
	require.NotEqual(t, id, user, "a secret that was removed signs for nobody")
	require.NotNil(t, set)
}

// No change of a good cookie gives a good cookie, not even of the base64's
// stray last bits.
func TestCookieCannotBeForged(t *testing.T) {
	f := finder(newSecret)
	id, cookie := f.Find(request("/", remote))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	for i := range len(cookie.Value) {
		for _, c := range []byte(alphabet) {
			if c == cookie.Value[i] {
				continue
			}
			forged := []byte(cookie.Value)
			forged[i] = c
			user, set := f.Find(request("/", remote, "Cookie", "holdfast="+string(forged)))
			require.NotEqual(t, id, user)
			require.NotEqual(t, string(forged[:24]), user)
			require.NotNil(t, set)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[ -:<-~]{0,60}`).Draw(t, "value")
		user, set := f.Find(request("/", remote, "Cookie", "holdfast="+value))
		if set == nil || user == value {
			t.Fatalf("cookie %q was believed as %q", value, user)
		}
	})
}

func TestNewIDsAreRandom(t *testing.T) {
	f := finder(newSecret)
	f.Rand = bytes.NewReader(bytes.Repeat([]byte{0xff}, 18))
	id, _ := f.Find(request("/", remote))
	require.Equal(t, strings.Repeat("_", 24), id, "18 bytes of Rand and nothing else")
	require.Panics(t, func() { f.Find(request("/", remote)) }, "an id must never be less random than asked")

	f = finder(newSecret)
	ids := map[string]bool{}
	for range 1000 {
		id, _ := f.Find(request("/", remote))
		ids[id] = true
	}
	require.Len(t, ids, 1000)
}

func TestTrust(t *testing.T) {
	f := finder(newSecret)
	f.UserHeader = "x-remote-user"
	f.Trust = netip.MustParsePrefix("192.0.2.0/24").Contains
	user, _ := f.Find(request("/", remote, "X-Remote-User", "alice"))
	require.Equal(t, "alice", user)
	user, _ = f.Find(request("/", local, "X-Remote-User", "alice"))
	require.NotEqual(t, "alice", user, "loopback is trusted by default only")
}

func TestFindIsCheap(t *testing.T) {
	f := finder(newSecret)
	_, cookie := f.Find(request("/", remote))
	session := request("/v1/sessions/alice/touch", local)
	require.Zero(t, testing.AllocsPerRun(100, func() { f.Find(session) }))
	pinned := request("/", remote, "Cookie", "a=b; holdfast="+cookie.Value+"; c=d")
	require.LessOrEqual(t, alloctest.Fewest(func() { f.Find(pinned) }), 3.0)
}

func BenchmarkFindCookie(b *testing.B) {
	f := finder(newSecret)
	_, cookie := f.Find(request("/", remote))
	r := request("/", remote, "Cookie", "a=b; holdfast="+cookie.Value)
	b.ReportAllocs()
	for b.Loop() {
		f.Find(r)
	}
}

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoginThroughTheRouter(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)

	owner := b.get("/").server()
	require.Equal(t, owner, b.post("/code", "to", "Bob@Example.org").server())
	digits := b.newestCode("bob@example.org")
	account := b.post("/login", "digits", digits)
	require.Equal(t, http.StatusOK, account.status, account.body)
	require.Equal(t, "bob@example.org", account.text("user"))
	require.Equal(t, owner, account.server())
	require.Contains(t, account.text("moral"), "every request of yours goes to "+owner)

	require.Equal(t, http.StatusUnprocessableEntity, b.post("/login", "digits", digits).status, "a code is good for one login")
	other := site.browser(t)
	require.Equal(t, http.StatusUnauthorized, other.get("/account").status, "another browser is nobody")

	thief := site.browser(t)
	thief.jar.SetCookies(site.url, b.cookies(proofCookie, false))
	require.Equal(t, http.StatusUnauthorized, thief.get("/account").status, "the pin alone does not log in")

	require.Equal(t, http.StatusOK, b.post("/logout").status)
	require.Equal(t, http.StatusUnauthorized, b.get("/account").status)
	b.logIn("bob@example.org") // a logout is no ban
}

// TestLoginSurvivesItsOwner does what the page invites to: the server that has
// made the code is killed before the code is typed in.
func TestLoginSurvivesItsOwner(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)

	form := b.post("/code", "to", "alice@example.org")
	owner, successor := form.server(), form.match(`and (node-\d) has a copy`)
	require.NotEqual(t, owner, successor)
	site.kill(form)

	account := b.post("/login", "digits", b.newestCode("alice@example.org"))
	require.Equal(t, http.StatusOK, account.status, account.body)
	require.Equal(t, "alice@example.org", account.text("user"))
	require.Equal(t, successor, account.server(), "the successor goes on")
	require.Contains(t, account.text("moral"), fmt.Sprintf("You came from %s to %s", owner, successor))

	site.await(owner + " has ended")
	site.say("") // Enter starts it again
	require.Eventually(t, func() bool {
		account := b.get("/account")
		if account.status != http.StatusOK {
			t.Errorf("logged out by the return: %d %s", account.status, account.body)
		}
		return t.Failed() || account.server() == owner
	}, patience, 20*time.Millisecond, "the visitor goes home when their owner is back")
}

func TestLogoutSurvivesItsOwner(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)
	account := b.logIn("alice@example.org")
	b.post("/logout")
	site.kill(account)
	require.Equal(t, http.StatusUnauthorized, b.get("/account").status)
}

func TestWithoutAffinityTheLoginFails(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)

	require.Contains(t, b.post("/affinity", "to", "off").text("moral"), "Affinity is off")
	b.post("/code", "to", "alice@example.org")
	digits := b.newestCode("alice@example.org")
	b.get("/login") // looking at further pages makes it no better
	maker := b.get("/mail?to=alice@example.org").match(`Sent by (node-\d)`)
	refused := b.post("/login", "digits", digits)
	require.Equal(t, http.StatusUnprocessableEntity, refused.status)
	require.NotEqual(t, maker, refused.server())
	require.Equal(t, fmt.Sprintf("Your code was made by %s and is in the memory of %[1]s alone, "+
		"but this request was answered by %s, which has never heard of it.", maker, refused.server()), refused.text("problem"))

	require.Contains(t, b.post("/affinity", "to", "on").text("moral"), "Affinity is on")
	b.logIn("alice@example.org")
}

// TestGuessesAreCounted has many wrong guesses come at once: none is to be
// lost, or six digits would be too few.
func TestGuessesAreCounted(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)
	b.post("/code", "to", "alice@example.org")
	digits := b.newestCode("alice@example.org")
	wrong := "000000"
	if digits == wrong {
		wrong = "000001"
	}
	var mu sync.Mutex
	tried := 0
	var guesses sync.WaitGroup
	for range 4 * codeTries {
		guesses.Go(func() {
			if strings.Contains(b.post("/login", "digits", wrong).text("problem"), "not the code of the newest mail") {
				mu.Lock()
				defer mu.Unlock()
				tried++
			}
		})
	}
	guesses.Wait()
	require.Equal(t, codeTries, tried)
	require.Contains(t, b.post("/login", "digits", digits).text("problem"), "spent")
}

func TestFrontBelievesNoBrowser(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)
	b.post("/code", "to", "alice@example.org")
	for _, path := range []string{"/v1/sessions", "/v1/sessions/x", "/%761/sessions/x", "//v1/sessions/x", "/./v1/sessions/x", "/x/../v1/users/x/sessions", "/v1"} {
		require.NotContains(t, []int{200, 201, 202, 204, 410}, b.get(path).status, path)
		require.Empty(t, b.get(path).header.Get("Holdfast-Ring"), "%s has reached a node", path)
	}
	asBob := func(r *http.Request) {
		r.Header.Set("X-User-ID", "bob")
		r.Header.Set("Holdfast-Key", "bob")
	}
	victim, thief := site.browser(t), site.browser(t)
	victim.change, thief.change = asBob, asBob
	victim.post("/code", "to", "bob@example.org")
	require.Contains(t, thief.post("/login", "digits", victim.newestCode("bob@example.org")).text("problem"), "No code is waiting")

	forged := site.browser(t)
	forged.change = func(r *http.Request) { r.Header.Set("Origin", "http://elsewhere.example") }
	require.Equal(t, http.StatusForbidden, forged.post("/code", "to", "bob@example.org").status)
}

// TestServersEndWithTheLauncher kills the launcher in a way that it cannot
// answer.
func TestServersEndWithTheLauncher(t *testing.T) {
	site := openSite(t)
	require.NoError(t, site.cmd.Process.Kill())
	<-site.waited
	for number := range servers + 1 {
		for port := range portsEach {
			address := site.layout.address(number, port)
			require.Eventually(t, func() bool {
				c, err := net.Dial("tcp", address)
				if err == nil {
					c.Close()
				}
				return err != nil
			}, patience, 10*time.Millisecond, "somebody listens at %s", address)
		}
	}
}

// TestPlannedRestart drains a server instead of killing it.
func TestPlannedRestart(t *testing.T) {
	site := openSite(t)
	b := site.browser(t)
	account := b.logIn("alice@example.org")
	require.NoError(t, site.process(account).Signal(syscall.SIGTERM))
	site.await(account.server() + ` has ended \(exit status 0\)`)
	after := b.get("/account")
	require.Equal(t, http.StatusOK, after.status)
	require.NotEqual(t, account.server(), after.server())
}

func TestRunRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-base-port=0":     "-base-port 0: must be 1 to",
		"-base-port=65535": "must be 1 to 65499",
		"-server=4":        "-server 4: must be 1 to 3",
		"begin":            `argument "begin": none is accepted`,
	} {
		require.ErrorContains(t, run([]string{args}), want)
	}
}

func TestPortInUseIsSaid(t *testing.T) {
	site := openSite(t)
	second := start(t, site.layout)
	<-second.waited
	require.Equal(t, 1, second.cmd.ProcessState.ExitCode())
	require.Contains(t, second.output(), "address already in use")
	require.Equal(t, http.StatusOK, site.browser(t).get("/").status, "the first goes on")
}

func TestQueryCarriesTheAddress(t *testing.T) {
	values, err := url.ParseQuery(strings.TrimPrefix(query("a+b@example.org"), "?"))
	require.NoError(t, err)
	require.Equal(t, "a+b@example.org", values.Get("to"))
}

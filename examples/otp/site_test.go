package main

import (
	"bytes"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asOTP makes this test binary be the example, and the servers that it starts
// as well.
const asOTP = "TEST_BINARY_AS_OTP"

func TestMain(m *testing.M) {
	if os.Getenv(asOTP) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// patience bounds every wait for something that has to happen.
const patience = time.Minute

// site is the example as it runs.
type site struct {
	t      *testing.T
	layout layout
	url    *url.URL
	cmd    *exec.Cmd
	stdin  io.Writer
	waited chan struct{} // closed when it has ended

	mu      sync.Mutex
	printed bytes.Buffer // guarded by mu
}

// Write takes what the example prints.
func (s *site) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printed.Write(p)
}

func (s *site) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printed.String()
}

func start(t *testing.T, at layout) *site {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	s := &site{t: t, layout: at, cmd: exec.Command(self, "-base-port", strconv.Itoa(int(at))), waited: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), asOTP+"=1")
	s.cmd.Stdout, s.cmd.Stderr = s, s
	s.cmd.WaitDelay = 10 * time.Second
	s.stdin, err = s.cmd.StdinPipe()
	require.NoError(t, err)
	s.url, err = url.Parse(at.url(0, httpPort))
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	go func() {
		defer close(s.waited)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-s.waited:
		case <-time.After(patience):
			t.Error("the example does not end")
			_ = s.cmd.Process.Kill()
			<-s.waited
		}
		if t.Failed() {
			t.Logf("it printed:\n%s", s.output())
		}
	})
	return s
}

// openSite starts the example on ports that are free.
func openSite(t *testing.T) *site {
	t.Helper()
	for range 5 {
		s := start(t, layout(18000+40*rand.IntN(50)))
		opened := func() bool { return strings.Contains(s.output(), "Open  http") }
		for deadline := time.Now().Add(patience); !opened() && time.Now().Before(deadline); {
			select {
			case <-s.waited:
				deadline = time.Time{}
			case <-time.After(10 * time.Millisecond):
			}
		}
		if opened() {
			return s
		}
		require.Contains(t, s.output(), "address already in use", "the example did not start")
	}
	t.Fatal("no free ports")
	return nil
}

func (s *site) await(pattern string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return regexp.MustCompile(pattern).MatchString(s.output()) },
		patience, 10*time.Millisecond, "it does not print %s", pattern)
}

func (s *site) say(line string) {
	s.t.Helper()
	_, err := io.WriteString(s.stdin, line+"\n")
	require.NoError(s.t, err)
}

// process is the server that answered with a, which its page names.
func (s *site) process(a answer) *os.Process {
	s.t.Helper()
	pid, err := strconv.Atoi(a.match(`kill -9 (\d+)`))
	require.NoError(s.t, err)
	p, err := os.FindProcess(pid)
	require.NoError(s.t, err)
	return p
}

// kill does what the page says.
func (s *site) kill(a answer) {
	s.t.Helper()
	require.NoError(s.t, s.process(a).Kill())
}

// browser is a visitor with cookies who follows redirects.
type browser struct {
	t      *testing.T
	base   *url.URL
	jar    *cookiejar.Jar
	client *http.Client
	change func(*http.Request) // what this browser does to its requests; nil for nothing
}

func (s *site) browser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t: t, base: s.url, jar: jar, client: &http.Client{Jar: jar, Timeout: patience}}
}

// answer is a page as it came.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, b.base.String()+path, nil)
	require.NoError(b.t, err)
	return b.do(r)
}

// post sends a form of names and values.
func (b *browser) post(path string, form ...string) answer {
	b.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	r, err := http.NewRequest(http.MethodPost, b.base.String()+path, strings.NewReader(values.Encode()))
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	if b.change != nil {
		b.change(r)
	}
	resp, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return answer{b.t, resp.StatusCode, resp.Header, string(body)}
}

// cookies are those of the browser with that name, or all but those.
func (b *browser) cookies(name string, with bool) (found []*http.Cookie) {
	for _, c := range b.jar.Cookies(b.base) {
		if (c.Name == name) == with {
			found = append(found, c)
		}
	}
	return found
}

// newestCode reads the mail.
func (b *browser) newestCode(to string) string {
	b.t.Helper()
	return b.get("/mail" + query(to)).match(`(?s)id="newest".*?class="digits">(\d{6})<`)
}

// logIn takes all steps and returns the account page.
func (b *browser) logIn(to string) answer {
	b.t.Helper()
	b.post("/code", "to", to)
	account := b.post("/login", "digits", b.newestCode(to))
	require.Equal(b.t, http.StatusOK, account.status, account.body)
	require.Equal(b.t, to, account.text("user"))
	return account
}

// match returns what the pattern's first group finds in the page.
func (a answer) match(pattern string) string {
	a.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(a.body)
	require.NotNil(a.t, m, "status %d, no %s in\n%s", a.status, pattern, a.body)
	return m[1]
}

// text is that of the element with this id.
func (a answer) text(id string) string {
	a.t.Helper()
	return html.UnescapeString(strings.TrimSpace(a.match(`(?s)id="` + id + `"[^>]*>([^<]*)<`)))
}

// server names who answered.
func (a answer) server() string {
	a.t.Helper()
	return a.text("server")
}

//go:build unix

// Package sidecar tests the example as its README shows it: by its run script.
package sidecar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that has to happen.
const patience = time.Minute

// log is what the script and its processes print.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// script is run as it runs.
type script struct {
	base   int
	cmd    *exec.Cmd
	waited chan struct{}
	log    log
}

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("HOLDFAST_REQUIRE_ALL") == "1" {
				t.Fatalf("%s is not installed, and HOLDFAST_REQUIRE_ALL=1", name)
			}
			t.Skipf("SKIPPED, nothing was tested: %s is not installed (HOLDFAST_REQUIRE_ALL=1 makes this a failure)", name)
		}
	}
}

func start(t *testing.T) *script {
	t.Helper()
	need(t, "node", "bash", "curl")
	holdfast := filepath.Join(t.TempDir(), "holdfast")
	out, err := exec.Command("go", "build", "-o", holdfast, "../../cmd/holdfast").CombinedOutput()
	require.NoError(t, err, string(out))
	s := &script{base: freeBase(t), cmd: exec.Command("./run"), waited: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "HOLDFAST="+holdfast, fmt.Sprintf("BASE_PORT=%d", s.base), "TMPDIR="+t.TempDir())
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.WaitDelay = 10 * time.Second
	require.NoError(t, s.cmd.Start())
	go func() {
		defer close(s.waited)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.end(t)
		if t.Failed() {
			t.Logf("run printed:\n%s", s.log.String())
		}
	})
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "Open ") || s.hasEnded() }, patience, 20*time.Millisecond)
	require.False(t, s.hasEnded(), "run ended while starting")
	return s
}

func (s *script) hasEnded() bool {
	select {
	case <-s.waited:
		return true
	default:
		return false
	}
}

// end asks the script to end, and waits for it.
func (s *script) end(t *testing.T) {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.waited:
	case <-time.After(patience):
		t.Error("run does not end")
		_ = s.cmd.Process.Kill()
		<-s.waited
	}
}

func (s *script) address(member, port int) string {
	return fmt.Sprintf("127.0.0.1:%d", s.base+10*member+port)
}

func freeBase(t *testing.T) int {
	t.Helper()
	for range 100 {
		base := 16000 + 40*rand.IntN(50) // no other package's tests listen there
		free := true
		for port := base; port < base+36 && free; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// visitor is a browser.
type visitor struct {
	t      *testing.T
	site   string
	client *http.Client
}

func (s *script) visitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &visitor{t, "http://" + s.address(0, 0), &http.Client{Jar: jar, Timeout: patience}}
}

type answer struct {
	t      *testing.T
	status int
	body   string
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	return v.read(v.client.Get(v.site + path))
}

func (v *visitor) post(path, name, value string) answer {
	v.t.Helper()
	return v.read(v.client.PostForm(v.site+path, url.Values{name: {value}}))
}

func (v *visitor) read(resp *http.Response, err error) answer {
	v.t.Helper()
	require.NoError(v.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	return answer{v.t, resp.StatusCode, string(body)}
}

// text is that of the element with this id.
func (a answer) text(id string) string {
	a.t.Helper()
	m := regexp.MustCompile(`id="` + id + `"[^>]*>([^<]*)<`).FindStringSubmatch(a.body)
	require.NotNil(a.t, m, "status %d, no %s in\n%s", a.status, id, a.body)
	return m[1]
}

// code is the newest that was mailed to the address.
func (s *script) code(t *testing.T, to string) string {
	t.Helper()
	var found [][]string
	require.Eventually(t, func() bool {
		found = regexp.MustCompile(regexp.QuoteMeta("mail to "+to)+`: your code is (\d{6})`).FindAllStringSubmatch(s.log.String(), -1)
		return len(found) > 0
	}, patience, 10*time.Millisecond, "no mail to %s", to)
	return found[len(found)-1][1]
}

// pid is a node's process as the router knows it, 0 when it knows none.
func (s *script) pid(t *testing.T, name string) int {
	t.Helper()
	resp, err := http.Get("http://" + s.address(0, 1) + "/admin/ring")
	require.NoError(t, err)
	defer resp.Body.Close()
	var ring struct {
		Members []struct {
			Name string
			PID  int
		}
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&ring))
	for _, m := range ring.Members {
		if m.Name == name {
			return m.PID
		}
	}
	return 0
}

// kill ends a node as a crash would, and waits as long as the router takes to
// notice: a form that is on its way at that moment is not sent twice.
func (s *script) kill(t *testing.T, name string) {
	t.Helper()
	pid := s.pid(t, name)
	require.NotZero(t, pid, "the ring has no %s", name)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return s.pid(t, name) != pid }, patience, time.Millisecond)
}

func TestLoginSurvivesTheOwner(t *testing.T) {
	s := start(t)
	require.NotContains(t, s.log.String(), "the application does not answer", "a node starts after its application")
	v := s.visitor(t)

	owner := v.get("/").text("server")
	require.Equal(t, owner, v.post("/code", "to", "alice@example.org").text("server"))
	require.Equal(t, "That is not the code.", v.post("/login", "digits", "x").text("problem"))
	s.kill(t, owner)
	in := v.post("/login", "digits", s.code(t, "alice@example.org"))
	require.Equal(t, "alice@example.org", in.text("user"))
	require.NotEqual(t, owner, in.text("server"))
	require.Equal(t, "2", v.get("/").text("visits"))
	require.Contains(t, s.visitor(t).get("/").body, "Mail me a code", "another browser is nobody")

	require.Contains(t, v.post("/logout", "", "").body, "Mail me a code")
	require.Equal(t, "No code is waiting for you: ask for a new one.", v.post("/login", "digits", s.code(t, "alice@example.org")).text("problem"))
	require.Equal(t, "That is not a mail address.", v.post("/code", "to", "<b>@x").text("problem"))
	require.Equal(t, http.StatusNotFound, v.get("/nowhere").status)

	s.end(t)
	for member := range 4 {
		for _, port := range []int{0, 1, 3, 4, 5} {
			_, err := net.Dial("tcp", s.address(member, port))
			require.Error(t, err, "somebody listens at %s", s.address(member, port))
		}
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	need(t, "node", "bash", "curl")
	base := freeBase(t)
	cmd := exec.Command("./run")
	cmd.Env = append(os.Environ(), "HOLDFAST=false", fmt.Sprintf("BASE_PORT=%d", base), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "ended while starting")
}

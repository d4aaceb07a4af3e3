package browser

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that has to happen.
const patience = 30 * time.Second

// cluster is a running "holdfast dev".
type cluster struct {
	base int
	log  output
}

// output is what the processes print.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// basePort is the first port of the tests; HOLDFAST_TEST_PORT moves it.
func basePort(t *testing.T) int {
	text := os.Getenv("HOLDFAST_TEST_PORT")
	if text == "" {
		return 23400
	}
	port, err := strconv.Atoi(text)
	require.NoError(t, err, "HOLDFAST_TEST_PORT")
	return port
}

// startCluster runs "holdfast dev" until the test ends.
func startCluster(t *testing.T, base int, flags ...string) *cluster {
	t.Helper()
	c := &cluster{base: base}
	cmd := exec.Command(holdfast, append([]string{"dev", "-base-port", strconv.Itoa(base)}, flags...)...)
	cmd.Stdout, cmd.Stderr = &c.log, &c.log
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("holdfast dev printed:\n%s", c.log.String())
		}
	})
	waitFor(t, "dev shows its table", func() bool { return strings.Contains(c.log.String(), "Admin: ") })
	return c
}

// url is an address of a member: 0 is the router, i is node-i.
func (c *cluster) url(member int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.base+10*member, path)
}

func (c *cluster) admin(member int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.base+10*member+1, path)
}

// put stores a session, with its copy.
func (c *cluster) put(t *testing.T, key string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.url(0, "/v1/sessions/"+key), strings.NewReader(`{"cart":["book"]}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Holdfast-Ack", "replica")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	require.Less(t, resp.StatusCode, 300)
}

// busy writes and reads sessions until the test ends.
func (c *cluster) busy(t *testing.T, sessions int) {
	t.Helper()
	for i := range sessions {
		c.put(t, fmt.Sprintf("user-%d", i))
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			resp, err := http.Get(c.url(0, fmt.Sprintf("/v1/sessions/user-%d", i%sessions)))
			if err == nil { // the router may be away in this test
				resp.Body.Close()
			}
		}
	})
	t.Cleanup(func() { close(stop); readers.Wait() })
}

// order does what a button does, by another member's door.
func (c *cluster) order(t *testing.T, member int, verb, name string) {
	t.Helper()
	resp, err := http.Post(c.admin(member, "/admin/dev/"+verb+"?node="+name), "", nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

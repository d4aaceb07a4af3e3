//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience bounds every wait for something that has to happen.
const patience = time.Minute

// child is a holdfast process under test and what it has printed.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu      sync.Mutex
	printed []string      // guarded by mu
	waited  chan struct{} // closed when the process has ended
	read    chan struct{} // closed when all that it printed has been read
}

// spawn starts this test binary as holdfast.
func spawn(t testing.TB, setup func(*exec.Cmd), args ...string) *child {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(executable, args...)
	// What a killed dev leaves goes with the test.
	cmd.Env = append(os.Environ(), asHoldfast+"=1", "TMPDIR="+t.TempDir())
	if setup != nil {
		setup(cmd)
	}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(t, cmd.Start())
	write.Close()
	c := &child{t: t, cmd: cmd, stdin: stdin, waited: make(chan struct{}), read: make(chan struct{})}
	go c.collect(read)
	go func() { _ = cmd.Wait(); close(c.waited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-c.waited
		<-c.read
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(args, " "), c.output())
		}
	})
	return c
}

// collect ends when the process and all that inherited its output have ended.
func (c *child) collect(r *os.File) {
	defer close(c.read)
	defer r.Close()
	for scan := bufio.NewScanner(r); scan.Scan(); {
		c.mu.Lock()
		c.printed = append(c.printed, scan.Text())
		c.mu.Unlock()
	}
}

func (c *child) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.printed, "\n") + "\n"
}

// await waits for a line and returns its submatches.
func (c *child) await(pattern string) []string {
	c.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	var found []string
	require.Eventually(c.t, func() bool {
		found = re.FindStringSubmatch(c.output())
		return found != nil
	}, patience, 10*time.Millisecond, "no line matches %s", pattern)
	return found
}

func (c *child) tell(line string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.stdin, line)
	require.NoError(c.t, err)
}

// exit waits for the end of the process and returns its exit code.
func (c *child) exit() int {
	c.t.Helper()
	select {
	case <-c.waited:
	case <-time.After(patience):
		require.FailNow(c.t, "the process does not end")
	}
	return c.cmd.ProcessState.ExitCode()
}

// freeBase returns the first of a range of ports that a cluster can have.
func freeBase(t testing.TB, nodes int) int {
	t.Helper()
	for range 100 {
		base := 20000 + 100*rand.IntN(120)
		if _, err := (&devCommand{Nodes: nodeCount(nodes), BasePort: port(base)}).members(); err == nil {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

func spawnDev(t testing.TB, nodes int, setup func(*exec.Cmd)) (dev *child, base int) {
	t.Helper()
	base = freeBase(t, nodes)
	dev = spawn(t, setup, "dev", "-nodes", strconv.Itoa(nodes), "-base-port", strconv.Itoa(base))
	dev.await(`^Admin: `)
	return dev, base
}

func requireNobodyListens(t *testing.T, base, nodes int) {
	t.Helper()
	for i := range nodes + 1 {
		for _, port := range []int{httpPort, adminPort} {
			address := net.JoinHostPort("127.0.0.1", strconv.Itoa(base+10*i+port))
			require.Eventually(t, func() bool {
				conn, err := net.Dial("tcp", address)
				if err == nil {
					conn.Close()
				}
				return err != nil
			}, patience, 20*time.Millisecond, "somebody still listens on %s", address)
		}
	}
}

func TestDev(t *testing.T) {
	temp := t.TempDir()
	dev, base := spawnDev(t, 2, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "TMPDIR="+temp, "HOLDFAST_DEMO=no", "HOLDFAST_ADMIN=nowhere")
	})
	pid := dev.await(`^node-2 +(\d+) +running +http://127.0.0.1:` + strconv.Itoa(base+20) + ` `)[1]
	require.NotContains(t, dev.output(), "\x1b", "no colour where there is no terminal")
	require.Regexp(t, `(?m)^node-1  \| .*msg=`, dev.output())

	keys := fmt.Sprintf("holdfast-dev-keys-%d", os.Getuid())
	for _, private := range []string{"holdfast-dev-*/gossip.key", "holdfast-dev-*/cookie.secret", keys + fmt.Sprintf("/127.0.0.1_%d", base+20+gossipPort)} {
		found, err := filepath.Glob(filepath.Join(temp, private))
		require.NoError(t, err)
		require.Len(t, found, 1, private)
		info, err := os.Stat(found[0])
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), private)
	}

	dev.tell("kill 2")
	dev.await(`^node-2 \(pid ` + pid + `\) was killed, as you asked`)
	dev.tell("kill 2")
	dev.await(`^kill node-2: it does not run`)
	dev.tell("start 2")
	again := dev.await(`^node-2 starts with pid (\d+)`)[1]
	require.NotEqual(t, pid, again)
	dev.await(`^node-2 \(pid ` + again + `\) is ready`)
	dev.tell("start node-2")
	dev.await(`^start node-2: it is \w+ already, with pid ` + again)

	dev.tell("pause router")
	dev.await(`^router \(pid \d+\) is frozen`)
	dev.tell("resume router")
	dev.await(`^router \(pid \d+\) goes on`)

	dev.tell("drain 1")
	dev.await(`^node-1 \(pid \d+\) has drained and left, as you asked`)
	require.Regexp(t, `(?m)^node-1  \| .*msg=drained unsynced=0$`, dev.output())

	outside, err := strconv.Atoi(again)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(outside, syscall.SIGKILL))
	dev.await(`^node-2 \(pid ` + again + `\) was ended from outside \(signal: killed\)`)

	dev.tell("status")
	dev.await(`^node-2 +- +stopped `)
	dev.await(`^router +router .*[0-9a-f]{16}$`)
	dev.tell("dance 2")
	dev.await(`^unknown command "dance"`)
	dev.tell("kill 3")
	dev.await(`^kill whom\?`)
	dev.tell("help")
	dev.await(`^  kill 2 `)

	require.NoError(t, dev.stdin.Close())
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", base+adminPort))
	require.NoError(t, err, "the end of the input is not the end of dev")
	resp.Body.Close()
	require.NoError(t, dev.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitOK, dev.exit())
	requireNobodyListens(t, base, 2)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left, "the secrets are removed")
}

// A node that the user of dev starts beside it joins, another user's does not:
// it cannot read the key.
func TestDevTakesItsUsersNodesAlone(t *testing.T) {
	temp := t.TempDir()
	inTemp := func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "TMPDIR="+temp) }
	_, base := spawnDev(t, 1, inTemp)
	node := func(i int, setup func(*exec.Cmd)) *child {
		at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+10*i+port)) }
		return spawn(t, setup, "node", "-name", fmt.Sprint("beside-", i), "-http", at(httpPort), "-admin", at(adminPort), "-resp", at(respPort), "-peer", at(peerPort),
			"-gossip", at(gossipPort), "-join", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+10+gossipPort)))
	}
	stranger := node(2, nil) // it looks elsewhere
	stranger.await(`no seed answers`)
	own := node(3, inTemp)
	own.await(`using the key of the holdfast dev that runs the member to join`)
	own.await(`msg=ring .*nodes="\[beside-3 node-1\]"`)
	require.NotContains(t, own.output(), "beside-2")
}

func TestDevEndsOnItsSignalsAndOnQuit(t *testing.T) {
	// Under nohup, or behind a shell's &, this process ignores one of them, and
	// a child inherits that. What is caught here is a child's default again.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(caught)
	for name, end := range map[string]func(*child) error{
		"SIGINT": func(c *child) error { return c.cmd.Process.Signal(syscall.SIGINT) },
		"SIGHUP": func(c *child) error { return c.cmd.Process.Signal(syscall.SIGHUP) },
		"quit":   func(c *child) error { c.tell("quit"); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dev, base := spawnDev(t, 1, nil)
			require.NoError(t, end(dev))
			require.Equal(t, exitOK, dev.exit())
			requireNobodyListens(t, base, 1)
		})
	}
}

// With a directory the cluster comes back with its sessions, and its visitors'
// cookies hold.
func TestDevKeepsSessions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	base := freeBase(t, 3)
	session := fmt.Sprintf("http://127.0.0.1:%d/v1/sessions/alice", base)
	ask := func(method, body string) (status int, answer string) {
		req, err := http.NewRequestWithContext(t.Context(), method, session, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	var secret []byte
	for round := range 2 {
		dev := spawn(t, nil, "dev", "-base-port", strconv.Itoa(base), "-data-dir", dir)
		dev.await(`^Admin: `)
		if round == 0 {
			status, answer := ask("PUT", `{"cart":["book"]}`)
			require.Equal(t, http.StatusCreated, status, answer)
		} else {
			status, answer := ask("GET", "")
			require.Equal(t, http.StatusOK, status, answer)
			require.JSONEq(t, `{"cart":["book"]}`, answer)
		}
		dev.tell("kill 1")
		dev.await(`node-1 .*killed`)
		dev.tell("start 1")
		dev.await(`node-1 starts with pid \d+, with what its disk has`)
		dev.await(`node-1 \(pid \d+\) is ready`)
		dev.tell("quit")
		require.Equal(t, exitOK, dev.exit())
		dev.await(`stopped 4 processes; their sessions are in ` + regexp.QuoteMeta(dir))
		require.NotContains(t, dev.output(), "level=ERROR")
		key, err := os.ReadFile(filepath.Join(dir, "cookie.secret"))
		require.NoError(t, err)
		if round > 0 {
			require.Equal(t, secret, key)
		}
		secret = key
		requireNobodyListens(t, base, 3)
	}
}

func TestChildrenOfAKilledDevEnd(t *testing.T) {
	dev, base := spawnDev(t, 1, nil)
	dev.tell("pause 1") // even one that cannot watch its parent
	dev.await(`is frozen`)
	require.NoError(t, dev.cmd.Process.Kill())
	requireNobodyListens(t, base, 1)
}

func TestDevLeavesNothingBehind(t *testing.T) {
	t.Setenv(asHoldfast, "1") // for the children; dev runs in this process
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	base := freeBase(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdin, holdStdin := io.Pipe()
	printed, stdout := io.Pipe()
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"dev", "-nodes", "1", "-base-port", strconv.Itoa(base)}, stdin, stdout, io.Discard)
		stdout.Close()
	}()
	for scan := bufio.NewScanner(printed); scan.Scan(); {
		if strings.HasPrefix(scan.Text(), "Admin: ") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, printed) }()
	cancel()
	require.Equal(t, exitOK, <-code)
	holdStdin.Close()
	requireNobodyListens(t, base, 1)
}

// The pipe alone is enough where the kernel does not kill orphans.
func TestMemberEndsWithItsParentsPipe(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	base := freeBase(t, 1)
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+10+port)) }
	node := spawn(t, func(cmd *exec.Cmd) {
		cmd.ExtraFiles = []*os.File{read}
		cmd.Env = append(cmd.Env, parentEnv+"=3")
	}, "node", "-name", "a", "-http", at(httpPort), "-admin", at(adminPort), "-resp", at(respPort), "-peer", at(peerPort), "-gossip", at(gossipPort))
	require.NoError(t, read.Close())
	node.await(`127\.0\.0\.1`)
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + at(adminPort) + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	require.NoError(t, write.Close())
	require.Equal(t, exitFailed, node.exit())
	node.await(errOrphaned.Error())
}

func TestParentDescriptorIsChecked(t *testing.T) {
	for _, text := range []string{"", "x", "0", "-1", "987654"} {
		t.Setenv(parentEnv, text)
		_, err := lifeOfParent(t.Context())
		require.ErrorContains(t, err, parentEnv, text)
	}
}

func TestDevNamesThePortInUse(t *testing.T) {
	base := freeBase(t, 3)
	for _, offset := range []int{httpPort, 10 + adminPort, 20 + respPort, 30 + peerPort} {
		taken := strconv.Itoa(base + offset)
		l, err := net.Listen("tcp", "127.0.0.1:"+taken)
		require.NoError(t, err)
		r := holdfast(t, "dev", "-base-port", strconv.Itoa(base))
		l.Close()
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, "port "+taken)
		require.Contains(t, r.stderr, "-base-port")
		requireOneLine(t, r.stderr)
	}
	taken := strconv.Itoa(base + gossipPort)
	c, err := net.ListenPacket("udp", "127.0.0.1:"+taken)
	require.NoError(t, err)
	defer c.Close()
	r := holdfast(t, "dev", "-base-port", strconv.Itoa(base))
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "port "+taken)
}

func TestDevEndsWhenAMemberCannotStart(t *testing.T) {
	base := freeBase(t, 1)
	// Too short for a node.
	dev := spawn(t, nil, "dev", "-nodes", "1", "-base-port", strconv.Itoa(base), "-ttl", "1ms")
	require.Equal(t, exitFailed, dev.exit())
	dev.await(`node-1 ended while starting: exit status 1; its log above tells why`)
	dev.await(`^node-1  \| .*-ttl`)
	requireNobodyListens(t, base, 1)
}

// dev knows which nodes run. One that it starts where none does need not wait
// for others, which may never come.
func TestDevLetsALoneNodeFound(t *testing.T) {
	kctx, err := parse([]string{"dev"}, &streams{out: io.Discard, err: io.Discard})
	require.NoError(t, err)
	router, one, two := &member{name: "router"}, &member{name: "node-1", node: true}, &member{name: "node-2", node: true}
	d := &dev{config: kctx.Selected().Target.Addr().Interface().(*devCommand), members: []*member{router, one, two}}
	founds := func(m *member) bool { return strings.Contains(strings.Join(d.args(m), " "), " -expect 1 ") }
	router.process = &process{}
	require.True(t, founds(one))
	require.False(t, founds(router))
	one.process = &process{}
	require.False(t, founds(two))
	require.True(t, founds(one), "it is another one that counts")
	one.process = nil
	require.True(t, founds(two))
}

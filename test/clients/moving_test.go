package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/test/clients/cluster"
)

const (
	// movers use the application while it moves, and idlers come again when it
	// has: half of them while the old Redis is asked, half after an import.
	movers, idlers = 30, 20
	// visits are those of a mover; it goes over to the new instance before one of
	// them.
	visits = 60
)

// Ports of a move, counted from its first: the cluster takes those before.
const (
	movingPorts = 40 // from -base-port on: beside those of TestClients
	movingRedis = iota + 29
	movingOld
	movingNew
)

// moving is an application that exists twice: one instance has its sessions at
// one address of the Redis protocol, and one at another.
type moving struct {
	name  string
	start func(m *move, port int, redis string) *exec.Cmd
}

var moves = []moving{
	{"express-session", func(m *move, port int, redis string) *exec.Cmd {
		if _, err := os.Stat("js/node_modules"); err != nil {
			m.absent("js/node_modules is not there: run npm ci in js")
		}
		cmd := exec.CommandContext(m.ctx, m.look("node"), "moving.mjs")
		cmd.Dir = "js"
		cmd.Env = append(os.Environ(), "PORT="+strconv.Itoa(port), "REDIS_URL=redis://"+redis)
		return cmd
	}},
	{"PHP", func(m *move, port int, redis string) *exec.Cmd {
		php := m.look("php")
		if out, err := exec.CommandContext(m.ctx, php, "-m").Output(); err != nil || !strings.Contains(string(out), "\nredis\n") {
			m.absent("PHP has no extension redis")
		}
		cmd := exec.CommandContext(m.ctx, php, "-d", "session.save_handler=redis", "-d", "session.save_path=tcp://"+redis, "-d", "session.gc_maxlifetime=600",
			"-d", "session.use_strict_mode=1", "-S", local(port), "php/moving.php")
		cmd.Env = append(os.Environ(), "PHP_CLI_SERVER_WORKERS=4")
		return cmd
	}},
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// move is one application on its way from Debian's redis-server to Holdfast.
type move struct {
	*trial
	base     int
	old, new string // base URLs of the instances
}

// An application that runs is moved from redis-server to Holdfast while its users
// use it: a second instance, which is at Holdfast, takes them over one by one.
// Nobody is logged out, no write is lost, and who logs out has done so at both.
func TestMovingIn(t *testing.T) {
	for _, a := range moves {
		t.Run(a.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			m := &move{trial: &trial{T: t, ctx: ctx, row: new(row)}, base: *basePort + movingPorts}
			m.run(a)
		})
	}
}

func (m *move) run(a moving) {
	source := m.serve(exec.CommandContext(m.ctx, m.look("redis-server"), "--port", strconv.Itoa(m.base+movingRedis), "--bind", "127.0.0.1", "--save", "", "--dir", m.TempDir()))
	old := redis.NewClient(&redis.Options{Addr: local(m.base + movingRedis)})
	defer old.Close()
	m.until("redis-server answers", func() error { return old.Ping(m.ctx).Err() })
	m.old = "http://" + local(m.base+movingOld)
	first := m.instance(a, movingOld, local(m.base+movingRedis))
	var users []*user
	for i := range movers + idlers {
		u := newUser(m.T, fmt.Sprint("user-", i))
		require.NoError(m, u.logIn(m.old))
		require.NoError(m, u.visit(m.old))
		users = append(users, u)
	}

	c, err := cluster.Start(m.ctx, m.TempDir(), m.base, "-upstream", "redis://"+local(m.base+movingRedis))
	require.NoError(m, err)
	m.Cleanup(c.Close)
	m.new = "http://" + local(m.base+movingNew)
	m.instance(a, movingNew, c.Address(0))
	m.whileUsed(users[:movers])
	m.end(first)

	idle := users[movers:]
	m.moved(idle[:idlers/2])
	gone := users[0]
	keys, err := old.DBSize(m.ctx).Result()
	require.NoError(m, err)
	require.NoError(m, gone.logOut(m.new))
	m.until("a logout is one at the old Redis too", func() error {
		if n, err := old.DBSize(m.ctx).Result(); err != nil || n >= keys {
			return fmt.Errorf("%d keys of %d: %w", n, keys, err)
		}
		return nil
	})
	out, err := exec.CommandContext(m.ctx, c.Program(), "import", "-to", c.Address(1), "redis://"+local(m.base+movingRedis)).CombinedOutput()
	require.NoError(m, err, string(out))
	m.end(source)
	m.moved(idle[idlers/2:])
	m.moved(users[1:movers])
	require.EqualError(m, gone.visit(m.new), `"user-0" was told " 1"`, "who has logged out stays so")
}

// moved has users come to the new instance, who are known there.
func (m *move) moved(users []*user) {
	for _, u := range users {
		require.NoError(m, u.visit(m.new))
	}
}

// whileUsed has all users at the application at once, each of whom goes over to the
// new instance at some time.
func (m *move) whileUsed(users []*user) {
	errs := make([]error, len(users))
	var using sync.WaitGroup
	for i, u := range users {
		using.Go(func() {
			base := m.old
			for n := range visits {
				if n == 5+i%(visits-10) {
					base = m.new
				}
				if errs[i] = u.visit(base); errs[i] != nil {
					return
				}
			}
		})
	}
	using.Wait()
	require.NoError(m, errors.Join(errs...))
}

// instance starts an instance of the application and waits until it answers.
func (m *move) instance(a moving, port int, redis string) *exec.Cmd {
	cmd := m.serve(a.start(m, m.base+port, redis))
	m.until("the application answers", func() error {
		conn, err := net.DialTimeout("tcp", local(m.base+port), time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return cmd
}

// serve starts a program that is ended with the test, and with it all that it has
// started.
func (m *move) serve(cmd *exec.Cmd) *exec.Cmd {
	m.Helper()
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	require.NoError(m, cmd.Start())
	m.Cleanup(func() {
		m.end(cmd)
		if m.Failed() {
			m.Log(output.String())
		}
	})
	return cmd
}

// end ends a program, if it has not ended.
func (m *move) end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Cancel() // fails where all have ended
		_ = cmd.Wait()   // it was killed, and says so
	}
}

func (m *move) until(what string, f func() error) {
	m.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		require.True(m, time.Now().Before(deadline), "%s: %v", what, err)
	}
}

// user is a browser, and what its user has to be told.
type user struct {
	name   string
	visits int
	http   http.Client
}

func newUser(t *testing.T, name string) *user {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &user{name: name, http: http.Client{Jar: jar, Timeout: 10 * time.Second}}
}

func (u *user) logIn(base string) error { return u.get(base+"/login?user="+u.name, u.name+" 0") }

func (u *user) logOut(base string) error { return u.get(base+"/logout", " 0") }

func (u *user) visit(base string) error {
	u.visits++
	return u.get(base+"/visit", fmt.Sprint(u.name, " ", u.visits))
}

// get asks for a page, which has to say what is wanted.
func (u *user) get(url, want string) error {
	res, err := u.http.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%q: %s: %.300s", u.name, res.Status, body)
	case string(body) != want:
		return fmt.Errorf("%q was told %q", u.name, body)
	}
	return nil
}

package redis

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPipelineIsAnsweredInOrder(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	const n = 10_000
	lines := make([]string, 0, 2*n)
	for i := range n {
		lines = append(lines, fmt.Sprintf("SET k%d %d", i%100, i), fmt.Sprintf("ECHO %d", i))
	}
	c.send(lines...)
	for i := range n {
		require.Equal(t, "+OK", c.read())
		text := fmt.Sprint(i)
		require.Equal(t, fmt.Sprintf("$%d %s", len(text), text), c.read())
	}
}

// counted counts what a connection is asked to send.
type counted struct {
	net.Conn
	n int
}

func (w *counted) Write(b []byte) (int, error) {
	w.n++
	return w.Conn.Write(b)
}

func TestPipelineIsAnsweredInOneWrite(t *testing.T) {
	s, _ := open(t)
	ours, theirs := net.Pipe()
	wire := &counted{Conn: theirs}
	s.ServeConn(wire)
	c := &client{t, ours, resp.NewReplyReader(ours, resp.ReplyLimits{})}
	defer ours.Close()
	for range 2 {
		c.send("SET k v", "GET k", "PING", "MGET k k", "HGETALL k", "DEL k")
		for range 6 {
			c.read()
		}
	}
	c.do("PING")
	require.Equal(t, 3, wire.n)
}

// TestNothingIsRunAfterTheEnd: a pipeline that goes on behind QUIT is cut out
// with it, and not run.
func TestNothingIsRunAfterTheEnd(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	c.send("SET k 1", "QUIT", "SET k 2")
	require.Equal(t, "+OK", c.read())
	require.Equal(t, "+OK", c.read())
	c.closed()
	rec, err := f.store.Get("k")
	require.NoError(t, err)
	value, _ := rec.Opaque()
	require.Equal(t, "1", value)
}

// TestPipelinePrefetches: the keys of a pipeline are known before its first
// command is run, and a single command is not held up by it.
func TestPipelinePrefetches(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	prefetched := func() (keys []string) {
		f.set(func() { keys = slices.Clone(f.prefetched) })
		return keys
	}
	c.send("SET k1 v", "PING", "GET k2")
	for range 3 {
		c.read()
	}
	require.Equal(t, []string{"k1", "k2"}, prefetched())
	c.do("GET k3")
	require.Equal(t, []string{"k1", "k2"}, prefetched())
}

func TestProtocolErrorsCloseTheConnection(t *testing.T) {
	s, _ := open(t)
	for sent, want := range map[string]string{
		"*x\r\n":                             "-ERR Protocol error: invalid multibulk length",
		"*1\r\n$-5\r\n":                      "-ERR Protocol error: invalid bulk length",
		"*1\r\n:1\r\n":                       "-ERR Protocol error: expected '$', got ':'",
		"*1048577\r\n":                       "-ERR Protocol error: invalid multibulk length: 1048577 arguments, 1048576 are taken",
		"*1\r\n$1048577\r\n":                 "-ERR Protocol error: invalid bulk length: 1048577 bytes, -max-session allows 1048576",
		"SET \"k\r\n":                        "-ERR Protocol error: unbalanced quotes in request",
		strings.Repeat("x", 70_000):          "-ERR Protocol error: too big inline request",
		"*1\r\n$" + strings.Repeat("1", 7e4): "-ERR Protocol error: too big bulk count string",
	} {
		c := dial(t, s)
		c.raw(sent)
		require.Equal(t, want, c.read(), "%.20q", sent)
		c.closed()
	}
	require.Equal(t, int64(8), s.Stats().ProtocolErrors)
}

func TestWhatCameBeforeAProtocolErrorIsAnswered(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	c.raw("*1\r\n$4\r\nPING\r\n*x\r\n*1\r\n$4\r\nPING\r\n")
	require.Equal(t, "+PONG", c.read())
	require.Equal(t, "-ERR Protocol error: invalid multibulk length", c.read())
	c.closed()
}

func TestHTTPGetsNoAnswer(t *testing.T) {
	for _, password := range []string{"", "secret"} {
		s, _ := open(t, func(cfg *Config) { cfg.Password = password })
		for _, sent := range []string{"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n", "Host: x\r\n"} {
			c := dial(t, s)
			c.raw(sent)
			_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // fails if it is closed already
			n, err := c.conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			require.Zero(t, n)
		}
		require.Equal(t, int64(2), s.Stats().ProtocolErrors)
	}
}

func TestAuth(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.Password = "secret" })
	dial(t, s).exchanges(`
		GET k -> -NOAUTH Authentication required.
		PING -> -NOAUTH Authentication required.
		CLIENT ID -> -NOAUTH Authentication required.
		NOSUCH -> -ERR unknown command 'NOSUCH', with args beginning with:
		GET -> -ERR wrong number of arguments for 'get' command
		HELLO 3 -> -NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time
		AUTH wrong -> -WRONGPASS invalid username-password pair or user is disabled.
		AUTH nobody secret -> -WRONGPASS invalid username-password pair or user is disabled.
		AUTH a b c -> -ERR syntax error
		HELLO 3 AUTH default wrong -> -WRONGPASS invalid username-password pair or user is disabled.
		AUTH secret -> +OK
		GET k -> $-1
		PING -> +PONG
		AUTH wrong -> -WRONGPASS invalid username-password pair or user is disabled.
		RESET -> +RESET
		GET k -> -NOAUTH Authentication required.
		AUTH default secret -> +OK
		QUIT -> +OK
	`)
	c := dial(t, s)
	require.Contains(t, c.do("HELLO 3 AUTH default secret SETNAME me"), "%7 $6 server $5 redis")
	c.exchanges(`
		CLIENT GETNAME -> $2 me
		GET k -> _
	`)
}

func TestLimitsBeforeAuth(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.Password = "secret" })
	for sent, want := range map[string]string{
		"*11\r\n":          "-ERR Protocol error: unauthenticated multibulk length",
		"*1\r\n$16385\r\n": "-ERR Protocol error: unauthenticated bulk length",
		"AUTH secret\r\n":  "-ERR Protocol error: unauthenticated inline request",
	} {
		c := dial(t, s)
		c.raw(sent)
		require.Equal(t, want, c.read())
		c.closed()
	}
	// In one piece with AUTH, what follows has the wider limits.
	c := dial(t, s)
	c.raw("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n" + string(resp.AppendCommand(nil, "SET", "k", strings.Repeat("v", 20_000))) + "PING\r\n")
	require.Equal(t, "+OK", c.read())
	require.Equal(t, "+OK", c.read())
	require.Equal(t, "+PONG", c.read())
}

func TestConnectionCap(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.MaxClients = 2 })
	first, second := dial(t, s), dial(t, s)
	require.Equal(t, "+PONG", first.do("PING"))
	require.Equal(t, "+PONG", second.do("PING"))
	ours, theirs := net.Pipe()
	defer ours.Close()
	go s.ServeConn(theirs) // it writes before it returns
	third := &client{t, ours, resp.NewReplyReader(ours, resp.ReplyLimits{})}
	require.Equal(t, "-ERR max number of clients reached", third.read())
	third.closed()
	require.Equal(t, int64(1), s.Stats().Rejected)
	require.Equal(t, "+OK", first.do("QUIT"))
	first.closed()
	require.Eventually(t, func() bool { return s.Stats().Clients == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "+PONG", dial(t, s).do("PING"))
}

func TestAPanicEndsOneConnection(t *testing.T) {
	s, f := open(t)
	c, other := dial(t, s), dial(t, s)
	f.set(func() { f.panics = true })
	c.send("GET k")
	c.closed()
	require.Equal(t, "+PONG", other.do("PING"))
	require.Contains(t, other.do("MGET a b c d e"), "-ERR internal error: a planted bug")
	f.set(func() { f.panics = false })
	require.Equal(t, "$-1", other.do("GET k"))
	require.GreaterOrEqual(t, s.Stats().Panics, int64(2))
}

func TestAnAnswerOverTheLimitIsCutOff(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.OutputLimit = 100_000 })
	c := dial(t, s)
	c.send("SET k " + strings.Repeat("v", 60_000))
	require.Equal(t, "+OK", c.read())
	c.send("MGET k k")
	c.closed()
	require.Equal(t, int64(1), s.Stats().CutOff)
}

// The rest moves the clock.

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t)
		defer s.cancel()
		c := dial(t, s)
		c.raw("PING\r\n") // and the answer stays in the pipe, which holds nothing
		time.Sleep(9 * time.Second)
		require.Equal(t, 1, s.Stats().Clients)
		time.Sleep(4 * time.Second)
		require.Equal(t, 0, s.Stats().Clients)
		require.Equal(t, int64(1), s.Stats().CutOff)
		_, err := c.conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, func(cfg *Config) { cfg.IdleTimeout = time.Minute })
		defer s.cancel()
		idle, busy, sub := dial(t, s), dial(t, s), dial(t, s)
		require.Contains(t, sub.do("SUBSCRIBE news"), "subscribe")
		for range 4 {
			time.Sleep(30 * time.Second)
			require.Equal(t, "+PONG", busy.do("PING"))
		}
		require.Equal(t, 2, s.Stats().Clients)
		require.Equal(t, int64(1), s.Stats().Idle)
		_, err := idle.conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestWhoDoesNotAuthenticateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, func(cfg *Config) { cfg.Password = "secret" })
		defer s.cancel()
		c, good := dial(t, s), dial(t, s)
		require.Equal(t, "+OK", good.do("AUTH secret"))
		c.raw("*2\r\n$4\r\nAU") // and no more
		time.Sleep(12 * time.Second)
		require.Equal(t, 1, s.Stats().Clients)
		time.Sleep(time.Hour)
		require.Equal(t, "+PONG", good.do("PING"))
	})
}

func TestShutdownFinishesWhatWasSent(t *testing.T) {
	s, _ := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	c := &client{t, nc, resp.NewReplyReader(nc, resp.ReplyLimits{})}
	require.Equal(t, "+PONG", c.do("PING"))
	require.NoError(t, s.Shutdown(t.Context()))
	require.ErrorIs(t, <-served, ErrServerClosed)
	c.closed()
	require.Zero(t, s.Stats().Clients)
	require.NoError(t, s.Shutdown(t.Context()), "twice is fine")
	l2, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, s.Serve(l2), ErrServerClosed)
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t)
		c := dial(t, s)
		c.raw("PING\r\n") // the answer is never read
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		require.Zero(t, s.Stats().Clients)
	})
}

func TestAHalfClosedConnectionIsAnswered(t *testing.T) {
	s, _ := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go s.Serve(l) //nolint:errcheck // Shutdown ends it
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_, err = nc.Write([]byte("PING\r\nECHO hi\r\nPIN"))
	require.NoError(t, err)
	require.NoError(t, nc.(*net.TCPConn).CloseWrite())
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(10*time.Second)))
	all, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n$2\r\nhi\r\n", string(all))
}

func TestClientListAndKill(t *testing.T) {
	s, _ := open(t)
	a, b := dial(t, s), dial(t, s)
	require.Equal(t, ":1", a.do("CLIENT ID"))
	require.Equal(t, ":2", b.do("CLIENT ID"))
	require.Equal(t, "+OK", b.do("CLIENT SETNAME bee"))
	require.Equal(t, "+OK", b.do("CLIENT SETINFO LIB-NAME lib"))
	list := a.do("CLIENT LIST")
	require.Contains(t, list, "id=1 ")
	require.Contains(t, list, "name=bee ")
	require.Contains(t, list, "lib-name=lib")
	require.NotContains(t, a.do("CLIENT LIST ID 1"), "id=2 ")
	require.Equal(t, ":1", a.do("CLIENT KILL ID 2"))
	b.closed()
	require.Equal(t, ":0", a.do("CLIENT KILL ID 1"), "it skips itself")
	require.Equal(t, ":1", a.do("CLIENT KILL ID 1 SKIPME no"))
	a.closed()
}

func TestNothingIsAllocatedForALocalCommand(t *testing.T) {
	s, _ := open(t)
	c := newConn(s, nopConn{})
	set := [][]byte{[]byte("SET"), []byte("sess:0123456789abcdef0123456789abcdef"), []byte("v")}
	get := [][]byte{[]byte("get"), set[1]}
	c.run(set)
	c.out.B = make([]byte, 0, 1<<20)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		c.run(get)
		c.out.B = c.out.B[:0]
	}), 0.0)
}

// nopConn goes nowhere.
type nopConn struct{ net.Conn }

func (nopConn) RemoteAddr() net.Addr { return &net.TCPAddr{Port: 50_000} }

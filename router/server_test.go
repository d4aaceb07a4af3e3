package router_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/router"
)

// exchange sends bytes on a connection of its own and returns the answer and
// what is left to read.
func (f *front) raw(t *testing.T, text string) (*http.Response, *bufio.Reader, net.Conn) {
	t.Helper()
	conn := dial(t, f)
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	return resp, r, conn
}

// A client of HTTP/1.0 understands neither chunks nor interim answers: its
// answer ends with the connection.
func TestOldClient(t *testing.T) {
	m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "one ")
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, "two")
	})
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
	conn := dial(t, f)
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	require.Equal(t, "one two", body)
	require.Contains(t, head, "Connection: close")
	require.NotContains(t, head, "chunked")
	require.Equal(t, "localhost", m.only(t).host, "HTTP/1.1 must name one")
}

// A client that sends on when its request has been refused is not reset before
// it comes to read why.
func TestRefusedWhileItSends(t *testing.T) {
	f := open(t, router.Config{Lookup: fixed(gone(t, "owner"), router.Target{})})
	conn := dial(t, f)
	const size = 16 << 20 // more than the sockets hold
	fmt.Fprintf(conn, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	_, err := conn.Write(make([]byte, size))
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, answer.StatusCode)
	_, err = io.ReadAll(answer.Body)
	require.NoError(t, err)
}

// Each answer is told of once, with its final status.
func TestAnswered(t *testing.T) {
	m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	told := make(chan int, 8)
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Answered: func(status int, took time.Duration) {
		if took > 0 {
			told <- status
		}
	}})
	f.do(t, "GET", "/", "")
	f.raw(t, "GET / HTTP/1.1\r\n\r\n")
	require.Equal(t, http.StatusTeapot, <-told)
	require.Equal(t, http.StatusBadRequest, <-told)
	require.Empty(t, told)
}

// Shutdown lets a request under way be answered, says that the connection ends
// with it, and closes the unused ones at once.
func TestShutdown(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-answer
		}
		fmt.Fprint(w, "answer")
	})
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
	resp, idle, _ := f.raw(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)

	busy := dial(t, f)
	fmt.Fprint(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- f.Shutdown(t.Context()) }()
	_, err = idle.ReadByte()
	require.ErrorIs(t, err, io.EOF, "the unused one")
	select {
	case <-ended:
		require.Fail(t, "a request is under way")
	default:
	}
	close(answer)
	resp, err = http.ReadResponse(bufio.NewReader(busy), nil)
	require.NoError(t, err)
	require.True(t, resp.Close)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "answer", string(body))
	require.NoError(t, <-ended)
	_, err = net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	require.Error(t, err)
}

// Shutdown cuts off what has not ended when its time is up.
func TestShutdownCutsOff(t *testing.T) {
	arrived := make(chan struct{})
	m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
	conn := dial(t, f)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Shutdown(ctx), context.Canceled)
	_, err := io.ReadAll(conn)
	if err != nil {
		require.ErrorContains(t, err, "reset")
	}
}

// Each leg has its own bound, and a stream that pauses is not cut by any of
// them.
func TestTimeouts(t *testing.T) {
	const short = 30 * time.Millisecond
	silentOwner, _ := script(t, "owner", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })

	t.Run("answer of the application", func(t *testing.T) {
		f := open(t, router.Config{Lookup: fixed(silentOwner, router.Target{}), AppTimeout: short})
		requireProblem(t, f.do(t, "GET", "/", ""), http.StatusBadGateway, "member-silent")
		require.EqualValues(t, 1, f.Stats().Silent)
	})
	t.Run("unused client", func(t *testing.T) {
		f := open(t, router.Config{Lookup: fixed(silentOwner, router.Target{}), ClientIdleTimeout: short})
		_, err := dial(t, f).Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "without a word: nothing was asked")
	})
	t.Run("member that takes no more", func(t *testing.T) {
		stuck, _ := script(t, "stuck", func(c net.Conn) { readHead(c); <-t.Context().Done() })
		f := open(t, router.Config{Lookup: fixed(stuck, router.Target{}), WriteTimeout: short, AppTimeout: waitLimit})
		conn := dial(t, f)
		go func() {
			fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
			_, _ = io.Copy(conn, io.LimitReader(zeros{}, 100_000_000))
		}()
		require.Eventually(t, func() bool { return f.Stats().Errors+f.Stats().Cancelled == 1 }, waitLimit, tick)
	})
	t.Run("client that reads no more", func(t *testing.T) {
		m := start(t, "a", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, io.LimitReader(zeros{}, 100_000_000)) })
		f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), WriteTimeout: short})
		fmt.Fprint(dial(t, f), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Eventually(t, func() bool { return f.Stats().Cancelled == 1 }, waitLimit, tick)
	})
	t.Run("pausing stream", func(t *testing.T) {
		resume := make(chan struct{})
		m := start(t, "a", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "a")
			_ = http.NewResponseController(w).Flush()
			<-resume
			fmt.Fprint(w, "b")
		})
		f := open(t, router.Config{
			Lookup: fixed(m.target, router.Target{}), AppTimeout: short, AnswerTimeout: short, HeadTimeout: short, BodyTimeout: short, ClientIdleTimeout: short,
		})
		resp, err := f.client.Get(f.url + "/")
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.ReadFull(resp.Body, make([]byte, 1))
		require.NoError(t, err)
		time.AfterFunc(5*short, func() { close(resume) }) // all bounds have passed by then
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "b", string(rest))
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A connection that the member has closed is seen before it is used, so that a
// request which must not be sent twice is sent once.
func TestClosedConnectionIsNotUsed(t *testing.T) {
	m := start(t, "a", nil)
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{})})
	for range 20 {
		require.Equal(t, "a", f.do(t, "POST", "/buy", "1").body)
		require.Eventually(t, func() bool { return m.reset(func(s http.ConnState) bool { return s == http.StateIdle }) > 0 }, waitLimit, tick)
	}
	require.Zero(t, f.Stats().Retries)
}

// Connections to members are used again.
func TestConnectionsAreKept(t *testing.T) {
	var made atomic.Int32
	m := start(t, "a", nil)
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		made.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}})
	for i := range 20 {
		require.Equal(t, 200, f.do(t, []string{"GET", "PUT", "HEAD", "DELETE"}[i%4], "/", "").StatusCode)
	}
	require.EqualValues(t, 1, made.Load())
}

// An answer to one request is never another's: a member that says more than it
// was asked loses its connection.
func TestAnswerTooMany(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
	owner, served := script(t, "owner", func(c net.Conn) {
		readHead(c)
		io.WriteString(c, ok+"mine"+ok+"evil")
		readHead(c)
	})
	f := open(t, router.Config{Lookup: fixed(owner, router.Target{})})
	for range 3 {
		require.Equal(t, "mi", f.do(t, "GET", "/", "").body)
	}
	require.EqualValues(t, 3, served.Load())
}

// An answer that can be read in two ways is none.
func TestMalformedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"two lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
		"length and chunks": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF":           "HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
		"fold":              "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
		"no status":         "HTTP/1.1 OK\r\n\r\n",
		"switch unasked":    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
	} {
		owner, _ := script(t, "owner", func(c net.Conn) { readHead(c); io.WriteString(c, answer) })
		f := open(t, router.Config{Lookup: fixed(owner, router.Target{})})
		t.Log(name)
		requireProblem(t, f.do(t, "POST", "/", ""), http.StatusBadGateway, "connection-broken")
	}
}

// A connection that is one too many is closed, and its end makes room.
func TestAdmit(t *testing.T) {
	m := start(t, "a", nil)
	gate := admit.New(2, 2, func(netip.Addr, bool) {})
	f := open(t, router.Config{Lookup: fixed(m.target, router.Target{}), Admit: gate.Enter})
	ask := func(conn net.Conn) error {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	first, second, third := dial(t, f), dial(t, f), dial(t, f)
	require.NoError(t, ask(first))
	require.NoError(t, ask(second))
	require.Error(t, ask(third))
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return gate.Open() == 1 }, waitLimit, tick)
	require.NoError(t, ask(dial(t, f)))
	require.NoError(t, ask(second), "nobody who was in has noticed")
	full, _ := gate.Refused()
	require.EqualValues(t, 1, full)
}

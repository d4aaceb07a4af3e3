package router_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// A large body reaches the member while the client is still sending it, and is
// sent once only.
func TestLargeBodyStreams(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		firstHalf := make(chan struct{})
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadFull(r.Body, make([]byte, 1000))
			if err == nil {
				close(firstHalf)
			}
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n+1000)
		})
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{}), RetryBody: 1000})
		for _, path := range []string{"/upload", "/v1/sessions/a"} {
			firstHalf = make(chan struct{})
			body, writer := io.Pipe()
			go func() {
				_, _ = writer.Write(make([]byte, 1001))
				<-firstHalf
				_, _ = writer.Write(make([]byte, 1000))
				writer.Close()
			}()
			require.Equal(t, "2001", f.send(t, "PUT", path, body).body)
		}
	})
}

func TestLargeBodyIsNotRepeated(t *testing.T) {
	owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 10)
		panic(http.ErrAbortHandler)
	})
	successor := start(t, "successor", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
	got := f.do(t, "PUT", "/v1/sessions/a", strings.Repeat("x", 64<<10+1))
	requireProblem(t, got, http.StatusBadGateway, "connection-broken")
	require.Empty(t, successor.requests())
}

// A large body takes a fresh connection: it could not be sent again if a kept
// one were stale.
func TestLargeBodyMeetsNoStaleConnection(t *testing.T) {
	owner := start(t, "owner", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
	for range 30 {
		f.do(t, "GET", "/", "")
		owner.reset(func(http.ConnState) bool { return true })
		require.Equal(t, 200, f.do(t, "POST", "/upload", strings.Repeat("x", 64<<10+1)).StatusCode)
	}
}

func TestClientLeaves(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		arrived, ended := make(chan struct{}), make(chan struct{})
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			close(ended)
		})
		successor := start(t, "successor", nil)
		f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", f.url+"/slow", nil)
		require.NoError(t, err)
		go func() { <-arrived; cancel() }()
		_, err = f.client.Do(req)
		require.ErrorIs(t, err, context.Canceled)
		<-ended
		require.Eventually(t, func() bool { return f.Stats().Cancelled == 1 }, waitLimit, tick)
		require.Empty(t, successor.requests(), "nobody waits for that answer")
		require.Zero(t, f.Stats().Errors)
	})
}

func TestClientLeavesWhileSending(t *testing.T) {
	begun := make(chan struct{})
	owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 10)
		close(begun)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	successor := start(t, "successor", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
	conn := dial(t, f)
	fmt.Fprintf(conn, "PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 5000))
	<-begun
	conn.Close()
	require.Eventually(t, func() bool { s := f.Stats(); return s.Cancelled+s.Errors == 1 }, waitLimit, tick)
	require.Zero(t, f.Stats().Failovers, "the member is not to blame")
	require.Empty(t, successor.requests())
}

// Each event is passed on when it is written, not when a buffer is full.
func TestServerSentEvents(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		next := make(chan struct{})
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				_ = http.NewResponseController(w).Flush()
				<-next
			}
		})
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
		resp, err := f.client.Get(f.url + "/events")
		require.NoError(t, err)
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for i := range 3 {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("data: %d\n", i), line)
			_, _ = lines.ReadString('\n')
			next <- struct{}{}
		}
	})
}

func TestTrailersBothWays(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
			w.Header().Set("X-Sum", "out")
			w.Header().Set(http.TrailerPrefix+"X-Late", "late")
		})
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
		req, err := http.NewRequest("POST", f.url+"/", struct{ io.Reader }{strings.NewReader("body")})
		require.NoError(t, err)
		req.Trailer = http.Header{"X-Check": {"in"}}
		resp, err := f.client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "body", string(body))
		require.Equal(t, http.Header{"X-Sum": {"out"}, "X-Late": {"late"}}, resp.Trailer)
		require.Equal(t, "in", owner.only(t).trailer.Get("X-Check"))
	})
}

func TestEarlyHints(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("X-Final", "1")
			w.WriteHeader(http.StatusOK)
		})
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{}), Finder: &router.Finder{Trust: trustNobody}})
		hints := make(chan textproto.MIMEHeader, 1)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				hints <- h
			}
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, "GET", f.url+"/", nil)
		require.NoError(t, err)
		resp, err := f.client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		hint := <-hints
		require.Equal(t, "</a.css>; rel=preload", hint.Get("Link"))
		require.Empty(t, hint.Get("Set-Cookie"))
		require.NotEmpty(t, resp.Cookies(), "the cookie belongs to the final answer")
		require.Equal(t, "1", resp.Header.Get("X-Final"))
	})
}

// A client that asks first is told to go on by the member when the body
// streams, and by the router when it is held; a member's no stands.
func TestExpectContinue(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
		})
		unwilling, _ := script(t, "unwilling", func(c net.Conn) {
			readHead(c)
			io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		})
		f := open(t, router.Config{RetryBody: 100, Lookup: func(key string) router.Route {
			if key == "no" {
				return router.Route{Owner: unwilling}
			}
			return router.Route{Owner: owner.target}
		}})
		for _, c := range []struct {
			path   string
			size   int
			status []int
		}{
			{"/v1/sessions/a", 100, []int{100, 200}},
			{"/v1/sessions/a", 101, []int{100, 200}},
			{"/upload", 100_000, []int{100, 200}},
			{"/v1/sessions/no", 100_000, []int{417}},
		} {
			conn := dial(t, f)
			fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", c.path, c.size)
			reader := bufio.NewReader(conn)
			for _, want := range c.status {
				resp, err := http.ReadResponse(reader, &http.Request{Method: "PUT"})
				require.NoError(t, err)
				require.Equal(t, want, resp.StatusCode, c.path)
				switch want {
				case 100:
					_, err := io.WriteString(conn, strings.Repeat("x", c.size))
					require.NoError(t, err)
				case 200:
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(c.size), string(body))
				}
			}
			conn.Close()
		}
	})
}

// upgrade answers a handshake as a WebSocket server does and then echoes lines
// with its name.
func upgrade(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, "no upgrade asked")
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			r.Header.Get("Sec-WebSocket-Key"))
		for {
			line, err := buffered.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s: %s", name, line)
		}
	}
}

func TestWebSocket(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("owner lost=%v", lost), func(t *testing.T) {
			owner, successor := start(t, "owner", upgrade("owner")), start(t, "successor", upgrade("successor"))
			want := "owner"
			if lost {
				owner.kill()
				want = "successor"
			}
			f := open(t, router.Config{Lookup: fixed(owner.target, successor.target), Finder: &router.Finder{Trust: trustNobody}})
			conn, reader, resp := handshake(t, f, "websocket")
			require.Equal(t, 101, resp.StatusCode)
			require.Equal(t, "a2V5", resp.Header.Get("Sec-WebSocket-Accept"))
			require.NotEmpty(t, resp.Cookies(), "the pin is set by this answer too")
			for i := range 3 {
				fmt.Fprintf(conn, "line %d\n", i)
				line, err := reader.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, fmt.Sprintf("%s: line %d\n", want, i), line)
			}
		})
	}
}

func TestCloseEndsWebSockets(t *testing.T) {
	owner := start(t, "owner", upgrade("owner"))
	f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
	_, reader, resp := handshake(t, f, "websocket")
	require.Equal(t, 101, resp.StatusCode)
	f.Close()
	rest, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "\x88\x02\x03\xe9", string(rest), "a close frame that says going away, and the end")
	f.Close() // twice is fine
}

func TestOtherUpgradesAreNotOffered(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		owner := start(t, "owner", upgrade("owner"))
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
		_, _, resp := handshake(t, f, "h2c")
		require.Equal(t, 200, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "no upgrade asked", string(body))
	})
}

func handshake(t *testing.T, f *front, protocol string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn := dial(t, f)
	fmt.Fprintf(conn, "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n", protocol)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, &http.Request{Method: "GET"})
	require.NoError(t, err)
	return conn, reader, resp
}

func dial(t *testing.T, f *front) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

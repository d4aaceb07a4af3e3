package router_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// vector is one line of testdata/vectors.txt.
type vector struct {
	at      int // its line
	kind    string
	bytes   string
	status  int // 0 for ok
	cut     bool
	count   int
	line    string
	body    string
	absent  []string // "Name" or "Name:value"
	present []string // "Name: value"
	trusted bool
}

// A request is refused, or exactly one comes out for one that goes in, and it
// is the same.
func TestVectors(t *testing.T) {
	vectors := readVectors(t)
	require.GreaterOrEqual(t, len(vectors), 150)
	refused := 0
	for _, v := range vectors {
		t.Run(fmt.Sprintf("line_%d", v.at), func(t *testing.T) {
			t.Parallel()
			checkVector(t, v)
		})
		if v.status != 0 {
			refused++
		}
	}
	t.Logf("%d vectors: %d refused, %d passed on", len(vectors), refused, len(vectors)-refused)
}

func checkVector(t *testing.T, v vector) {
	b := openBackend(t)
	trust := trustNobody
	if v.trusted {
		trust = netip.Addr.IsLoopback
	}
	cfg := router.Config{Lookup: fixed(b.target, router.Target{}), Finder: &router.Finder{Trust: trust}}
	if v.kind == "stall" {
		cfg.HeadTimeout, cfg.BodyTimeout = 20*time.Millisecond, 20*time.Millisecond
	}
	statuses := talk(t, open(t, cfg), v)
	b.stop()

	if v.status != 0 {
		require.Equal(t, []int{v.status}, statuses)
		require.Empty(t, b.requests, "whole requests at the backend")
		if !v.cut {
			require.Zero(t, b.received, "bytes at the backend")
		}
		return
	}
	require.Len(t, b.requests, v.count, "%d", statuses)
	require.Zero(t, b.refused, "the backend reads what the router reads")
	for _, status := range statuses[:v.count] {
		require.Equal(t, 200, status)
	}
	if v.count == 1 && v.kind != "raw" || v.line != "" || v.body != "" {
		requireIdentical(t, v, b.requests[0])
	}
}

// talk sends the vector and returns the statuses of all answers, in order.
func talk(t *testing.T, f *front, v vector) (statuses []int) {
	conn := dial(t, f).(*net.TCPConn)
	require.NoError(t, conn.SetDeadline(time.Now().Add(waitLimit)))
	var group sync.WaitGroup
	group.Go(func() {
		_, _ = io.WriteString(conn, v.bytes) // a refused client may be cut off while it sends
		if v.kind != "stall" {
			_ = conn.CloseWrite()
		}
	})
	r := bufio.NewReader(conn)
	for {
		method := "GET"
		if strings.HasPrefix(v.bytes, "HEAD") {
			method = "HEAD"
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			break
		}
		if resp.StatusCode >= 200 {
			statuses = append(statuses, resp.StatusCode)
		}
		if _, err = io.Copy(io.Discard, resp.Body); err != nil {
			break
		}
	}
	conn.Close()
	group.Wait()
	return statuses
}

// requireIdentical compares what was sent with what has arrived.
func requireIdentical(t *testing.T, v vector, got seen) {
	head, _, _ := strings.Cut(v.bytes, "\r\n\r\n")
	line, fields, _ := strings.Cut(head, "\r\n")
	if v.line != "" {
		line = v.line
	}
	require.Equal(t, line, got.method+" "+got.uri+" HTTP/1.1")
	require.Equal(t, v.body, got.body)
	want := http.Header{}
	for _, f := range strings.Split(fields, "\r\n") {
		name, value, _ := strings.Cut(f, ":")
		if name = textproto.CanonicalMIMEHeaderKey(name); name != "" {
			want[name] = append(want[name], strings.Trim(value, " \t"))
		}
	}
	require.Equal(t, want.Get("Host"), strings.Replace(got.host, "localhost", want.Get("Host"), 1))
	want.Del("Host")
	// net/http keeps it apart, and a body that is here already needs none
	want.Del("Transfer-Encoding")
	for _, absent := range v.absent {
		name, value, _ := strings.Cut(absent, ":")
		name = textproto.CanonicalMIMEHeaderKey(name)
		delete(want, name)
		for _, is := range append(got.header[name], got.trailer[name]...) {
			require.False(t, value == "" || is == value || strings.HasPrefix(is, value+"="), "%s: %s must not arrive", name, is)
		}
	}
	for _, present := range v.present {
		name, value, _ := strings.Cut(present, ": ")
		in := got.header
		if trailer, ok := strings.CutPrefix(name, "Trailer "); ok {
			name, in = trailer, got.trailer
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		require.Equal(t, []string{value}, in[name], name)
		delete(want, name)
	}
	for name, values := range want {
		require.Equal(t, values, got.header[name], name)
	}
	for name := range got.header {
		switch name {
		case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Holdfast-Hop", "Holdfast-Key", "Holdfast-New", "Cookie", "Content-Length", "Trailer":
		default:
			_, sent := want[name]
			require.True(t, sent || mentions(v.present, name), "%s was made up", name)
		}
	}
}

func mentions(list []string, name string) bool {
	for _, s := range list {
		if textproto.CanonicalMIMEHeaderKey(strings.Split(s, ":")[0]) == name {
			return true
		}
	}
	return false
}

// backend is net/http's server, which counts what reaches it: bytes, whole
// requests, and requests that it refuses.
type backend struct {
	target router.Target
	server *http.Server
	done   chan struct{}
	once   sync.Once

	mu       sync.Mutex // guards the rest
	received int
	refused  int
	requests []seen
}

func openBackend(t *testing.T) *backend {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &backend{target: router.Target{Name: "b", HTTP: ln.Addr().String()}, done: make(chan struct{})}
	b.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // not a whole request
		}
		b.mu.Lock()
		b.requests = append(b.requests, seen{r.Method, r.RequestURI, r.Host, string(body), r.Header, r.Trailer})
		b.mu.Unlock()
		_, _ = w.Write(body)
	})}
	go func() {
		defer close(b.done)
		_ = b.server.Serve(countingListener{ln, b}) // its error is only that it was closed
	}()
	t.Cleanup(b.stop)
	return b
}

func (b *backend) stop() {
	b.once.Do(func() {
		_ = b.server.Close()
		<-b.done
	})
}

type countingListener struct {
	net.Listener
	b *backend
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, l.b}, err
}

type countingConn struct {
	net.Conn
	b *backend
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.b.received += n
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	c.b.mu.Lock()
	if bytes.HasPrefix(p, []byte("HTTP/1.1 4")) || bytes.HasPrefix(p, []byte("HTTP/1.1 5")) {
		c.b.refused++
	}
	c.b.mu.Unlock()
	return c.Conn.Write(p)
}

var (
	vectorLine = regexp.MustCompile(`^(\w+) ("(?:\\.|[^"\\])*")(?: ("(?:\\.|[^"\\])*"))? (ok|cut \d+|\d+)(.*)$`)
	vectorRest = regexp.MustCompile(`^ (trusted|n=\d+|not=\S+|line="[^"]*"|body="[^"]*"|has="[^"]*")`)
	repeated   = regexp.MustCompile(`(?s)\{([^{}*]+)\*(\d+)\}`)
)

func readVectors(t *testing.T) (vectors []vector) {
	text, err := os.ReadFile("testdata/vectors.txt")
	require.NoError(t, err)
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		m := vectorLine.FindStringSubmatch(line)
		require.NotNil(t, m, "line %d: %s", i+1, line)
		v := vector{at: i + 1, kind: m[1], count: 1, bytes: compose(t, m[1], unquote(t, m[2]), unquote(t, m[3]))}
		outcome, cut := strings.CutPrefix(m[4], "cut ")
		v.cut = cut
		if outcome != "ok" {
			v.status, err = strconv.Atoi(outcome)
			require.NoError(t, err)
		}
		rest := m[5]
		for {
			m := vectorRest.FindStringSubmatch(rest)
			if m == nil {
				break
			}
			rest = rest[len(m[0]):]
			key, value, _ := strings.Cut(m[1], "=")
			value = strings.Trim(value, `"`)
			switch key {
			case "trusted":
				v.trusted = true
			case "n":
				v.count, err = strconv.Atoi(value)
				require.NoError(t, err)
			case "not":
				v.absent = strings.Split(value, ",")
			case "line":
				v.line = value
			case "body":
				v.body = value
			case "has":
				v.present = append(v.present, value)
			}
		}
		comment := strings.TrimLeft(rest, " ")
		require.True(t, comment == "" || comment[0] == '#', "line %d: %q is no outcome", i+1, rest)
		vectors = append(vectors, v)
	}
	return vectors
}

func unquote(t *testing.T, s string) string {
	if s == "" {
		return ""
	}
	text, err := strconv.Unquote(s)
	require.NoError(t, err, s)
	return repeated.ReplaceAllStringFunc(text, func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		n, err := strconv.Atoi(parts[2])
		require.NoError(t, err)
		return strings.Repeat(parts[1], n)
	})
}

func compose(t *testing.T, kind, text, body string) string {
	switch kind {
	case "line":
		return text + "\r\nHost: x\r\n\r\n"
	case "field":
		return "GET /x HTTP/1.1\r\nHost: x\r\n" + text + "\r\n"
	case "host":
		return "GET /x HTTP/1.1\r\n" + text + "\r\n"
	case "post":
		return "POST /x HTTP/1.1\r\nHost: x\r\n" + text + "\r\n" + body
	case "chunks":
		return "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + text
	case "raw", "stall":
		return text
	}
	require.Fail(t, "unknown kind", kind)
	return ""
}

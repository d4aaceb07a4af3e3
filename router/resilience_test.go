package router_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// pair is an owner that can be killed, and its successor, with a route that
// follows.
func pair(t *testing.T, h func(name string) http.HandlerFunc) (owner, successor *member, f *front) {
	owner, successor = start(t, "owner", h("owner")), start(t, "successor", h("successor"))
	return owner, successor, open(t, router.Config{Lookup: fixed(owner.target, successor.target), DialTimeout: waitLimit, AnswerTimeout: waitLimit})
}

// A stream that breaks with its owner is seen to break, and the page that
// connects again goes on at the successor, from where it was.
func TestEventsThroughAFailover(t *testing.T) {
	owner, _, f := pair(t, func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: %s after %q\n\n", name, r.Header.Get("Last-Event-ID"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})
	listen := func(last string) (*bufio.Reader, io.Closer) {
		req, err := http.NewRequest("GET", f.url+"/events", nil)
		require.NoError(t, err)
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		resp, err := f.client.Do(req)
		require.NoError(t, err)
		return bufio.NewReader(resp.Body), resp.Body
	}
	events, first := listen("")
	defer first.Close()
	line, err := events.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: owner after \"\"\n", line)
	owner.kill()
	_, err = io.ReadAll(events)
	require.Error(t, err, "not an end that looks like one")
	require.EqualValues(t, 1, f.Stats().Broken)

	events, second := listen("7")
	defer second.Close()
	line, err = events.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: successor after \"7\"\n", line)
}

// A large upload whose owner dies in the middle is not carried out by anyone
// else; sent again by its client, it arrives whole at the successor.
func TestLargeUploadThroughAFailover(t *testing.T) {
	begun := make(chan struct{}, 2)
	owner, successor, f := pair(t, func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1000))
			begun <- struct{}{}
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, name, " ", n+1000)
		}
	})
	const size = 20 << 20
	body, writer := io.Pipe()
	go func() {
		_, _ = writer.Write(make([]byte, 70_000))
		<-begun
		owner.kill()
		_, _ = io.CopyN(writer, zeros{}, size-70_000)
		writer.Close()
	}()
	req, err := http.NewRequest("PUT", f.url+"/upload", body)
	require.NoError(t, err)
	req.ContentLength = size
	// Or the connection ends while the client still sends.
	if resp, err := f.client.Do(req); err == nil {
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
		resp.Body.Close()
	}
	body.Close()
	require.Empty(t, successor.requests())
	require.Equal(t, fmt.Sprint("successor ", size), f.send(t, "PUT", "/upload", io.LimitReader(zeros{}, size)).body)
}

// A large answer comes through whole, from the successor when the owner is
// gone.
func TestLargeAnswerThroughAFailover(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	for _, chunked := range []bool{false, true} {
		owner, _, f := pair(t, func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if !chunked {
					w.Header().Set("Content-Length", fmt.Sprint(len(big)))
				}
				_, _ = w.Write(big)
			}
		})
		require.True(t, f.do(t, "GET", "/", "").body == string(big))
		owner.kill()
		require.True(t, f.do(t, "GET", "/", "").body == string(big))
	}
}

// frame is a small WebSocket frame of a server.
func frame(opcode byte, payload string) []byte {
	return append([]byte{0x80 | opcode, byte(len(payload))}, payload...)
}

// echoFrames answers the handshake, says its name in a frame, and sends back
// each frame that it gets. It tells how the client's last one read.
func echoFrames(name string, last chan<- []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = conn.Write(frame(1, name))
		for {
			opcode, payload, err := readFrame(buffered.Reader)
			if err != nil || opcode == 8 {
				if last != nil {
					last <- payload
				}
				return
			}
			_, _ = conn.Write(frame(opcode, string(payload)))
		}
	}
}

func readFrame(r io.Reader) (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0xf, payload, err
}

var closeGoingAway = []byte{0x03, 0xe9} // 1001

// A WebSocket whose owner dies hears that it goes away, and the page that
// connects again gets the successor.
func TestWebSocketThroughAFailover(t *testing.T) {
	owner := start(t, "owner", nil)
	killed := make(chan net.Conn, 1)
	owner.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = conn.Write(frame(1, "owner"))
		killed <- conn
	})
	successor := start(t, "successor", echoFrames("successor", nil))
	f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})

	_, r, resp := handshake(t, f, "websocket")
	require.Equal(t, 101, resp.StatusCode)
	opcode, payload, err := readFrame(r)
	require.NoError(t, err)
	require.EqualValues(t, 1, opcode)
	require.Equal(t, "owner", string(payload))
	owner.kill()
	reset(<-killed)
	opcode, payload, err = readFrame(r)
	require.NoError(t, err)
	require.EqualValues(t, 8, opcode, "a close frame")
	require.Equal(t, closeGoingAway, payload)
	_, err = r.ReadByte()
	require.ErrorIs(t, err, io.EOF)

	_, r, resp = handshake(t, f, "websocket")
	require.Equal(t, 101, resp.StatusCode)
	_, payload, err = readFrame(r)
	require.NoError(t, err)
	require.Equal(t, "successor", string(payload))
}

// In the middle of a frame there is no place for another one: the connection
// just ends.
func TestWebSocketBreaksWithinAFrame(t *testing.T) {
	owner, _ := script(t, "owner", func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = c.Write(frame(1, "hello")[:4])
	})
	f := open(t, router.Config{Lookup: fixed(owner, router.Target{})})
	_, r, _ := handshake(t, f, "websocket")
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, frame(1, "hello")[:4], rest)
}

// When the router closes, both ends hear it, and a client that answers is heard
// at the member.
func TestWebSocketIsClosedCleanly(t *testing.T) {
	for _, answers := range []bool{true, false} {
		last := make(chan []byte, 1)
		owner := start(t, "owner", echoFrames("owner", last))
		f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
		conn, r, _ := handshake(t, f, "websocket")
		_, _, err := readFrame(r)
		require.NoError(t, err)
		large := make([]byte, 200)
		// Frames that come in pieces and with long lengths count as well.
		_, err = conn.Write(append([]byte{0x82, 0x80 | 126, 0, 200, 0, 0, 0, 0}, large...))
		require.NoError(t, err)
		f.Close()
		for opcode := byte(0); opcode != 8; {
			var payload []byte
			opcode, payload, err = readFrame(r)
			require.NoError(t, err)
			require.True(t, opcode != 8 || bytes.Equal(closeGoingAway, payload))
		}
		if answers {
			_, err = conn.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8}) // 1000
			require.NoError(t, err)
			require.Equal(t, []byte{0x03, 0xe8}, <-last)
		} else {
			conn.Close()
			require.Equal(t, closeGoingAway, <-last, "the router speaks for a client that says nothing")
		}
	}
}

// A member that could not be dialled is passed over for a while, and tried all
// the same when there is no other.
func TestEjection(t *testing.T) {
	var dials atomic.Int32
	owner, successor := router.Target{Name: "owner", Boot: "1", HTTP: "192.0.2.1:80"}, start(t, "successor", nil)
	f := open(t, router.Config{Lookup: fixed(owner, successor.target), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == owner.HTTP {
			dials.Add(1)
			return nil, context.DeadlineExceeded
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}})
	for range 5 {
		require.Equal(t, "successor", f.do(t, "POST", "/buy", "1").body)
	}
	require.EqualValues(t, 1, dials.Load(), "the others did not wait for it")
	for _, s := range successor.requests() {
		require.Equal(t, []string{"owner/1"}, s.header["Holdfast-Failover"], "the successor is told in whose place it is asked")
	}

	dials.Store(0)
	alone := open(t, router.Config{Lookup: fixed(owner, router.Target{}), Dial: func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, syscall.ECONNREFUSED
	}})
	for range 3 {
		requireProblem(t, alone.do(t, "GET", "/", ""), http.StatusBadGateway, "member-unreachable")
	}
	require.EqualValues(t, 3, dials.Load())
}

// The sidecar of a member gets what it needs to know, and none of what
// members say to each other; when it is down, the successor stands in.
func TestSidecar(t *testing.T) {
	app, successor := start(t, "app", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Holdfast-Ring", "forged")
		fmt.Fprint(w, "app")
	}), start(t, "successor", nil)
	sidecar := app.target
	sidecar.Name, sidecar.Boot, sidecar.App = "me", "1", true
	f := open(t, router.Config{
		Lookup: fixed(sidecar, successor.target), ToApp: []router.Header{{Name: "Holdfast-Node", Value: "me"}, {Name: "Holdfast-Api", Value: "unix:/run/me"}},
		FromApp: func() []router.Header { return []router.Header{{Name: "Holdfast-Ring", Value: "abc"}} },
		Fence:   func(string, router.Target) string { return "fence" },
	})
	got := f.do(t, "GET", "/", "", "X-User-ID", "alice", "Holdfast-Hop", "2")
	require.Equal(t, "app", got.body, "it is no hop")
	require.Equal(t, []string{"abc"}, got.Header["Holdfast-Ring"])
	h := app.only(t).header
	require.Equal(t, "alice", h.Get("Holdfast-Key"))
	require.Equal(t, "me", h.Get("Holdfast-Node"))
	require.Equal(t, "unix:/run/me", h.Get("Holdfast-Api"))
	require.NotContains(t, h, "Holdfast-Hop")
	require.NotContains(t, h, "Holdfast-Fence")

	app.kill()
	require.Equal(t, "successor", f.do(t, "POST", "/", "body", "X-User-ID", "alice").body)
	h = successor.only(t).header
	require.Equal(t, "me/1", h.Get("Holdfast-Stand-In"))
	require.NotContains(t, h, "Holdfast-Failover", "its member lives")
	require.NotContains(t, h, "Holdfast-Api")
	require.Equal(t, "1", h.Get("Holdfast-Hop"))
	require.True(t, (*f.failed.Load())[0].App)
	requireProblem(t, f.do(t, "GET", "/", "", "Holdfast-Hop", "2"), http.StatusServiceUnavailable, "application-unreachable")
	alone := open(t, router.Config{Lookup: fixed(sidecar, router.Target{})})
	requireProblem(t, alone.do(t, "GET", "/", ""), http.StatusBadGateway, "application-unreachable")
	got = alone.do(t, "GET", "/", "", "Holdfast-Hop", "1")
	requireProblem(t, got, http.StatusServiceUnavailable, "application-unreachable")
	require.Equal(t, "1", got.Header.Get("Holdfast-Retry"), "who has passed it on may ask another member")
}

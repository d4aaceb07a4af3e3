package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/steady"
	"github.com/seed-95a32959/holdfast/session"
)

// bodyDoor is a door behind a real server, whose bodies together have a limit.
func bodyDoor(t *testing.T, limit int64, patience time.Duration) (*httptest.Server, *buffers.Budget) {
	t.Helper()
	node := newOneNode(t, session.Config{})
	bodies := buffers.New(limit)
	s := httptest.NewServer(steady.Bodies(New(Config{Sessions: node, SamePartition: node.samePartition, Bodies: bodies}), patience))
	t.Cleanup(s.Close)
	return s, bodies
}

// upload begins a PUT of so many bytes, and sends some of them.
func upload(t *testing.T, s *httptest.Server, key string, announced, sent int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	length := fmt.Sprintf("Content-Length: %d", announced)
	if announced < 0 {
		length = "Transfer-Encoding: chunked"
	}
	_, err = fmt.Fprintf(conn, "PUT /v1/sessions/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n", key, length)
	require.NoError(t, err)
	body := strings.Repeat("x", sent)
	if announced < 0 {
		body = fmt.Sprintf("%x\r\n%s\r\n", sent, body)
	}
	_, err = fmt.Fprint(conn, body)
	require.NoError(t, err)
	return conn
}

func status(t *testing.T, conn net.Conn) int {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	resp.Body.Close()
	return resp.StatusCode
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, time.Millisecond, what)
}

// Many who send much of their bodies, and then no more, take no more than there
// is, and hold up nobody who has little to send.
func TestBodiesTogetherAreBounded(t *testing.T) {
	const limit = 1 << 20
	s, bodies := bodyDoor(t, limit, time.Hour)
	var held []net.Conn
	for i := range 40 {
		announced := 900_000
		if i%2 == 0 {
			announced = -1
		}
		held = append(held, upload(t, s, fmt.Sprint("large-", i), announced, 200_000))
		require.LessOrEqual(t, bodies.Used(), int64(limit))
	}
	eventually(t, "some were given up", func() bool { return bodies.Evicted()+bodies.Refused() > 20 })
	for i := range 50 {
		small := upload(t, s, fmt.Sprint("small-", i), 300, 300)
		require.Equal(t, http.StatusCreated, status(t, small))
		small.Close()
		require.LessOrEqual(t, bodies.Used(), int64(limit))
	}
	told := make(chan int, len(held))
	for _, conn := range held {
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				told <- 0 // cut off while it sent, or closed below
				return
			}
			told <- resp.StatusCode
		}()
	}
	for range 20 {
		require.Contains(t, []int{0, http.StatusServiceUnavailable}, <-told)
	}
	for _, conn := range held {
		conn.Close()
	}
	eventually(t, "all was given back", func() bool { return bodies.Used() == 0 })
}

// What a client announces takes no room, only what it sends.
func TestAnnouncedBodyCostsNothing(t *testing.T) {
	s, bodies := bodyDoor(t, 0, time.Hour)
	for i := range 10 {
		upload(t, s, fmt.Sprint(i), 1_000_000, 1)
	}
	eventually(t, "all are being read", func() bool { return bodies.Used() >= 10 })
	require.LessOrEqual(t, bodies.Used(), int64(10*(largeBody+1)))
	too := upload(t, s, "k", 17<<20, 0)
	require.Equal(t, http.StatusRequestEntityTooLarge, status(t, too), "told before it sends")
}

func TestBodyThatStandsStill(t *testing.T) {
	s, bodies := bodyDoor(t, 0, time.Millisecond)
	for _, announced := range []int{1000, -1} {
		conn := upload(t, s, "k", announced, 1)
		require.Equal(t, http.StatusRequestTimeout, status(t, conn))
	}
	eventually(t, "all was given back", func() bool { return bodies.Used() == 0 })
}

// Bodies of every size around the steps in which they are read arrive whole.
func TestBodiesArriveWhole(t *testing.T) {
	s, bodies := bodyDoor(t, 4<<20, time.Hour)
	for _, size := range []int{0, 1, firstRoom - 1, firstRoom, firstRoom + 1, 2 * firstRoom, largeBody - 1, largeBody, largeBody + 1, 2 * largeBody, 1<<20 - len(opaqueDefault) - 100} {
		for _, chunked := range []bool{false, true} {
			text := strings.Repeat("0123456789", size/10+1)[:size]
			r, err := http.NewRequest("PUT", s.URL+"/v1/sessions/k", io.NopCloser(strings.NewReader(text)))
			require.NoError(t, err)
			if r.ContentLength = int64(size); chunked {
				r.ContentLength = -1
			}
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			resp.Body.Close()
			require.Less(t, resp.StatusCode, 300, "%d", size)
			resp, err = http.Get(s.URL + "/v1/sessions/k")
			require.NoError(t, err)
			var got strings.Builder
			_, err = bufio.NewReader(resp.Body).WriteTo(&got)
			require.NoError(t, err)
			resp.Body.Close()
			require.True(t, got.String() == text, "%d bytes of %d", got.Len(), size)
		}
	}
	eventually(t, "all was given back", func() bool { return bodies.Used() == 0 })
}

package steady

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/buffers"
)

// Many who send large heads, whole or not, take no more room than there is, and
// those with small heads are served meanwhile.
func TestHeadsTogetherAreBounded(t *testing.T) {
	const limit, large, many = 256 << 10, 48 << 10, 40
	heads := buffers.New(limit)
	hold := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &http.Server{Handler: Bodies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
		fmt.Fprint(w, len(r.Header.Get("X-Large")))
	}), time.Hour)}
	served := make(chan error)
	go func() { served <- Server(s, time.Hour, heads)(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		<-served
	})
	url := "http://" + l.Addr().String()
	one := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer one.CloseIdleConnections()
	ask := func(size int) string {
		r, err := http.NewRequest("GET", url, nil)
		require.NoError(t, err)
		r.Header.Set("X-Large", strings.Repeat("x", size))
		resp, err := one.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := bufio.NewReader(resp.Body).ReadString(0)
		require.Error(t, err) // its end
		return b
	}
	for range 20 { // on one connection: each gives back what it has taken
		require.Equal(t, fmt.Sprint(large), ask(large))
	}
	require.Zero(t, heads.Evicted()+heads.Refused())
	for i := range many {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "GET /hold HTTP/1.1\r\nHost: x\r\nX-Large: %s", strings.Repeat("x", large))
		if i%2 == 0 {
			fmt.Fprint(c, "\r\n\r\n")
		}
	}
	require.Eventually(t, func() bool { return heads.Evicted()+heads.Refused() >= many-limit/large }, 20*time.Second, time.Millisecond)
	require.LessOrEqual(t, heads.Used(), int64(limit))
	for range 20 {
		require.Equal(t, "100", ask(100))
	}
	close(hold)
}

func TestHeadsGiveBack(t *testing.T) {
	heads := buffers.New(1 << 20)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: Bodies(http.NotFoundHandler(), time.Hour)}
	served := make(chan error)
	go func() { served <- Server(server, time.Hour, heads)(l) }()
	for range 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s", strings.Repeat("x", 32<<10))
		require.Eventually(t, func() bool { return heads.Used() > 16<<10 }, 20*time.Second, time.Millisecond)
		c.Close()
		require.Eventually(t, func() bool { return heads.Used() == 0 }, 20*time.Second, time.Millisecond, "with the end of the connection")
	}
	require.NoError(t, server.Close())
	<-served
}

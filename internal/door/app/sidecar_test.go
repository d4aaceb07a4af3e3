package app

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/router"
)

// process is a sidecar that answers with a status, or refuses connections.
type process struct {
	mu     sync.Mutex
	status int // 0: nothing listens
	told   []bool
}

func (p *process) set(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

func (p *process) dial(context.Context, string) (net.Conn, error) {
	p.mu.Lock()
	status := p.status
	p.mu.Unlock()
	if status == 0 {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if r, err := http.ReadRequest(bufio.NewReader(far)); err == nil && r.URL.Path == "/health" {
			fmt.Fprintf(far, "HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n", status)
		}
	}()
	return near, nil
}

func (p *process) tell(down bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, down)
	return nil
}

func (p *process) toldNow() []bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]bool(nil), p.told...)
}

// A sidecar that refuses connections is down at once, one that is ill when it
// has been for two looks. The cluster is told of each change once.
func TestSidecarIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{status: http.StatusNoContent}
		s, err := NewSidecar(SidecarConfig{
			Self: id("ada"), At: "http://127.0.0.1:3000", Health: "/health", Dial: p.dial, Tell: p.tell,
			Log: slog.New(slog.DiscardHandler), Events: events.New(time.Now),
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { s.watch(ctx) })
		time.Sleep(3 * interval)
		synctest.Wait()
		require.False(t, s.Down())
		require.Empty(t, p.toldNow())

		p.set(0)
		time.Sleep(interval)
		synctest.Wait()
		require.True(t, s.Down())
		time.Sleep(3 * interval)
		synctest.Wait()
		require.Equal(t, []bool{true}, p.toldNow())

		p.set(http.StatusFound)
		s.Refused() // an earlier request; it is looked at now, not only in a second
		synctest.Wait()
		require.False(t, s.Down())
		require.Equal(t, []bool{true, false}, p.toldNow())

		p.set(http.StatusInternalServerError)
		time.Sleep(interval)
		synctest.Wait()
		require.False(t, s.Down(), "once is an accident")
		time.Sleep(interval)
		synctest.Wait()
		require.True(t, s.Down())
		require.Equal(t, []bool{true, false, true}, p.toldNow())
		cancel()
		watching.Wait()
	})
}

func TestNoSidecarIsNotDown(t *testing.T) {
	t.Parallel()
	var s *Sidecar
	require.False(t, s.Down())
}

// A socket that is not there yet counts as refused; what it is told of its node
// comes with each request.
func TestSidecarOnASocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app")
	s, err := NewSidecar(SidecarConfig{Self: id("ada"), At: "unix:" + path, API: "unix:/run/ada"})
	require.NoError(t, err)
	_, err = s.Dial(t.Context())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	conn, err := s.Dial(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, []router.Header{{Name: header.Node, Value: "ada"}, {Name: header.API, Value: "unix:/run/ada"}}, s.Headers())
	_, err = NewSidecar(SidecarConfig{At: "127.0.0.1:3000"})
	require.ErrorContains(t, err, "-app")
}

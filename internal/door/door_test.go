package door

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/admit"
	"github.com/seed-95a32959/holdfast/internal/metric"
)

// piped is a listener of connections within a bubble.
type piped chan net.Conn

func (p piped) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p piped) Close() error   { close(p); return nil }
func (p piped) Addr() net.Addr { return &net.TCPAddr{} }

// fromAddress gives a pipe the address of a client.
type fromAddress struct {
	net.Conn
	address string
}

func (c fromAddress) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.address), Port: 1}
}

// openDoor serves connections as a member's endpoints do, within a bubble.
func openDoor(t *testing.T, l *Limits, gate *admit.Gate, h http.HandlerFunc) (connect func(address string) net.Conn) {
	p := make(piped, 64)
	s := Server(h, slog.New(slog.DiscardHandler))
	ended := make(chan error)
	go func() { ended <- l.Serve(s, gate)(p) }()
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
		_ = s.Close()
		<-ended
		time.Sleep(time.Second) // net/http lingers for half of one before it closes
		synctest.Wait()
	})
	return func(address string) net.Conn {
		here, there := net.Pipe()
		conns = append(conns, here)
		p <- fromAddress{there, address}
		return here
	}
}

// Whoever stands still at a door is let go: in the head, in the body and while
// an answer is read. Whoever moves is not.
func TestDoorsLetGoOfWhatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 256 << 10
		limits := NewLimits(slog.New(slog.DiscardHandler), new(metric.Set))
		connect := openDoor(t, limits, limits.Gate(100, 50), func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				_, _ = w.Write(make([]byte, size))
			}
		})
		begun := time.Now()
		lasted := make(chan string)
		watch := func(name string, talk func(c net.Conn)) {
			c := connect("127.0.0.1")
			go func() {
				talk(c)
				lasted <- fmt.Sprint(name, " ", time.Since(begun).Round(time.Minute))
			}()
		}
		untilEnd := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
		watch("half a head", func(c net.Conn) {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost:")
			untilEnd(c)
		})
		watch("silent body", func(c net.Conn) {
			fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			untilEnd(c)
		})
		watch("deaf reader", func(c net.Conn) {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = c.Read(make([]byte, 1))
			}
		})
		watch("steady", func(c net.Conn) {
			fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n")
			for range 600 {
				if _, err := c.Write(make([]byte, 1000)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
			resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				return
			}
			for read, b := 0, make([]byte, 1024); read < size; time.Sleep(time.Second) {
				n, err := resp.Body.Read(b)
				if read += n; err != nil && read < size {
					return
				}
			}
		})
		require.Equal(t, "half a head 0s", <-lasted)
		require.Equal(t, "silent body 1m0s", <-lasted)
		require.Equal(t, "deaf reader 1m0s", <-lasted)
		require.Equal(t, "steady 14m0s", <-lasted, "600 s up and 256 s down")
	})
}

func TestDoorsAreNotForAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		limits := NewLimits(slog.New(slog.NewTextHandler(&log, nil)), new(metric.Set))
		gate := limits.Gate(4, 2)
		connect := openDoor(t, limits, gate, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })
		ask := func(c net.Conn) bool {
			go fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return false
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return err == nil
		}
		var greedy []net.Conn
		for i := range 5 {
			c := connect("10.0.0.1")
			greedy = append(greedy, c)
			require.Equal(t, i < 2, ask(c), "%d", i)
		}
		require.True(t, ask(connect("10.0.0.2")))
		last := connect("10.0.0.3")
		require.True(t, ask(last))
		require.False(t, ask(connect("10.0.0.4")), "no more over all")
		greedy[0].Close()
		last.Close()
		synctest.Wait()
		require.True(t, ask(connect("10.0.0.4")), "a place is free again")
		require.True(t, ask(connect("10.0.0.1")))
		full, toOne := gate.Refused()
		require.Equal(t, 4, gate.Open())
		require.EqualValues(t, 1, full)
		require.EqualValues(t, 3, toOne)
		require.Equal(t, 1, strings.Count(log.String(), "connections are refused"), "once a minute: %s", &log)
	})
}

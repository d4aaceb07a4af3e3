package steady

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/buffers"
)

const patience = time.Minute

// pipes is a listener of connections within a bubble.
type pipes struct{ made chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.made
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p.made); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// serve gives the test a connection to a server with this handler.
func serve(t *testing.T, h http.HandlerFunc) net.Conn {
	t.Helper()
	p := pipes{make(chan net.Conn, 1)}
	s := &http.Server{Handler: Bodies(h, patience)}
	served := make(chan error)
	go func() { served <- Server(s, patience, buffers.New(0))(p) }()
	here, there := net.Pipe()
	p.made <- there
	t.Cleanup(func() {
		here.Close()
		require.NoError(t, s.Close())
		<-served
		time.Sleep(time.Second) // net/http lingers for half of one before it closes
		synctest.Wait()
	})
	return here
}

// receive reads a whole body and says what came of it.
func receive(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.WriteHeader(http.StatusRequestTimeout)
	}
	fmt.Fprint(w, n)
}

func answer(t *testing.T, conn net.Conn) (status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func post(t *testing.T, conn net.Conn, length int) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", length)
	require.NoError(t, err)
}

// A body that moves has no end but its own; one that stands still has.
func TestBodies(t *testing.T) {
	for _, c := range []struct {
		name   string
		part   int // bytes
		every  time.Duration
		parts  int // of a body of 1,000
		pause  time.Duration
		status int
		least  time.Duration
		most   time.Duration
	}{
		{"1 kB a second", 1000, time.Second, 1000, 0, 200, 999 * time.Second, 1001 * time.Second},
		{"240 bytes a second", MinRate, time.Second, 1000, 0, 200, 999 * time.Second, 1001 * time.Second},
		{"a little every 50 s", 50 * MinRate, 50 * time.Second, 1000, 0, 200, 999 * 50 * time.Second, 1001 * 50 * time.Second},
		{"a pause of 55 s", 1000, time.Second, 1000, 55 * time.Second, 200, 1054 * time.Second, 1056 * time.Second},
		{"nothing", 1, 24 * time.Hour, 1000, 0, 408, patience, patience},
		{"a byte every 20 s", 1, 20 * time.Second, 1000, 0, 408, patience, patience + time.Second},
		{"half of the least rate", MinRate / 2, time.Second, 1000, 0, 408, 2*patience - 5*time.Second, 2*patience + 5*time.Second},
		{"much, then nothing", 1 << 20, 24 * time.Hour, 1000, 0, 408, patience, patience},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serve(t, receive)
				post(t, conn, c.part*c.parts)
				begun := time.Now()
				gone, left := make(chan struct{}), make(chan struct{})
				defer func() { close(left); conn.Close(); <-gone }()
				go func() {
					defer close(gone)
					for i := range c.parts {
						wait := time.Duration(0)
						if i == c.parts/2 {
							wait = c.pause
						}
						if i > 0 {
							wait += c.every
						}
						select {
						case <-time.After(wait):
						case <-left:
							return
						}
						if _, err := conn.Write(make([]byte, c.part)); err != nil {
							return
						}
					}
				}()
				status, body := answer(t, conn)
				took := time.Since(begun)
				require.Equal(t, c.status, status)
				require.GreaterOrEqual(t, took, c.least)
				require.LessOrEqual(t, took, c.most)
				if status == http.StatusOK {
					require.Equal(t, fmt.Sprint(c.part*c.parts), body)
				}
			})
		})
	}
}

// The client is not charged for the time that the handler takes.
func TestHandlerMayTakeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1000))
			time.Sleep(time.Hour)
			receive(w, r)
		})
		post(t, conn, 2000)
		go conn.Write(make([]byte, 2000))
		status, body := answer(t, conn)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "1000", body)
	})
}

// A handler that answers at once, and reads nothing of a body of which nothing
// comes, is answered for at once.
func TestUnreadBodyHoldsNoAnswerUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "no")
			w.(http.Flusher).Flush()
		})
		post(t, conn, 1000)
		begun := time.Now()
		status, body := answer(t, conn)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "no", body)
		require.LessOrEqual(t, time.Since(begun), 2*restTime)
	})
}

// The rest of a small body that a handler has not read may take its time too.
func TestUnreadBodyThatMoves(t *testing.T) {
	for _, flush := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "ok")
				if flush {
					w.(http.Flusher).Flush()
				}
			})
			post(t, conn, 200_000)
			sent := make(chan error, 1)
			go func() {
				for range 200 {
					if _, err := conn.Write(make([]byte, 1000)); err != nil {
						sent <- err
						return
					}
					time.Sleep(time.Second)
				}
				sent <- nil
			}()
			status, body := answer(t, conn)
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "ok", body)
			require.NoError(t, <-sent)
			go post(t, conn, 0)
			status, _ = answer(t, conn)
			require.Equal(t, http.StatusOK, status, "the connection goes on")
		})
	}
}

// An answer may go on for as long as it likes, whatever became of the body.
func TestStreamOutlivesTheBodysDeadline(t *testing.T) {
	for name, sent := range map[string]int{"read": 1000, "unread": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if name == "read" {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					for range 30 {
						fmt.Fprint(w, "tick ")
						w.(http.Flusher).Flush()
						select {
						case <-time.After(patience):
						case <-r.Context().Done():
							return
						}
					}
				})
				post(t, conn, 1000)
				go conn.Write(make([]byte, sent))
				status, body := answer(t, conn)
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, strings.Repeat("tick ", 30), body)
			})
		})
	}
}

// What a handler sets by http.ResponseController counts for the read that waits
// and for those to come.
func TestHandlersOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			begun := time.Now()
			_ = c.SetReadDeadline(begun.Add(2 * time.Second))
			_, err := io.Copy(io.Discard, r.Body)
			first := time.Since(begun)
			_ = c.SetReadDeadline(begun.Add(time.Hour))
			time.AfterFunc(time.Second, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
			_, again := r.Body.Read(make([]byte, 1))
			_, last := r.Body.Read(make([]byte, 1))
			fmt.Fprint(w, first, " ", errors.Is(err, os.ErrDeadlineExceeded), " ", time.Since(begun), " ", again != nil, last != nil)
		})
		post(t, conn, 1000)
		status, body := answer(t, conn)
		require.Equal(t, http.StatusOK, status)
		require.Regexp(t, `^2s true [23]s true true$`, body)
	})
}

// An answer goes on for as long as it is read, and ends when nobody reads it.
func TestReaders(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name  string
		part  int
		every time.Duration
		stop  int // bytes after which nothing more is read
		whole bool
	}{
		{"2 kB a second", 2048, time.Second, 2 * size, true},
		{"240 bytes a second", MinRate, time.Second, 2 * size, true},
		{"a lump a minute", 32 << 10, 55 * time.Second, 2 * size, true},
		{"nothing", 1, time.Second, 0, false},
		{"half, then nothing", 4096, time.Second, size / 2, false},
		{"a byte a second", 1, time.Second, 2 * size, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var err error
				ended, left, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
				conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/first" {
						fmt.Fprint(w, "first")
						return
					}
					defer close(ended)
					_, err = w.Write(make([]byte, size))
				})
				// The second request of its connection, for net/http looks
				// after deadlines in between.
				_, sendErr := fmt.Fprint(conn, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
				require.NoError(t, sendErr)
				_, body := answer(t, conn)
				require.Equal(t, "first", body)
				_, sendErr = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				require.NoError(t, sendErr)
				begun := time.Now()
				stopped := begun
				defer func() { close(left); conn.Close(); <-gone }()
				go func() {
					defer close(gone)
					p := make([]byte, c.part)
					for read := 0; read < c.stop; {
						n, err := conn.Read(p)
						if err != nil {
							return
						}
						read += n
						stopped = time.Now()
						select {
						case <-time.After(c.every):
						case <-left:
							return
						}
					}
				}()
				<-ended
				if c.whole {
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				if c.part > 1 || c.stop == 0 {
					require.InDelta(t, patience, time.Since(stopped), float64(patience/looks))
				}
				require.Less(t, time.Since(begun), 4*time.Minute)
				require.Greater(t, time.Since(begun), patience/2)
			})
		})
	}
}

// A trailer arrives, announced or not.
func TestTrailers(t *testing.T) {
	for _, announced := range []string{"", "Trailer: X-Sum\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, r.Trailer.Get("X-Sum"))
			})
			go fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n", announced)
			_, body := answer(t, conn)
			require.Equal(t, "7", body)
		})
	}
}

// A large body that nobody wants is refused before it comes.
func TestLargeBodyIsRefusedAtOnce(t *testing.T) {
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			conn := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
			begun := time.Now()
			_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1000000\r\n\r\n", expect)
			require.NoError(t, err)
			status, _ := answer(t, conn)
			require.Equal(t, http.StatusForbidden, status)
			require.Zero(t, time.Since(begun))
		})
	}
}

// A deadline that a handler sets for its writes counts besides.
func TestHandlersOwnWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := make(chan time.Duration, 1)
		conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
			begun := time.Now()
			_ = http.NewResponseController(w).SetWriteDeadline(begun.Add(20 * time.Second))
			_, err := w.Write(make([]byte, 1<<20))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				took <- time.Since(begun)
			}
		})
		_, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		require.Equal(t, 20*time.Second, <-took)
	})
}

package redis

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

// serveTCP opens a listener, for what needs a socket.
func serveTCP(t *testing.T, s *Server) (dial func() *client) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go s.Serve(l) //nolint:errcheck // Shutdown ends it
	return func() *client {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close() })
		return &client{t, nc, resp.NewReplyReader(nc, resp.ReplyLimits{})}
	}
}

// held has a fake's commands on a key wait: until they are let go, or their
// context ends. It tells which of them wait.
type held struct {
	letGo   chan struct{}
	waiting chan string
	left    atomic.Int64 // whose context has ended
}

func hold(f *fake, keys ...string) *held {
	h := &held{letGo: make(chan struct{}), waiting: make(chan string, 100)}
	f.set(func() {
		f.hold = func(ctx context.Context, b *command.Batch) {
			for _, key := range keys {
				if b.Key == key {
					h.waiting <- strings.Clone(key)
					select {
					case <-h.letGo:
					case <-ctx.Done():
						h.left.Add(1)
					}
				}
			}
		}
	})
	return h
}

// What is done for a client ends when the client goes, and what it has sent
// behind that is not begun. Who waits for an answer gets it.
func TestWorkEndsWithItsClient(t *testing.T) {
	s, f := open(t)
	dial := serveTCP(t, s)
	h := hold(f, "gone", "patient")
	patient, gone := dial(), dial()
	patient.send("GET patient")
	require.Equal(t, "patient", <-h.waiting)
	gone.send("GET gone", "SET queued v")
	require.Equal(t, "gone", <-h.waiting)
	require.Equal(t, "$-1", dial().do("GET other"), "others are served")
	require.NoError(t, gone.conn.Close())
	require.Eventually(t, func() bool { return h.left.Load() == 1 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return s.Stats().Clients == 2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, int64(1), s.Stats().Gone)
	require.Equal(t, "$-1", dial().do("GET queued"))
	close(h.letGo)
	require.Equal(t, "$-1", patient.read(), "it was looked at as often as the other")
}

// A transaction and a command of many partitions end too, and so does a client
// that is closed by another.
func TestAllKindsOfWorkEndWithTheirClient(t *testing.T) {
	for name, lines := range map[string][]string{
		"transaction": {"MULTI", "GET k", "EXEC"}, "several": {"MGET k l m n o p q"}, "watch": {"WATCH k"}, "rename": {"RENAME k other"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := open(t)
			dial := serveTCP(t, s)
			h := hold(f, "k")
			c := dial()
			go func() { // in one piece, it is not read whole
				for _, line := range lines {
					_, _ = c.conn.Write(resp.AppendCommand(nil, parse(t, line)...))
				}
			}()
			require.Equal(t, "k", <-h.waiting)
			if name == "watch" {
				require.Equal(t, ":1", dial().do("CLIENT KILL ID 1"))
			} else {
				require.NoError(t, c.conn.Close())
			}
			require.Eventually(t, func() bool { return h.left.Load() > 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

// KEYS of a large cluster does not go on for nobody.
func TestKeysStopsWhenItsClientHasGone(t *testing.T) {
	s, f := open(t)
	c := serveTCP(t, s)()
	var pages atomic.Int64
	f.set(func() {
		f.hold = func(ctx context.Context, b *command.Batch) {
			if pages.Add(1) == 5 {
				c.conn.Close()
				<-ctx.Done()
			}
		}
	})
	c.send("KEYS *")
	require.Eventually(t, func() bool { return s.Stats().Clients == 0 && pages.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, int64(5), pages.Load())
}

// What looks at all keys has its time and its number, and what is about one key
// does not wait behind it.
func TestSweepsAreBounded(t *testing.T) {
	for _, line := range []string{"KEYS *", "SCAN 0", "DBSIZE", "FLUSHALL", "CLUSTER COUNTKEYSINSLOT 7", "CLUSTER GETKEYSINSLOT 7 10"} {
		t.Run(line, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := open(t, allowFlush)
				defer s.cancel()
				var now, most int
				f.set(func() {
					f.hold = func(ctx context.Context, b *command.Batch) {
						if b.Key != "" {
							return
						}
						f.set(func() { now++; most = max(most, now) })
						<-ctx.Done()
						f.set(func() { now-- })
					}
				})
				var all []*client
				for range maxSweeps + 4 {
					c := dial(t, s)
					c.send(line)
					all = append(all, c)
				}
				synctest.Wait()
				require.Equal(t, "$-1", dial(t, s).do("GET k"))
				for _, c := range all {
					v, err := c.replies.Read()
					require.NoError(t, err)
					require.Equal(t, "-ERR "+errSweep.Error(), flat(v))
				}
				require.Equal(t, maxSweeps, most)
				f.set(func() { f.hold = nil })
				require.NotContains(t, all[0].do(line), "-ERR")
			})
		})
	}
}

// What looks at all connections or channels is done for one client at a time,
// and nothing else waits behind it.
func TestListsAreMadeOneAtATime(t *testing.T) {
	for _, line := range []string{"CLIENT LIST", "CLIENT KILL ID 99", "PUBSUB CHANNELS"} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := open(t)
			defer s.cancel()
			waiting, other := dial(t, s), dial(t, s)
			require.True(t, s.lists.enter(t.Context()))
			waiting.send(line)
			synctest.Wait()
			require.Equal(t, "+OK", other.do("SET k v"))
			require.Len(t, s.lists, 1)
			s.lists.leave()
			require.NotContains(t, waiting.read(), "-ERR")
			require.Empty(t, s.lists)
			require.NotContains(t, other.do(line), "-ERR")
		})
	}
}

// TestLongPipelineOfAClientThatHasGoneEnds: none of its commands is slow, so it
// is by the answers, which cannot be sent, that the rest is known to be in
// vain.
func TestLongPipelineOfAClientThatHasGoneEnds(t *testing.T) {
	s, f := open(t)
	c := serveTCP(t, s)()
	const n = 150 // which fit into the first read
	pipeline := strings.Repeat("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", n)
	var run atomic.Int64
	gone := false
	f.set(func() {
		f.hold = func(context.Context, *command.Batch) {
			if run.Add(1); gone && run.Load() == 10 {
				require.NoError(t, c.conn.(*net.TCPConn).SetLinger(0))
				require.NoError(t, c.conn.Close())
			}
			s.slow() // as if a tenth of a second had passed
		}
	})
	_, err := c.conn.Write([]byte(pipeline))
	require.NoError(t, err)
	require.NoError(t, c.conn.(*net.TCPConn).CloseWrite())
	for range n { // who has closed its own half only gets all answers
		_, err := c.replies.Read()
		require.NoError(t, err)
	}

	require.EqualValues(t, n, run.Load())

	c = serveTCP(t, s)()
	gone = true
	run.Store(0)
	_, err = c.conn.Write([]byte(pipeline))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Stats().Clients == 0 && run.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.Less(t, run.Load(), int64(n))
}

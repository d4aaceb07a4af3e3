package peer

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// countedWrites counts the writes to a connection.
type countedWrites struct {
	net.Conn
	n atomic.Int64
}

func (c *countedWrites) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// burst sends n requests in one write and reads their answers, which must come
// in order.
func burst(t *testing.T, raw rawPeer, n int) {
	var frames []byte
	for seq := range n {
		frames = appendFrame(frames, 1, uint64(seq+1), []byte("hello"))
	}
	_, err := raw.Write(frames)
	require.NoError(t, err)
	for seq := range n {
		h, payload := raw.receive()
		require.Equal(t, uint64(seq+1), h.seq)
		require.Equal(t, "hello", string(payload))
	}
}

// corked opens a link from a client played by the test to a server whose writes
// are counted.
func corked(t *testing.T, cfg Config, h handlerFunc) (rawPeer, *countedWrites) {
	near, far := net.Pipe()
	counted := &countedWrites{Conn: far}
	cfg.Self = self("server")
	s := serve(counted, cfg, h)
	raw := newRawPeer(t, near)
	raw.sendHello("raw")
	raw.receive()
	t.Cleanup(func() {
		s.stop(nil)
		require.Error(t, s.wait())
	})
	return raw, counted
}

func TestAnswersToWhatCameTogetherGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, writes := corked(t, Config{}, echo)
		before := writes.n.Load()
		burst(t, raw, 100)
		require.EqualValues(t, 1, writes.n.Load()-before)
	})
}

// A burst whose answers do not fit the queue must not wait for its own end.
func TestBurstBeyondTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, _ := corked(t, Config{MaxQueued: 100}, echo)
		burst(t, raw, 100)
	})
}

// A window that is full holds up what comes next, not the answers that are
// there.
func TestBurstBeyondTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept []*Request
		raw, _ := corked(t, Config{Window: 2}, func(r *Request) {
			if r.seq == 1 {
				r.Reply(nil)
				return
			}
			kept = append(kept, r)
		})
		var frames []byte
		for seq := range uint64(4) {
			frames = appendFrame(frames, 1, seq+1, nil)
		}
		_, err := raw.Write(frames)
		require.NoError(t, err)
		h, _ := raw.receive()
		require.EqualValues(t, 1, h.seq)
		synctest.Wait()
		require.Len(t, kept, 2)
		for _, seq := range []uint64{2, 3, 4} {
			synctest.Wait()
			kept[seq-2].Reply(nil)
			h, _ := raw.receive()
			require.Equal(t, seq, h.seq)
		}
	})
}

// An answer that is late finds nobody who would write it but the writing
// goroutine.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept *Request
		raw, _ := corked(t, Config{}, func(r *Request) { kept = r })
		raw.send(1, 1, []byte("hello"))
		synctest.Wait()
		kept.Reply([]byte("late"))
		_, payload := raw.receive()
		require.Equal(t, "late", string(payload))
	})
}

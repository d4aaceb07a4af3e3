package peer

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	small = 1 // has 10 bytes at most, and so has its reply
	large = 2 // has any number
)

func tight(typ byte) (request, reply int) {
	switch typ {
	case small:
		return 10, 10
	case large:
		return 1 << 30, 1 << 30
	default:
		return 0, 0
	}
}

// A frame over what its type may have costs its sender an error and nobody
// memory, and the link goes on.
func TestFramesOverTheLimitOfTheirTypeAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, _ := rawClient(t, Config{Limits: tight}, echo)
		for typ, size := range map[byte]int{small: 8 << 20, 77: 1} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			frame := appendFrame(nil, typ, 5, nil)
			binary.BigEndian.PutUint32(frame, uint32(headerSize-lengthSize+size))
			_, err := raw.Write(frame)
			require.NoError(t, err)
			for chunk := make([]byte, min(size, 64<<10)); size > 0; size -= len(chunk) {
				_, err := raw.Write(chunk)
				require.NoError(t, err)
			}
			h, text := raw.receive()
			runtime.ReadMemStats(&after)
			require.Equal(t, header{typeFail, 5, len(text)}, h)
			require.Contains(t, string(text), "want at most")
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(512<<10))
		}
		for seq, typ := range []byte{small, large} {
			raw.send(typ, uint64(seq), []byte("0123456789"))
			h, payload := raw.receive()
			require.Equal(t, header{typeReply, uint64(seq), 10}, h)
			require.Equal(t, "0123456789", string(payload))
		}
	})
}

func TestCallsAndRepliesOverTheLimitOfTheirType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, raw := rawServer(t, Config{Limits: tight})
		_, err := l.Call(t.Context(), small, make([]byte, 11))
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorContains(t, err, "11 bytes in a request of type 0x1, want at most 10")

		call := func(ctx context.Context, answers ...int) ([]byte, error) {
			var answering sync.WaitGroup
			answering.Go(func() {
				h, _ := raw.receive()
				for _, size := range answers {
					time.Sleep(time.Millisecond)
					raw.send(typeReply, h.seq, make([]byte, size))
				}
			})
			defer answering.Wait()
			return l.Call(ctx, small, nil)
		}
		_, err = call(t.Context(), 11)
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorContains(t, err, "the reply to a request of type 0x1 has 11 bytes, want at most 10")
		reply, err := call(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, reply, 10)

		// One that nobody waits for any more is read past.
		left, cancel := context.WithCancel(t.Context())
		cancel2 := time.AfterFunc(time.Microsecond, cancel)
		defer cancel2.Stop()
		_, err = call(left, 1<<20)
		require.ErrorIs(t, err, context.Canceled)
		h, _ := raw.receive()
		require.Equal(t, byte(typeCancel), h.typ)
		reply, err = call(t.Context(), 5)
		require.NoError(t, err)
		require.Len(t, reply, 5)
	})
}

// All links together hold no more of what was asked and not answered than their
// budget. What is small passes all the same.
func TestBudgetIsSharedByAllLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 100_000
		budget := NewBudget(3 * size)
		unanswered := make(chan *Request, 100)
		h := func(r *Request) { unanswered <- r }
		var links []*Link
		for range 5 {
			l, _ := connected(t, Config{Budget: budget}, h)
			links = append(links, l)
		}
		var all sync.WaitGroup
		for _, l := range links {
			all.Go(func() {
				_, err := l.Call(t.Context(), 1, make([]byte, size))
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		require.Len(t, unanswered, 3)
		for left := 5; left > 0; left-- {
			synctest.Wait()
			require.Len(t, unanswered, min(3, left))
			(<-unanswered).Reply(nil)
		}
		all.Wait()

		all.Go(func() { // larger than all there is: alone
			_, err := links[0].Call(t.Context(), 1, make([]byte, 10*size))
			require.NoError(t, err)
		})
		synctest.Wait()
		require.Len(t, unanswered, 1)
		all.Go(func() {
			_, err := links[1].Call(t.Context(), 1, make([]byte, smallRequest))
			require.NoError(t, err)
		})
		synctest.Wait()
		require.Len(t, unanswered, 2, "a heartbeat passes")
		(<-unanswered).Reply(nil)
		(<-unanswered).Reply(nil)
		all.Wait()
		require.Equal(t, budget.size, budget.free)
	})
}

// A peer that stops in the middle of a large frame does not keep what was taken
// for it.
func TestFrameThatStopsHalfWayEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1 << 20)
		raw, s := rawClient(t, Config{Budget: budget}, echo)
		_, err := raw.Write(appendFrame(nil, 1, 1, make([]byte, 1<<20))[:300_000])
		require.NoError(t, err)
		require.ErrorIs(t, s.wait(), os.ErrDeadlineExceeded)
		require.Equal(t, budget.size, budget.free)
	})
	synctest.Test(t, func(t *testing.T) { // nor does a slow one lose its link
		raw, _ := rawClient(t, Config{}, echo)
		frame := appendFrame(nil, 1, 1, make([]byte, 1<<20))
		for len(frame) > 0 {
			n := min(len(frame), 100_000)
			_, err := raw.Write(frame[:n])
			require.NoError(t, err)
			frame = frame[n:]
			time.Sleep(3 * time.Second)
		}
		h, _ := raw.receive()
		require.Equal(t, header{typeReply, 1, 1 << 20}, h)
	})
}

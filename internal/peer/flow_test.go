package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// queuedBytes is what l's write queue holds.
func queuedBytes(l *Link) int {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.out.queued
}

func TestFullQueueMakesCallsWaitAndDoesNotGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const queue, payload = 10_000, 1000
		l, raw := rawServer(t, Config{MaxQueued: queue})
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, err := l.Call(t.Context(), 1, make([]byte, payload))
				require.NoError(t, err)
			})
		}
		synctest.Wait() // the server reads nothing
		require.LessOrEqual(t, queuedBytes(l), queue)
		require.Greater(t, queuedBytes(l), queue-payload-headerSize)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.Call(ctx, 1, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrNotSent, "it waits behind those that came before it, and left")
		require.Equal(t, 50, pendingCalls(l))

		for range 50 {
			h, got := raw.receive()
			require.Len(t, got, payload)
			raw.send(typeReply, h.seq, nil)
		}
		all.Wait()
		synctest.Wait()
		require.Zero(t, queuedBytes(l))
	})
}

// The two buffers of a queue, the one that fills and the one that is written,
// grow with a burst and go when it is over.
func TestQueueGivesMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := connected(t, Config{}, echo)
		largest := func(calls, size int) (most int) {
			for range calls {
				_, err := l.Call(t.Context(), 1, make([]byte, size))
				require.NoError(t, err)
				synctest.Wait()
				l.out.mu.Lock()
				most = max(most, cap(l.out.batch))
				l.out.mu.Unlock()
			}
			return most
		}
		require.Greater(t, largest(3, 1<<20), 1<<20)
		require.Greater(t, largest(3, 10), 1<<20, "not at once")
		largest(smallBatches, 10)
		require.LessOrEqual(t, largest(3, 10), keptBuffer)
	})
}

// Large frames of which each waits for the answer to the one before need one
// buffer: a link to each of two successors would cost megabytes more otherwise.
func TestLargeFramesInTurnUseOneBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		l, _ := connected(t, Config{}, echo)
		for range 5 {
			_, err := l.Call(t.Context(), 1, make([]byte, size))
			require.NoError(t, err)
			synctest.Wait()
		}
		l.out.mu.Lock()
		defer l.out.mu.Unlock()
		require.GreaterOrEqual(t, cap(l.out.batch), size)
		require.Less(t, cap(l.out.batch)+cap(l.out.spare), 2*size)
	})
}

// First come, first served: a large frame does not starve behind small ones,
// and does not block them once it is withdrawn.
func TestFramesWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, raw := rawServer(t, Config{MaxQueued: 1000})
		var all sync.WaitGroup
		call := func(ctx context.Context, typ byte, size int) {
			all.Go(func() {
				_, err := l.Call(ctx, typ, make([]byte, size))
				if ctx == t.Context() {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, ErrNotSent)
				}
			})
			synctest.Wait()
		}
		impatient, leave := context.WithCancel(t.Context())
		call(t.Context(), 1, 500) // is being written
		call(impatient, 9, 5000)  // larger than the queue: waits until it is empty
		call(t.Context(), 2, 10)  // would fit, and waits behind it
		require.Equal(t, 500+headerSize, queuedBytes(l))
		leave()
		synctest.Wait()
		require.Equal(t, 510+2*headerSize, queuedBytes(l))
		call(t.Context(), 3, 5000)
		call(t.Context(), 4, 10)
		for want := byte(1); want <= 4; want++ {
			h, _ := raw.receive()
			require.Equal(t, want, h.typ)
			raw.send(typeReply, h.seq, nil)
		}
		all.Wait()
	})
}

func TestPeerThatNeverReadsEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := rawServer(t, Config{WriteTimeout: 8 * time.Second, MaxQueued: 1})
		time.Sleep(time.Hour) // an idle link is a good link
		start := time.Now()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				_, err := l.Call(t.Context(), 1, nil)
				require.ErrorIs(t, err, ErrClosed)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			})
		}
		all.Wait()
		require.GreaterOrEqual(t, time.Since(start), 8*time.Second)
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
		<-l.Done()
	})
}

func TestCloseDoesNotWaitForAPeerThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := rawServer(t, Config{MaxQueued: 1})
		var all sync.WaitGroup
		var waited atomic.Int32
		for range 2 {
			all.Go(func() {
				_, err := l.Call(t.Context(), 1, nil)
				require.ErrorIs(t, err, ErrClosed)
				if errors.Is(err, ErrNotSent) {
					waited.Add(1)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		require.NoError(t, l.Close())
		require.Zero(t, time.Since(start))
		all.Wait()
		require.EqualValues(t, 1, waited.Load(), "one was queued, the other waited for room")
	})
}

// A server answers a client that does not read until its queue is full, then
// waits in Reply, then gives the client up.
func TestClientThatNeverReadsEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, s := rawClient(t, Config{MaxQueued: 3000}, func(r *Request) { r.Reply(make([]byte, 1000)) })
		served := 0
		for seq := uint64(1); ; seq++ {
			if _, err := raw.Write(appendFrame(nil, 1, seq, nil)); err != nil {
				break
			}
			served++
		}
		require.ErrorIs(t, s.wait(), os.ErrDeadlineExceeded)
		require.Less(t, served, 10)
	})
}

func TestServerReadsNoFurtherThanItsWindow(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		size int
		most int
	}{
		{"requests", Config{Window: 5}, 1, 5},
		{"bytes", Config{MaxQueued: 5000}, 1000, 5},
		{"one that is larger", Config{MaxQueued: 5000}, 6000, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unanswered := make(chan *Request, 100)
				l, _ := connected(t, c.cfg, func(r *Request) { unanswered <- r })
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						_, err := l.Call(t.Context(), 1, make([]byte, c.size))
						require.NoError(t, err)
					})
				}
				for left := 20; left > 0; left-- {
					synctest.Wait()
					require.Len(t, unanswered, min(c.most, left))
					(<-unanswered).Reply(nil)
				}
				all.Wait()
			})
		})
	}
}

// Answers never wait for the reading goroutine, which may find room before it
// waits for the wake that told of it. It may not read again for long, and never
// once the link has ended.
func TestAnswersDoNotWaitForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(Config{Window: 2, MaxQueued: 100})
		require.True(t, w.tryEnter(10))
		require.True(t, w.tryEnter(10))
		for range 3 {
			require.False(t, w.tryEnter(10))
			w.leave(10)
			require.True(t, w.tryEnter(10))
		}
		w.leave(10)
		w.leave(10)
		require.True(t, w.tryEnter(10))
		require.True(t, w.tryEnter(10))
		time.AfterFunc(time.Second, func() { w.leave(10) })
		require.NoError(t, w.enter(t.Context(), 10), "a wake that came too late is none for the next time")
		require.Equal(t, 2, w.requests)
	})
}

func TestServerStopsWhileItsWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, s := rawClient(t, Config{Window: 1}, func(*Request) {})
		raw.send(1, 1, nil)
		raw.send(1, 2, nil)
		synctest.Wait()
		s.stop(context.Canceled)
		require.ErrorIs(t, s.wait(), context.Canceled)
	})
}

const (
	look = 1 // is answered at once
	ask  = 2 // is answered after a look at the member that asked
)

// twoMembers gives each member a link to the other. Queues and windows are far
// too small.
func twoMembers(t *testing.T) (links [2]*Link, stop func()) {
	var servings [2]*serving
	for dialer := range links {
		server := 1 - dialer
		near, far := net.Pipe()
		cfg := Config{Self: self(fmt.Sprint("member-", server)), MaxQueued: 700, Window: 2}
		servings[dialer] = serve(far, cfg, func(r *Request) {
			if r.Type == look {
				r.Reply(r.Payload)
				return
			}
			go func() { // Call blocks, so off the reading goroutine, and under a deadline
				ctx, cancel := context.WithTimeout(r.Context(), time.Second)
				defer cancel()
				reply, err := links[server].Call(ctx, look, r.Payload)
				if err != nil {
					r.Fail(err)
					return
				}
				r.Reply(reply)
			}()
		})
		cfg.Self = self(fmt.Sprint("member-", dialer))
		l, err := Connect(t.Context(), near, cfg)
		require.NoError(t, err)
		links[dialer] = l
	}
	return links, func() {
		for i, l := range links {
			require.NoError(t, l.Close())
			require.Error(t, servings[i].wait())
		}
	}
}

func TestTwoMembersThatFloodEachOtherCannotLockUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, stop := twoMembers(t)
		start := time.Now()
		var all sync.WaitGroup
		for _, l := range links {
			for range 200 {
				all.Go(func() {
					reply, err := l.Call(t.Context(), look, make([]byte, 300))
					require.NoError(t, err)
					require.Len(t, reply, 300)
				})
			}
		}
		all.Wait()
		require.Zero(t, time.Since(start), "nothing had to run into a deadline")
		stop()
	})
}

// Where every handler asks back over a link whose window is full of such
// requests, the deadline is the way out, and the links stay good.
func TestHandlersThatAskBackEndByTheirDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, stop := twoMembers(t)
		var all sync.WaitGroup
		for _, l := range links {
			for range 100 {
				all.Go(func() {
					if _, err := l.Call(t.Context(), ask, make([]byte, 300)); err != nil {
						require.ErrorAs(t, err, new(*RemoteError), "its handler ran out of time; nothing worse")
					}
				})
			}
		}
		all.Wait()
		for _, l := range links {
			_, err := l.Call(t.Context(), ask, nil)
			require.NoError(t, err)
		}
		stop()
	})
}

package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// pendingCalls is the number of calls that l holds an entry for.
func pendingCalls(l *Link) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

func TestCallCarriesTypePayloadAndReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := connected(t, Config{}, func(r *Request) { r.Reply(fmt.Appendf(nil, "%d:%s", r.Type, r.Payload)) })
		for _, size := range []int{0, 1, 300, firstStep, 5*firstStep + 1} {
			payload := strings.Repeat("p", size)
			reply, err := l.Call(t.Context(), byte(size%FirstReserved), []byte(payload))
			require.NoError(t, err)
			require.True(t, fmt.Sprintf("%d:%s", size%FirstReserved, payload) == string(reply), "size %d", size)
		}
	})
}

func TestSlowAnswerHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := connected(t, Config{}, func(r *Request) {
			if r.Type == 1 {
				time.AfterFunc(time.Hour, func() { r.Reply([]byte("slow")) })
				return
			}
			echo(r)
		})
		start := time.Now()
		var slow sync.WaitGroup
		slow.Go(func() {
			reply, err := l.Call(t.Context(), 1, nil)
			require.NoError(t, err)
			require.Equal(t, "slow", string(reply))
		})
		synctest.Wait()
		for range 100 {
			_, err := l.Call(t.Context(), 2, []byte("quick"))
			require.NoError(t, err)
		}
		require.Zero(t, time.Since(start))
		slow.Wait()
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestFailReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := connected(t, Config{}, func(r *Request) { r.Fail(errors.New("partition 7 is cold")) })
		reply, err := l.Call(t.Context(), 1, nil)
		require.Nil(t, reply)
		require.Equal(t, &RemoteError{Text: "partition 7 is cold"}, err)
		require.NoError(t, l.Err())
	})
}

func TestCancelledCallLeavesTheLinkAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := make(chan *Request, 1)
		l, _ := connected(t, Config{}, func(r *Request) {
			if r.Type == 1 {
				kept <- r
				return
			}
			echo(r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.Call(ctx, 1, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrNotSent, "the server has it")
		require.Zero(t, pendingCalls(l))

		_, err = l.Call(ctx, 2, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrNotSent, "its context had ended before")

		(<-kept).Reply([]byte("late"))
		reply, err := l.Call(t.Context(), 2, []byte("next"))
		require.NoError(t, err)
		require.Equal(t, "next", string(reply), "not the late one")
		require.Zero(t, pendingCalls(l))
	})
}

func TestCloseEndsWaitingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := connected(t, Config{}, func(*Request) {})
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() {
				_, err := l.Call(t.Context(), 1, nil)
				require.ErrorIs(t, err, ErrClosed)
				require.NotErrorIs(t, err, ErrNotSent)
			})
		}
		synctest.Wait()
		require.NoError(t, l.Err())
		require.NoError(t, l.Close())
		waiting.Wait()
		<-l.Done()
		require.Equal(t, ErrClosed, l.Err())
		require.ErrorIs(t, s.wait(), io.EOF)

		_, err := l.Call(t.Context(), 1, nil)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, err, ErrNotSent)
		require.NoError(t, l.Close(), "again")
	})
}

// slowToClose keeps its reader for a second after it is closed.
type slowToClose struct{ net.Conn }

func (c slowToClose) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		time.Sleep(time.Second)
	}
	return n, err
}

func TestCloseWaitsForItsGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		s := serve(far, Config{Self: self("server")}, echo)
		l, err := Connect(t.Context(), slowToClose{near}, Config{Self: self("client")})
		require.NoError(t, err)
		start := time.Now()
		require.NoError(t, l.Close())
		require.Equal(t, time.Second, time.Since(start))
		require.Error(t, s.wait())
	})
}

func TestServerGoneEndsTheLinkAndItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errDrained := errors.New("node is drained")
		kept := make(chan *Request, 1)
		l, s := connected(t, Config{}, func(r *Request) { kept <- r })
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := l.Call(t.Context(), 1, nil)
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, err, io.EOF)
		})
		r := <-kept
		require.NoError(t, r.Context().Err())
		s.stop(errDrained)
		require.ErrorIs(t, s.wait(), errDrained)
		require.ErrorIs(t, context.Cause(r.Context()), errDrained)
		r.Reply([]byte("to nobody"))
		waiting.Wait()
		<-l.Done()
		require.ErrorIs(t, l.Err(), ErrClosed)
		require.ErrorIs(t, l.Err(), io.EOF)
	})
}

func TestClientGoneEndsRequestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := make(chan *Request, 1)
		raw, s := rawClient(t, Config{}, func(r *Request) { kept <- r })
		raw.send(1, 1, nil)
		r := <-kept
		raw.Close()
		<-r.Context().Done()
		require.ErrorIs(t, context.Cause(r.Context()), io.EOF)
		require.ErrorIs(t, s.wait(), io.EOF)
	})
}

func TestPayloadsOverTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := connected(t, Config{MaxFrame: 1000}, func(r *Request) {
			r.Reply(make([]byte, binary.BigEndian.Uint32(r.Payload)))
		})
		ask := func(size uint32) ([]byte, error) {
			return l.Call(t.Context(), 3, binary.BigEndian.AppendUint32(nil, size))
		}
		reply, err := ask(1000)
		require.NoError(t, err)
		require.Len(t, reply, 1000)

		_, err = ask(1001)
		var remote *RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, "reply to a request of type 0x3 has 1001 bytes, want at most 1000", remote.Text)

		_, err = l.Call(t.Context(), 3, make([]byte, 1001))
		require.ErrorIs(t, err, ErrTooLarge)
		require.NoError(t, l.Err())
	})
}

func TestBugsOfTheCallingProgramPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := connected(t, Config{}, func(r *Request) {
			r.Reply(nil)
			require.PanicsWithValue(t, "peer: request of type 0x1 answered twice by its handler", func() { r.Fail(io.EOF) })
		})
		_, err := l.Call(t.Context(), 1, nil)
		require.NoError(t, err)
		require.Panics(t, func() { _, _ = l.Call(t.Context(), FirstReserved, nil) })
	})
}

func TestServerThatBreaksTheProtocol(t *testing.T) {
	for name, frame := range map[string][]byte{
		"reply to nothing":           appendFrame(nil, typeReply, 2, nil),
		"reply to number 0":          appendFrame(nil, typeReply, 0, nil),
		"request":                    appendFrame(nil, 1, 1, nil),
		"second HELLO":               appendFrame(nil, typeHello, 0, nil),
		"unknown type":               appendFrame(nil, 0xff, 1, nil),
		"longer than MaxFrame":       appendFrame(nil, typeReply, 1, make([]byte, 1001))[:headerSize],
		"shorter than a header":      {0, 0, 0, 8, typeReply, 0, 0, 0, 0, 0, 0, 0, 1},
		"text in place of a frame's": []byte("-ERR unknown command\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, raw := rawServer(t, Config{MaxFrame: 1000})
				var waiting sync.WaitGroup
				waiting.Go(func() {
					_, err := l.Call(t.Context(), 1, nil)
					require.ErrorIs(t, err, ErrClosed)
					require.ErrorIs(t, err, ErrMalformed)
				})
				raw.receive()
				_, _ = raw.Write(frame)
				waiting.Wait()
				<-l.Done()
			})
		})
	}
}

func TestFrameCutOffEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, raw := rawServer(t, Config{})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := l.Call(t.Context(), 1, nil)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
		raw.receive()
		_, err := raw.Write(appendFrame(nil, typeReply, 1, []byte("hello"))[:headerSize+2])
		require.NoError(t, err)
		raw.Close()
		waiting.Wait()
		<-l.Done()
		require.ErrorIs(t, l.Err(), io.ErrUnexpectedEOF)
	})
}

// Random calls of random sizes, some of them cancelled, answered late and in
// any order: each gets its own reply or its own end, and nothing of them is
// left.
func TestManyCallsEachGetTheirOwn(t *testing.T) {
	type plan struct {
		start, answer, patience time.Duration
		size                    int
	}
	moment := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(0, 20).Draw(t, "ms")) * time.Millisecond
	})
	plans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) plan {
		return plan{moment.Draw(t, "start"), moment.Draw(t, "answer"), moment.Draw(t, "patience"), rapid.IntRange(8, 3000).Draw(t, "size")}
	}), 1, 100)
	rapid.Check(t, func(rt *rapid.T) {
		calls := plans.Draw(rt, "calls")
		cfg := Config{MaxQueued: rapid.IntRange(1, 5000).Draw(rt, "queue"), Window: rapid.IntRange(1, 10).Draw(rt, "window")}
		synctest.Test(t, func(t *testing.T) {
			l, _ := connected(t, cfg, func(r *Request) {
				answer := calls[binary.BigEndian.Uint64(r.Payload)].answer
				time.AfterFunc(answer, func() { r.Reply(r.Payload) })
			})
			var all sync.WaitGroup
			for i, p := range calls {
				all.Go(func() {
					time.Sleep(p.start)
					ctx, cancel := context.WithTimeout(t.Context(), p.patience)
					defer cancel()
					payload := binary.BigEndian.AppendUint64(make([]byte, 0, p.size), uint64(i))[:p.size]
					reply, err := l.Call(ctx, 1, payload)
					if err != nil {
						require.ErrorIs(t, err, context.DeadlineExceeded)
						return
					}
					require.Equal(t, payload, reply)
				})
			}
			all.Wait()
			require.Zero(t, pendingCalls(l))
			time.Sleep(time.Second)
			reply, err := l.Call(t.Context(), 1, make([]byte, 8))
			require.NoError(t, err)
			require.Len(t, reply, 8)
			synctest.Wait()
			require.Zero(t, l.out.queued)
			require.Zero(t, l.out.waiting.Len())
		})
	})
}

// TestCallerThatLeavesIsHeardOf: what is run for a caller that has left can
// stop, and what is run for others goes on.
func TestCallerThatLeavesIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan string, 2)
		l, _ := connected(t, Config{}, func(r *Request) {
			ctx := r.Awaited()
			go func() {
				select {
				case <-ctx.Done():
					ended <- string(r.Payload) + " left"
				case <-time.After(time.Minute):
					ended <- string(r.Payload) + " waited"
				}
				r.Reply(nil)
			}()
		})
		ctx, leave := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() {
			_, err := l.Call(ctx, 1, []byte("one"))
			require.ErrorIs(t, err, context.Canceled)
		})
		calls.Go(func() {
			_, err := l.Call(t.Context(), 1, []byte("two"))
			require.NoError(t, err)
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		require.Equal(t, "one left", <-ended, "at once")
		require.Equal(t, "two waited", <-ended)
		calls.Wait()
		_, err := l.Call(ctx, 1, nil)
		require.ErrorIs(t, err, ErrNotSent)
		reply, err := l.Call(t.Context(), 1, []byte("three"))
		require.NoError(t, err, "the link goes on")
		require.Empty(t, reply)
	})
}

// TestAwaitedEndsWithTheAnswer: nothing is kept of a request that is answered.
func TestAwaitedEndsWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []context.Context
		var at *server
		l, _ := connected(t, Config{}, func(r *Request) {
			seen, at = append(seen, r.Awaited()), r.server
			r.Reply(nil)
		})
		for range 3 {
			_, err := l.Call(t.Context(), 1, nil)
			require.NoError(t, err)
		}
		synctest.Wait()
		for _, ctx := range seen {
			require.Error(t, ctx.Err())
		}
		require.Empty(t, at.running)
	})
}

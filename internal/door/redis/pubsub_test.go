package redis

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMessagesReachSubscribersOfBothProtocols(t *testing.T) {
	s, _ := open(t)
	two, three, publisher := dial(t, s), dial(t, s), dial(t, s)
	require.Equal(t, "*3 $9 subscribe $4 news :1", two.do("SUBSCRIBE news"))
	three.do("HELLO 3")
	require.Equal(t, ">3 $10 psubscribe $2 n* :1", three.do("PSUBSCRIBE n*"))
	require.True(t, s.Subscribed("news"))
	require.True(t, s.Subscribed("nobody"))
	require.False(t, s.Subscribed("weather"))
	require.Equal(t, ":2", publisher.do("PUBLISH news hello"))
	require.Equal(t, "*3 $7 message $4 news $5 hello", two.read())
	require.Equal(t, ">4 $8 pmessage $2 n* $4 news $5 hello", three.read())
	require.Equal(t, 2, s.Stats().Subscribers)
	require.Equal(t, "*3 $11 unsubscribe $4 news :0", two.do("UNSUBSCRIBE"))
	require.Equal(t, "$-1", two.do("GET k"))
	require.Equal(t, ":1", publisher.do("PUBLISH news again"))
	require.Equal(t, 1, s.Stats().Subscribers)
	three.conn.Close()
	require.Eventually(t, func() bool { return !s.HasSubscribers() }, 10*time.Second, time.Millisecond)
	require.Equal(t, ":0", publisher.do("PUBLISH news nobody"))
}

// A subscriber is told that it is one before it gets a message, whatever is
// published meanwhile, and gets all that is published once it has been told.
func TestTheConfirmationComesFirst(t *testing.T) {
	s, _ := open(t)
	stop := make(chan struct{})
	// As much noise as a subscriber that is slow has room for.
	room := make(chan struct{}, 1000)
	var publishers sync.WaitGroup
	for range 2 {
		publishers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-room:
					s.Deliver("news", []byte("noise"))
				}
			}
		})
	}
	makeRoom := func(n int) {
		for range n {
			select {
			case room <- struct{}{}:
			default:
			}
		}
	}
	for range 50 {
		c := dial(t, s)
		makeRoom(cap(room))
		require.Equal(t, "*3 $9 subscribe $4 news :1", c.do("SUBSCRIBE news"))
		s.Deliver("news", []byte("mine"))
		for c.read() != "*3 $7 message $4 news $4 mine" {
			makeRoom(1)
		}
		c.conn.Close()
	}
	close(stop)
	publishers.Wait()
}

func TestASubscriberThatDoesNotReadIsCutOff(t *testing.T) {
	s, _ := open(t, func(cfg *Config) { cfg.OutputLimit = 10_000 })
	slow, good := dial(t, s), dial(t, s)
	slow.do("SUBSCRIBE news")
	good.do("SUBSCRIBE news")
	for i := range 100 {
		s.Deliver("news", fmt.Appendf(nil, "%s%d", strings.Repeat("x", 500), i))
		require.Contains(t, good.read(), fmt.Sprint(i))
	}
	require.Eventually(t, func() bool { return s.Stats().Clients == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, int64(1), s.Stats().CutOff)
	require.Equal(t, 1, s.Deliver("news", []byte("still")))
}

func TestSubscriptionsAreBounded(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	require.Contains(t, c.do("SUBSCRIBE "+strings.Repeat("x", maxChannel+1)), "-ERR name of 1025 bytes is too long for a channel or a pattern, 1024 are taken")
	require.False(t, s.HasSubscribers())
}

func TestTheGateKeepsMessagesBehindTheConfirmation(t *testing.T) {
	s, _ := open(t)
	q := newQueue(newConn(s, &tape{}))
	require.Equal(t, 1, q.message("c", []byte("before")))
	q.gate()
	require.Equal(t, 1, q.message("c", []byte("between")))
	require.NoError(t, q.replies([]byte("+confirmed\r\n")))
	require.Equal(t, 1, q.message("c", []byte("after")))
	b, _, _ := q.take()
	var order []int
	for _, text := range []string{"before", "+confirmed", "between", "after"} {
		order = append(order, strings.Index(string(b), text))
	}
	require.IsIncreasing(t, order)
}

// A subscription sends what was answered before it, also where answers are off.
func TestSubscribingWithAnswersOff(t *testing.T) {
	s, _ := open(t)
	told := hear(s, strings.NewReader("PING\r\nCLIENT REPLY OFF\r\nSUBSCRIBE x\r\nPING\r\nUNSUBSCRIBE x\r\nCLIENT REPLY ON\r\n"))
	require.Equal(t, "+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n+OK\r\n", string(told))
}

// All nodes know that there is a subscriber before it is told that it is one.
func TestASubscriberIsAnnouncedFirst(t *testing.T) {
	s, f := open(t)
	c := dial(t, s)
	require.Zero(t, f.listening.Load())
	require.Contains(t, c.do("SUBSCRIBE a"), "subscribe")
	require.EqualValues(t, 1, f.listening.Load())
	require.Contains(t, c.do("SUBSCRIBE b"), "subscribe")
	require.EqualValues(t, 1, f.listening.Load(), "the others know already")
}

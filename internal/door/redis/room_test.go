package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/buffers"
)

// roomOf gives all connections of a server so many bytes.
func roomOf(bytes int64) func(*Config) {
	return func(cfg *Config) { cfg.Buffers, cfg.MaxQuery = buffers.New(bytes), 4<<20 }
}

// unfinished begins a command of so many bytes, and sends no more than these.
func unfinished(t *testing.T, s *Server, bytes int) *client {
	c := dial(t, s)
	c.raw("*2\r\n$4\r\nECHO\r\n$1000000\r\n" + strings.Repeat("x", bytes))
	return c
}

// However much others hold, who holds little is served: room is made by closing
// those that hold most.
func TestTheLargestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, roomOf(1<<20))
		defer s.cancel()
		budget := s.cfg.Buffers
		own := dial(t, s)
		require.Equal(t, "+PONG", own.do("PING"))
		for range 40 {
			unfinished(t, s, 100_000)
			synctest.Wait()
			require.LessOrEqual(t, budget.Used(), budget.Limit())
		}
		require.Equal(t, "+PONG", own.do("PING"))
		for range 50 {
			c := dial(t, s)
			require.Equal(t, "+OK", c.do("SET k "+strings.Repeat("v", 500)))
		}
		require.Equal(t, "+PONG", own.do("PING"))
		require.Positive(t, s.Stats().Evicted)
		require.Equal(t, s.Stats().Evicted, budget.Evicted())
	})
}

// A command that would take most of the room is refused, and says why.
func TestACommandWithoutRoomIsRefused(t *testing.T) {
	s, _ := open(t, roomOf(1<<20))
	own := dial(t, s)
	require.Equal(t, "+PONG", own.do("PING"))
	c := unfinished(t, s, 900_000)
	require.Equal(t, "-ERR "+errBuffers.Error(), c.read())
	c.closed()
	require.Equal(t, "+PONG", own.do("PING"))
	require.Positive(t, s.cfg.Buffers.Refused())
	ok := unfinished(t, s, 100_000)
	ok.conn.Close()
}

// What is queued for EXEC, watched, subscribed to and not read counts as well,
// and is given back.
func TestAllThatAConnectionHoldsCounts(t *testing.T) {
	word := strings.Repeat("x", 1000)
	for name, script := range map[string]func(c *client, i int){
		"transaction": func(c *client, i int) {
			if i == 0 {
				require.Equal(c.t, "+OK", c.do("MULTI"))
			}
			require.Equal(c.t, "+QUEUED", c.do("ECHO "+word))
		},
		"watches": func(c *client, i int) { require.Equal(c.t, "+OK", c.do(fmt.Sprintf("WATCH %s%d", word[:500], i))) },
		"channels": func(c *client, i int) {
			require.Contains(c.t, c.do(fmt.Sprintf("SUBSCRIBE %s%d", word, i)), "subscribe")
		},
		"patterns": func(c *client, i int) {
			require.Contains(c.t, c.do(fmt.Sprintf("PSUBSCRIBE %s%d", word[:50], i)), "subscribe")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, roomOf(1<<20))
			budget := s.cfg.Buffers
			c := dial(t, s)
			script(c, 0)
			before := budget.Used()
			for i := range 100 {
				script(c, i+1)
			}
			require.Greater(t, budget.Used()-before, int64(50_000))
			require.Equal(t, "+RESET", c.do("RESET"))
			require.Equal(t, "+PONG", c.do("PING"))
			require.Less(t, budget.Used(), before+10_000)
			c.conn.Close()
			require.Eventually(t, func() bool { return budget.Used() == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

// Messages for many subscribers that do not read take no more than there is.
func TestUnreadMessagesAreBoundedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, roomOf(1<<20))
		defer s.cancel()
		good := dial(t, s)
		require.Contains(t, good.do("SUBSCRIBE news"), "subscribe")
		for range 20 {
			require.Contains(t, dial(t, s).do("SUBSCRIBE news"), "subscribe") // and reads nothing
		}
		text := strings.Repeat("x", 10_000)
		for i := range 50 {
			s.Deliver("news", fmt.Append(nil, i, text))
			require.LessOrEqual(t, s.cfg.Buffers.Used(), s.cfg.Buffers.Limit())
			require.Contains(t, good.read(), fmt.Sprint(i))
		}
		require.Positive(t, s.Stats().Evicted+s.Stats().CutOff)
	})
}

// Answers that many ask for and do not read are bounded together too.
func TestUnreadAnswersAreBoundedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, roomOf(1<<20))
		defer s.cancel()
		own := dial(t, s)
		require.Equal(t, "+OK", own.do("SET k "+strings.Repeat("v", 50_000)))
		for range 30 {
			dial(t, s).send("GET k", "GET k", "GET k")
			synctest.Wait()
			require.LessOrEqual(t, s.cfg.Buffers.Used(), s.cfg.Buffers.Limit())
		}
		require.Equal(t, "+PONG", own.do("PING"))
		require.Positive(t, s.Stats().Evicted)
	})
}

// A client that has said much and says nothing any more keeps little, and is
// served when it goes on.
func TestIdleConnectionsGiveTheirBuffersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t)
		c, sub := dial(t, s), dial(t, s)
		require.Contains(t, sub.do("SUBSCRIBE news"), "subscribe")
		for range 3 {
			lines := make([]string, 200)
			for i := range lines {
				lines[i] = "ECHO " + strings.Repeat("x", 300)
			}
			c.send(lines...)
			for range lines {
				require.Contains(t, c.read(), "xxx")
			}
			require.Greater(t, s.cfg.Buffers.Used(), int64(30_000))
			time.Sleep(5 * time.Second)
			require.LessOrEqual(t, s.cfg.Buffers.Used(), int64(2*idleBuffers))
		}
		s.Deliver("news", []byte("late"))
		require.Contains(t, sub.read(), "late")
		c.raw("*1\r\n$4\r\nPI")
		time.Sleep(time.Minute)
		c.raw("NG\r\n")
		require.Equal(t, "+PONG", c.read(), "a part of a command stays")
		sub.conn.Close()
		require.NoError(t, s.Shutdown(context.Background()))
		require.Zero(t, s.cfg.Buffers.Used())
	})
}

// What a long command and a long answer took does not count while the client
// thinks.
func TestLongCommandsAreGivenBackAtOnce(t *testing.T) {
	s, _ := open(t)
	c := dial(t, s)
	long := strings.Repeat("v", 1<<20)
	gone := func() bool { return s.cfg.Buffers.Used() < 200<<10 }
	c.raw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n" + long + "\r\n")
	require.Equal(t, "+OK", c.read())
	require.Eventually(t, gone, 10*time.Second, time.Millisecond, "the command")
	require.Equal(t, "$1048576 "+long, c.do("GET k"))
	require.Eventually(t, gone, 10*time.Second, time.Millisecond, "the answer")
	require.Equal(t, "+OK", c.do("MSET"+strings.Repeat(" k x", 10_000)))
	require.Eventually(t, gone, 10*time.Second, time.Millisecond, "the arguments")
}

// Keys and values of one answer that several goroutines fetch count.
func TestLargeAnswersAreBounded(t *testing.T) {
	s, _ := open(t, roomOf(1<<20))
	c := dial(t, s)
	long := strings.Repeat("v", 60_000)
	keys := ""
	for i := range 60 {
		require.Equal(t, "+OK", c.do(fmt.Sprintf("SET k%d %s", i, long)))
		keys += fmt.Sprint(" k", i)
	}
	require.Contains(t, c.do("MGET k1 k2 k3"), "*3 ")
	require.Equal(t, "-ERR "+errBuffers.Error(), c.do("MGET"+keys))
	require.Contains(t, c.do("MGET k1 k2 k3"), "*3 ", "what was lent is given back")
}

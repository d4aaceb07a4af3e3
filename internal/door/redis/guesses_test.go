package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

func secret(cfg *Config) { cfg.Password = "secret" }

// from is a connection from an address of a test's choice.
type from struct {
	net.Conn
	address net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.address }

// dialFrom connects from an address; a Unix socket if it has a slash.
func dialFrom(t testing.TB, s *Server, host string) *client {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	address := net.Addr(&net.TCPAddr{IP: net.ParseIP(host), Port: 40_000})
	if strings.Contains(host, "/") {
		address = &net.UnixAddr{Name: host, Net: "unix"}
	}
	go s.ServeConn(from{theirs, address}) // a refusal waits for its reader
	return &client{t, ours, resp.NewReplyReader(ours, resp.ReplyLimits{})}
}

// Nothing that a client sends before AUTH gives it more time.
func TestOneDeadlineBeforeAuth(t *testing.T) {
	for name, send := range map[string]string{
		"a byte at a time":  "",
		"commands":          "*1\r\n$4\r\nPING\r\n",
		"resets":            "*1\r\n$5\r\nRESET\r\n",
		"wrong passwords":   "*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n",
		"wrong HELLO, AUTH": "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$1\r\nx\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := open(t, secret)
				defer s.cancel()
				good, c := dial(t, s), dial(t, s)
				require.Equal(t, "+OK", good.do("AUTH secret"))
				go swallow(c.conn)
				for i := range 4 {
					what := send
					if what == "" {
						what = "*2\r\n$4\r\nAUTH"[i : i+1]
					}
					_, _ = c.conn.Write([]byte(what)) // until it is closed
					time.Sleep(3 * time.Second)
				}
				require.Equal(t, 1, s.Stats().Clients)
				require.Equal(t, int64(1), s.Stats().Unproven)
				time.Sleep(time.Hour)
				require.Equal(t, "+PONG", good.do("PING"), "who has authenticated stays")
			})
		})
	}
}

func swallow(c net.Conn) {
	for b := make([]byte, 1024); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// Who has authenticated and RESETs gets the time of a new connection.
func TestResetBeginsTheTimeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, secret)
		defer s.cancel()
		c := dial(t, s)
		require.Equal(t, "+OK", c.do("AUTH secret"))
		time.Sleep(time.Minute)
		require.Equal(t, "+RESET", c.do("RESET"))
		time.Sleep(8 * time.Second)
		require.Equal(t, "+OK", c.do("AUTH secret"))
		require.Equal(t, "+PONG", c.do("PING"))
	})
}

// Each wrong password makes the next one of its address wait longer, on
// whatever connection; the right one is taken after such a wait, and at once
// from elsewhere.
func TestGuessesAreSlow(t *testing.T) {
	for _, guess := range []string{"AUTH x", "AUTH default x", "AUTH other secret", "HELLO 3 AUTH default x"} {
		t.Run(guess, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := open(t, secret)
				defer s.cancel()
				var took time.Duration
				for i := range 12 {
					c := dialFrom(t, s, "192.0.2.1")
					begin := time.Now()
					require.Equal(t, "-"+string(errWrongPass), c.do(guess))
					require.LessOrEqual(t, time.Since(begin), lastDelay)
					require.GreaterOrEqual(t, time.Since(begin), took, "guess %d", i)
					took = time.Since(begin)
					c.conn.Close()
				}
				require.Equal(t, lastDelay, took)
				begin := time.Now()
				require.Equal(t, "+OK", dialFrom(t, s, "192.0.2.2").do("AUTH secret"))
				require.Equal(t, "+OK", dialFrom(t, s, "/run/holdfast.sock").do("AUTH secret"))
				require.Zero(t, time.Since(begin), "others do not wait")
				require.Equal(t, "+OK", dialFrom(t, s, "192.0.2.1").do("AUTH secret"))
				require.Equal(t, lastDelay, time.Since(begin), "but do what guesses look like")
				require.Equal(t, int64(12), s.Stats().WrongPasswords)
				time.Sleep(forgetGuesses)
				begin = time.Now()
				require.Equal(t, "+OK", dialFrom(t, s, "192.0.2.1").do("AUTH secret"))
				require.Zero(t, time.Since(begin), "what was long ago is forgotten")
			})
		})
	}
}

// Many connections guess no faster than a few, and one with the right password
// gets in between them.
func TestManyGuessersOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, secret)
		defer s.cancel()
		for range 20 {
			s.guesses.failed("192.0.2.1", time.Now())
		}
		for range 40 {
			go func() {
				for range 30 {
					c := dialFrom(t, s, "192.0.2.1")
					c.raw("*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n")
					_, _ = c.replies.Read() // or it was closed
					c.conn.Close()
				}
			}()
		}
		time.Sleep(5 * time.Second)
		require.Equal(t, "+OK", dialFrom(t, s, "192.0.2.1").do("AUTH secret"))
		time.Sleep(5 * time.Second)
		require.LessOrEqual(t, s.Stats().WrongPasswords, int64(12*guessesAtOnce))
		require.Greater(t, s.Stats().WrongPasswords, int64(5*guessesAtOnce))
		time.Sleep(time.Minute)
	})
}

func TestGuessesBeyondTheQueueAreNotLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, secret)
		defer s.cancel()
		for range 20 {
			s.guesses.failed("192.0.2.1", time.Now())
		}
		for range 100 {
			dialFrom(t, s, "192.0.2.1").raw("*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n")
		}
		synctest.Wait()
		c := dialFrom(t, s, "192.0.2.1")
		require.Equal(t, "-"+string(errGuesses), c.do("AUTH secret"))
		c.closed()
		require.Greater(t, s.Stats().Unseen, int64(40))
		require.Equal(t, "+OK", dialFrom(t, s, "192.0.2.2").do("AUTH secret"))
		time.Sleep(20 * time.Second)
		require.Equal(t, "+OK", dialFrom(t, s, "192.0.2.1").do("AUTH secret"))
	})
}

func TestGuessersAreRememberedWithinBounds(t *testing.T) {
	var g guesses
	now := time.Now()
	for i := range 3 * maxGuessers {
		g.failed(fmt.Sprint(i), now)
	}
	n, last := g.remembered(now)
	require.Equal(t, maxGuessers, n)
	require.Equal(t, fmt.Sprint(3*maxGuessers-1), last)
	wait, ok := g.attempt(last, now)
	require.True(t, ok)
	require.Equal(t, firstDelay, wait)
	n, _ = g.remembered(now.Add(forgetGuesses))
	require.Zero(t, n)
	require.Zero(t, g.order.Len())
}

func TestOrigin(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "::1": "::1", "127.0.0.1": "127.0.0.1",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64",
	} {
		require.Equal(t, want, origin(&net.TCPAddr{IP: net.ParseIP(address), Port: 1}))
	}
	require.Equal(t, unixOrigin, origin(&net.UnixAddr{Net: "unix"}))
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, func(cfg *Config) { cfg.MaxClientsPerAddress = 2 })
		defer s.cancel()
		first := dialFrom(t, s, "192.0.2.1")
		require.Equal(t, "+PONG", first.do("PING"))
		require.Equal(t, "+PONG", dialFrom(t, s, "192.0.2.1").do("PING"))
		for range 3 {
			c := dialFrom(t, s, "192.0.2.1")
			require.Equal(t, "-ERR max number of clients of one address reached", c.read())
			c.closed()
			require.Equal(t, "+PONG", dialFrom(t, s, "/run/holdfast.sock").do("PING"))
		}
		require.Equal(t, "+PONG", dialFrom(t, s, "192.0.2.2").do("PING"))
		require.Equal(t, int64(3), s.Stats().Crowded)
		require.Equal(t, int64(3), s.Stats().Rejected)
		first.conn.Close()
		synctest.Wait()
		require.Equal(t, "+PONG", dialFrom(t, s, "192.0.2.1").do("PING"), "there is room again")
	})
}

// A million refusals are one line a minute.
func TestRefusalsAreSummedUpInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, _ := open(t, secret, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 50 {
			c := dialFrom(t, s, "192.0.2.1")
			require.Equal(t, "-"+string(errWrongPass), c.do("AUTH x"))
			c.raw("POST / HTTP/1.1\r\n")
			c.closed()
		}
		time.Sleep(time.Hour)
		require.NoError(t, s.Shutdown(context.Background()))
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		require.LessOrEqual(t, len(lines), 2, log.String())
		require.Contains(t, lines[0], "wrong_passwords=")
		require.Contains(t, lines[0], "last=192.0.2.1")
	})
}

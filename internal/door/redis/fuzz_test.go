package redis

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/exchange"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

// tape is a connection whose client has said all that it will, and of which
// what it is told is kept.
type tape struct {
	said io.Reader

	mu   sync.Mutex // guards told: a subscriber's queue writes too
	told bytes.Buffer
}

func (c *tape) Read(b []byte) (int, error) { return c.said.Read(b) }

func (c *tape) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Write(b)
}

func (c *tape) Close() error                     { return nil }
func (c *tape) LocalAddr() net.Addr              { return &net.TCPAddr{Port: 6379} }
func (c *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{Port: 50_000} }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// hear has a door serve one connection to its end.
func hear(s *Server, sent io.Reader) []byte {
	c := &tape{said: sent}
	newConn(s, c).serve()
	return c.told.Bytes()
}

// FuzzServer holds the door to answering anything with whole answers, and to
// ending without a panic.
func FuzzServer(f *testing.F) {
	files, err := filepath.Glob("../../../testdata/resp/*.txt")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		script, err := exchange.Parse(file, string(text))
		require.NoError(f, err)
		f.Add(script.Sent())
	}
	s, fake := open(f, func(cfg *Config) {
		cfg.MaxValue, cfg.MaxArgs, cfg.MaxQuery, cfg.OutputLimit = 1<<10, 64, 1<<14, 1<<20
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		if bytes.Contains(bytes.ToLower(sent), []byte("wait")) {
			t.Skip("it may wait for a minute")
		}
		fake.set(func() { fake.now = fake.now.Add(time.Second) })
		told := hear(s, bytes.NewReader(sent))
		replies := resp.NewReplyReader(bytes.NewReader(told), resp.ReplyLimits{})
		for {
			if _, err := replies.Read(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%q was answered %q: %v", sent, told, err)
			}
		}
		if n := s.Stats().Panics; n > 0 {
			t.Fatalf("%q: panic", sent)
		}
	})
}

// What the limits are for: none of these may take more than it has sent, or
// keep the next client from being served.
func TestHostileClients(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	s, _ := open(t)
	for name, sent := range map[string]string{
		"arguments announced":  "*1048576\r\n",
		"length announced":     "*2\r\n$1048576\r\n",
		"both, many times":     strings.Repeat("*1048576\r\n", 1000),
		"never a line end":     "*" + long,
		"inline without end":   long,
		"nulls":                strings.Repeat("\x00", 1<<20),
		"empty commands":       strings.Repeat("*0\r\n\r\n*-1\r\n", 100_000),
		"deep transaction":     "MULTI\r\n" + strings.Repeat("PING\r\n", 100_000),
		"errors":               strings.Repeat("NOSUCH\r\n", 100_000),
		"100,000 pipelined":    strings.Repeat("PING\r\n", 100_000),
		"subscribe and resend": strings.Repeat("SUBSCRIBE a\r\nPUBLISH a b\r\nHELLO 3\r\nPUBLISH a b\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			told := hear(s, strings.NewReader(sent))
			_, err := readAll(told)
			require.NoError(t, err)
			require.Equal(t, "+PONG\r\n", string(hear(s, strings.NewReader("PING\r\n"))))
		})
	}
	require.Equal(t, 100_000, strings.Count(string(hear(s, strings.NewReader(strings.Repeat("PING\r\n", 100_000)))), "+PONG\r\n"))
	require.Zero(t, s.Stats().Panics)
}

func readAll(told []byte) (n int, err error) {
	for len(told) > 0 {
		length, err := resp.NextReply(told)
		if err != nil {
			return n, err
		}
		n, told = n+1, told[length:]
	}
	return n, nil
}

// Package upstreamtest has a Redis for tests of what is taken over. It is no
// Redis: it has the keys that a test gives it, and the commands that package
// upstream sends.
package upstreamtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/rdb"
)

// Redis is one. Its methods may be called at any time.
type Redis struct {
	handlers sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]bool
	keys   map[string]key
	counts map[string]int // of commands on a key, as "DUMP key"
	answer func(args []string) string
}

type key struct {
	payload string
	end     time.Time // zero for never
}

// New returns a Redis without keys, which ends with the test.
func New(t testing.TB) *Redis {
	r := &Redis{conns: make(map[net.Conn]bool), keys: make(map[string]key), counts: make(map[string]int)}
	t.Cleanup(r.Close)
	return r
}

// Listen has it listen on a loopback port until the test ends, and returns its
// URL.
func (r *Redis) Listen(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.ServeOn(t, l)
	return "redis://" + l.Addr().String()
}

// ServeOn has it answer those who connect to a listener, until the test ends.
func (r *Redis) ServeOn(t testing.TB, l net.Listener) {
	r.handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.handle(c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.Close()
	})
}

// Dial connects to it without a socket, whatever the address is.
func (r *Redis) Dial(context.Context, string) (net.Conn, error) {
	here, there := net.Pipe()
	r.handle(there)
	return here, nil
}

// Close cuts its connections.
func (r *Redis) Close() {
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.handlers.Wait()
}

// SetValue gives it a key that ends after so long, never if that is 0.
func (r *Redis) SetValue(name string, v rdb.Value, left time.Duration) {
	r.SetPayload(name, string(v.Append(nil)), left)
}

// Set gives it a string.
func (r *Redis) Set(name, text string, left time.Duration) {
	r.SetValue(name, rdb.Value{Text: text}, left)
}

// SetPayload gives it a key whose DUMP is that payload.
func (r *Redis) SetPayload(name, payload string, left time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{payload: payload}
	if left > 0 {
		k.end = time.Now().Add(left)
	}
	r.keys[name] = k
}

// Has says whether it has a key.
func (r *Redis) Has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.find(name)
	return ok
}

// Count is how often a command was sent for a key.
func (r *Redis) Count(command, name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[command+" "+name]
}

// Answer has commands answered by a function, whose "" means the usual answer;
// it may wait. nil for none.
func (r *Redis) Answer(f func(args []string) string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *Redis) handle(c net.Conn) {
	r.mu.Lock()
	r.conns[c] = true
	r.mu.Unlock()
	r.handlers.Go(func() {
		r.serve(c)
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	})
}

func (r *Redis) serve(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	for {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		r.mu.Lock()
		if len(args) > 1 {
			r.counts[strings.ToUpper(args[0])+" "+args[1]]++
		}
		answer := r.answer
		r.mu.Unlock()
		text := ""
		if answer != nil {
			text = answer(args)
		}
		if text == "" {
			text = r.usual(args)
		}
		_, _ = out.WriteString(text) // Flush tells
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

// find returns a key that has not ended. The caller holds mu.
func (r *Redis) find(name string) (key, bool) {
	k, ok := r.keys[name]
	return k, ok && (k.end.IsZero() || time.Now().Before(k.end))
}

func (r *Redis) usual(args []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var k key
	known := false
	if len(args) > 1 {
		k, known = r.find(args[1])
	}
	switch name := strings.ToUpper(args[0]); {
	case name == "DUMP" && known:
		return fmt.Sprintf("$%d\r\n%s\r\n", len(k.payload), k.payload)
	case name == "DUMP":
		return "$-1\r\n"
	case name == "PTTL" && !known:
		return ":-2\r\n"
	case name == "PTTL" && k.end.IsZero():
		return ":-1\r\n"
	case name == "PTTL":
		return fmt.Sprintf(":%d\r\n", time.Until(k.end).Milliseconds())
	case name == "DEL" && known:
		delete(r.keys, args[1])
		return ":1\r\n"
	case name == "DEL":
		return ":0\r\n"
	case name == "AUTH", name == "SELECT":
		return "+OK\r\n"
	default:
		return "-ERR unknown command '" + args[0] + "', with args beginning with: \r\n"
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readLength(in, '*')
	if err != nil || n == 0 {
		return nil, errors.Join(err, errors.New("no command"))
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(in, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func readLength(in *bufio.Reader, begin byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil || line[0] != begin {
		return 0, errors.Join(err, errors.New("not what clients send"))
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

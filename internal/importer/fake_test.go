package importer_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/rdb"
)

// fakeRedis answers the commands that an import sends. It is no Redis: a test
// says what its keys are, and may answer a command in its place.
type fakeRedis struct {
	listener net.Listener
	handlers sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]bool
	keys   map[string]fakeKey
	answer map[string]func(args []string) string // by the command; "" is no answer at all
	page   int                                   // keys of one SCAN
}

type fakeKey struct {
	kind    string
	payload string
	end     int64 // as PEXPIRETIME tells it
}

func text(s string) fakeKey {
	v := rdb.Value{Text: s}
	return fakeKey{"string", string(v.Append(nil)), -1}
}

func startFake(t *testing.T) *fakeRedis {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return startFakeOn(t, l)
}

func startFakeTLS(t *testing.T, c *tls.Config) *fakeRedis {
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	require.NoError(t, err)
	return startFakeOn(t, l)
}

func startFakeOn(t *testing.T, l net.Listener) *fakeRedis {
	f := &fakeRedis{listener: l, conns: map[net.Conn]bool{}, keys: map[string]fakeKey{}, answer: map[string]func([]string) string{}, page: 3}
	f.handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns[c] = true
			f.mu.Unlock()
			f.handlers.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.closeAll()
		f.handlers.Wait()
	})
	return f
}

func (f *fakeRedis) addr() string { return f.listener.Addr().String() }
func (f *fakeRedis) url() string  { return "redis://" + f.addr() }

// closeAll closes the connections that there are.
func (f *fakeRedis) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}

// says has a command answered by a function.
func (f *fakeRedis) says(command string, answer func(args []string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[command] = answer
}

func (f *fakeRedis) serve(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	for {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		name := strings.ToUpper(args[0])
		f.mu.Lock()
		answer := f.answer[name]
		f.mu.Unlock()
		if answer == nil {
			answer = f.usual
		}
		_, _ = out.WriteString(answer(args)) // Flush tells
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func list(items ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(items), strings.Join(items, ""))
}

// usual is what a Redis of version 7 answers.
func (f *fakeRedis) usual(args []string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var k fakeKey
	known := false
	if len(args) > 1 {
		k, known = f.keys[args[1]]
	}
	switch name := strings.ToUpper(args[0]); {
	case name == "INFO":
		return bulk("# Cluster\r\ncluster_enabled:0\r\n")
	case name == "DBSIZE":
		return fmt.Sprintf(":%d\r\n", len(f.keys))
	case name == "SCAN":
		at, _ := strconv.Atoi(args[1])
		var names, batch []string
		for name := range f.keys {
			names = append(names, name)
		}
		slices.Sort(names)
		for ; at < len(names) && len(batch) < f.page; at++ {
			batch = append(batch, bulk(names[at]))
		}
		if at == len(names) {
			at = 0
		}
		return list(bulk(strconv.Itoa(at)), list(batch...))
	case name == "DUMP" && known:
		return bulk(k.payload)
	case name == "DUMP":
		return "$-1\r\n"
	case name == "PEXPIRETIME" && known:
		return fmt.Sprintf(":%d\r\n", k.end)
	case name == "PTTL" && known && k.end > 0:
		return fmt.Sprintf(":%d\r\n", k.end-time.Now().UnixMilli())
	case name == "PTTL" && known:
		return ":-1\r\n"
	case name == "PEXPIRETIME", name == "PTTL":
		return ":-2\r\n"
	case name == "TYPE" && known:
		return "+" + k.kind + "\r\n"
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

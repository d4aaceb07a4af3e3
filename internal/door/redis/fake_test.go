package redis

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// fake is a cluster of three nodes of which only one is real: all keys are in
// one store, and only the ring says that some belong elsewhere.
type fake struct {
	store *session.Store
	table *ring.Table
	door  *Server // gets what is published

	listening atomic.Int64 // how often a client began to
	confirmed atomic.Int64 // how often the topology was
	informed  atomic.Int64 // how often Info was asked for

	mu     sync.Mutex                                  // guards what follows
	fail   error                                       // what Do answers, if not nil
	panics bool                                        // Do does
	hold   func(ctx context.Context, b *command.Batch) // called by Do, if not nil
	served int                                         // batches
	waited []int                                       // partitions of the last Wait
	now    time.Time

	prefetched []string // last
}

func newFake(t testing.TB) *fake {
	f := &fake{now: time.UnixMilli(1_700_000_000_000)}
	var err error
	f.table, err = ring.New([]string{"a", "b", "c"}, ring.Params{Copies: 2}) // changed by tests, between commands
	require.NoError(t, err)
	f.store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, Now: f.clock, MemoryLimit: 1 << 30,
		TagOf: func(key string) (string, bool) { tag := ring.Tag(key); return tag, len(tag) < len(key) },
	})
	require.NoError(t, err)
	for p := range ring.Partitions {
		f.store.Open(p)
	}
	return f
}

func (f *fake) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) Do(ctx context.Context, b *command.Batch, dst []byte) ([]byte, error) {
	f.mu.Lock()
	fail, panics, hold := f.fail, f.panics, f.hold
	f.served++
	f.mu.Unlock()
	if hold != nil {
		hold(ctx, b)
	}
	if err := ctx.Err(); err != nil {
		return dst, err
	}
	if panics {
		panic("a planted bug")
	}
	if fail != nil {
		return dst, fail
	}
	p := b.Partition
	if b.Key != "" {
		p = ring.Partition(b.Key)
	}
	b.Keys(func(key string) {
		if ring.Partition(key) != p {
			panic("a batch of several partitions")
		}
	})
	out, err := b.Run(f.store, p, command.Env{}, dst)
	return out.Reply, err
}

func (f *fake) Watch(ctx context.Context, key string) (command.Watch, error) {
	b := &command.Batch{Commands: [][][]byte{{[]byte(command.Token), []byte(key)}}, Proto: 2, Key: key}
	reply, err := f.Do(ctx, b, nil)
	token, _ := command.TokenOf(reply)
	return command.Watch{Key: key, Token: token}, err
}

func (f *fake) Scan(ctx context.Context, r ScanRequest) (ScanResult, error) {
	if r.Local && f.table.Owner(r.From.Partition) != "a" {
		return ScanResult{Next: Cursor{Partition: r.From.Partition + 1}}, nil
	}
	reply, err := f.Do(ctx, command.ScanBatch(r.From.Partition, r.From.Position, r.Count, r.Match, r.Type), nil)
	if err != nil {
		return ScanResult{}, err
	}
	v, err := resp.NewReplyReader(bytes.NewReader(reply), resp.ReplyLimits{}).Read()
	page, _ := command.PageOf(v)
	next := Cursor{Partition: r.From.Partition + 1}
	if page.More {
		next = Cursor{r.From.Partition, page.Next}
	}
	return ScanResult{Keys: page.Keys, Seen: page.Seen, Next: next}, err
}

func (f *fake) Count(ctx context.Context, local bool) (n int, err error) {
	r := ScanRequest{Count: 1 << 20, Local: local}
	for r.From.Partition < ring.Partitions {
		found, err := f.Scan(ctx, r)
		if err != nil {
			return 0, err
		}
		n, r.From = n+len(found.Keys), found.Next
	}
	return n, nil
}

func (f *fake) Flush(ctx context.Context, local bool) error {
	for p := range ring.Partitions {
		if local && f.table.Owner(p) != "a" {
			continue
		}
		if _, err := f.Do(ctx, command.FlushBatch(p), nil); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Wait(ctx context.Context, partitions []int, copies int) int {
	f.set(func() { f.waited = partitions })
	return min(copies, 1)
}

func (f *fake) Publish(_ context.Context, channel, payload []byte) (int, error) {
	return f.door.Deliver(string(channel), payload), nil
}

func (f *fake) Prefetch(keys []string) {
	f.set(func() {
		f.prefetched = f.prefetched[:0]
		for _, key := range keys {
			f.prefetched = append(f.prefetched, strings.Clone(key))
		}
	})
}

func (f *fake) Listening(context.Context) { f.listening.Add(1) }

var fakeMembers = []Member{{"a", "10.0.0.1:6379"}, {"b", "10.0.0.2:6379"}, {"c", "10.0.0.3:6379"}}

func (f *fake) Confirm(context.Context) { f.confirmed.Add(1) }

func (f *fake) Topology() Topology {
	return Topology{Table: f.table, Self: "a", Members: fakeMembers}
}

func (f *fake) Info() Info {
	f.informed.Add(1)
	return Info{Version: "test", Uptime: time.Hour, Memory: 1 << 20, MemoryLimit: 1 << 30, Keys: 1, Expires: 0}
}

// open starts a door over a fake, and stops it at the end of the test.
func open(t testing.TB, change ...func(*Config)) (*Server, *fake) {
	f := newFake(t)
	cfg := Config{Cluster: f}
	for _, c := range change {
		c(&cfg)
	}
	s := New(cfg)
	f.door = s
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx) // the connections that a test leaves are broken off
	})
	return s, f
}

func allowFlush(cfg *Config) { cfg.AllowFlush = true }

// client is one connection to a door, through a pipe.
type client struct {
	t       testing.TB
	conn    net.Conn
	replies *resp.ReplyReader
}

func dial(t testing.TB, s *Server) *client {
	ours, theirs := net.Pipe()
	s.ServeConn(theirs)
	t.Cleanup(func() { ours.Close() })
	return &client{t, ours, resp.NewReplyReader(ours, resp.ReplyLimits{})}
}

// send writes commands, each a line of words as an inline command has them, in
// one piece. The pipe has no buffer, so it writes while replies are read.
func (c *client) send(lines ...string) {
	var all []byte
	for _, line := range lines {
		all = resp.AppendCommand(all, parse(c.t, line)...)
	}
	go c.conn.Write(all) //nolint:errcheck // what is lost is missed by the reader
}

// parse reads one line as a server would.
func parse(t testing.TB, line string) []string {
	r := resp.NewReader(strings.NewReader(line+"\n"), resp.Limits{MaxArgs: 1 << 20, MaxBulk: 1 << 20, MaxQuery: 1 << 26})
	var args [][]byte
	for args == nil {
		require.NoError(t, r.Fill())
		var err error
		args, err = r.Next()
		require.NoError(t, err)
	}
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = string(a)
	}
	return words
}

// read reads one answer and shows it on one line.
func (c *client) read() string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // fails if it is closed, and what has come can still be read
	v, err := c.replies.Read()
	require.NoError(c.t, err)
	return flat(v)
}

func flat(v resp.Value) string {
	return strings.TrimSpace(strings.ReplaceAll(string(v.Append(nil)), "\r\n", " "))
}

// do sends a command and reads its answer.
func (c *client) do(line string) string {
	c.t.Helper()
	c.send(line)
	return c.read()
}

// exchanges runs lines of the form "command -> answer".
func (c *client) exchanges(script string) {
	c.t.Helper()
	lines := bufio.NewScanner(strings.NewReader(script))
	for lines.Scan() {
		line, want, ok := strings.Cut(strings.TrimSpace(lines.Text()), " -> ")
		if !ok {
			require.Empty(c.t, line)
			continue
		}
		require.Equal(c.t, want, c.do(line), line)
	}
}

// closed asserts that the server closes the connection and sends no more.
func (c *client) closed() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // fails if it is closed, and what has come can still be read
	v, err := c.replies.Read()
	require.Error(c.t, err, "read %v", v)
	require.NotErrorIs(c.t, err, errTimeout)
}

var errTimeout = context.DeadlineExceeded

// raw sends bytes as they are.
func (c *client) raw(s string) {
	go c.conn.Write([]byte(s)) //nolint:errcheck // what is lost is missed by the reader
}

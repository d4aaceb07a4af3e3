package peer

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type handlerFunc func(*Request)

func (f handlerFunc) Serve(r *Request) { f(r) }

func self(name string) func() Identity {
	return func() Identity {
		return Identity{Cluster: "test", Name: name, Boot: name + "-boot", Role: "node", Wire: 1, Params: "copies=2"}
	}
}

// echo answers with the payload.
func echo(r *Request) { r.Reply(r.Payload) }

// serving is an Accept that runs in a goroutine of its own.
type serving struct {
	stop context.CancelCauseFunc
	done chan struct{}
	err  error // after done
}

func (s *serving) wait() error {
	<-s.done
	return s.err
}

func serve(conn net.Conn, cfg Config, h handlerFunc) *serving {
	ctx, stop := context.WithCancelCause(context.Background())
	s := &serving{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = Accept(ctx, conn, cfg, h)
	}()
	return s
}

// connected opens a link over a pipe, to be used within a synctest bubble. Both
// sides end with the test.
func connected(t *testing.T, cfg Config, h handlerFunc) (*Link, *serving) {
	t.Helper()
	near, far := net.Pipe()
	serverSide, clientSide := cfg, cfg
	serverSide.Self, clientSide.Self = self("server"), self("client")
	s := serve(far, serverSide, h)
	l, err := Connect(t.Context(), near, clientSide)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		s.stop(context.Canceled)
		require.Error(t, s.wait())
	})
	return l, s
}

// rawPeer is the far side of a link whose frames a test reads and writes
// itself.
type rawPeer struct {
	net.Conn
	t  *testing.T
	in *frameReader
}

func (p rawPeer) send(typ byte, seq uint64, payload []byte) {
	p.t.Helper()
	_, err := p.Write(appendFrame(nil, typ, seq, payload))
	require.NoError(p.t, err)
}

func (p rawPeer) receive() (header, []byte) {
	p.t.Helper()
	h, err := p.in.header()
	require.NoError(p.t, err)
	payload, err := p.in.payload(h.size)
	require.NoError(p.t, err)
	return h, payload
}

func (p rawPeer) sendHello(name string) {
	p.t.Helper()
	hello, err := appendHello(nil, self(name)(), Identity{})
	require.NoError(p.t, err)
	p.send(typeHello, 0, hello)
}

func newRawPeer(t *testing.T, conn net.Conn) rawPeer {
	t.Cleanup(func() { conn.Close() })
	return rawPeer{Conn: conn, t: t, in: newFrameReader(conn, 1<<20)}
}

// rawServer opens a link to a server played by the test.
func rawServer(t *testing.T, cfg Config) (*Link, rawPeer) {
	t.Helper()
	near, far := net.Pipe()
	raw := newRawPeer(t, far)
	shaken := make(chan struct{})
	go func() {
		defer close(shaken)
		raw.receive()
		raw.sendHello("raw")
	}()
	cfg.Self = self("client")
	l, err := Connect(t.Context(), near, cfg)
	require.NoError(t, err)
	<-shaken
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, raw
}

// rawClient opens a link from a client played by the test.
func rawClient(t *testing.T, cfg Config, h handlerFunc) (rawPeer, *serving) {
	t.Helper()
	near, far := net.Pipe()
	cfg.Self = self("server")
	s := serve(far, cfg, h)
	raw := newRawPeer(t, near)
	raw.sendHello("raw")
	raw.receive()
	t.Cleanup(func() {
		s.stop(context.Canceled)
		require.Error(t, s.wait())
	})
	return raw, s
}

// contextWithin ends after d at the latest.
func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHandshakeTellsEachSideWhoTheOtherIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := make(chan Identity, 1)
		l, _ := connected(t, Config{}, func(r *Request) {
			from <- r.From
			r.Reply(nil)
		})
		require.Equal(t, self("server")(), l.Peer())
		_, err := l.Call(t.Context(), 1, nil)
		require.NoError(t, err)
		require.Equal(t, self("client")(), <-from)
	})
}

// A refusal is the same error with the same text on both sides, whichever of
// them refuses.
func TestHandshakeRefusal(t *testing.T) {
	errCopies := errors.New("copies is 3 there and 2 here")
	refuse := func(Identity) error { return errCopies }
	for _, c := range []struct {
		name                   string
		serverCheck, dialCheck func(Identity) error
		refused                string
	}{
		{"by the server", refuse, nil, "client"},
		{"by the client", nil, refuse, "server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				s := serve(far, Config{Self: self("server"), Check: c.serverCheck}, echo)
				l, dialErr := Connect(t.Context(), near, Config{Self: self("client"), Check: c.dialCheck})
				require.Nil(t, l)
				serveErr := s.wait()
				refuser, refused := serveErr, dialErr
				if c.dialCheck != nil {
					refuser, refused = dialErr, serveErr
				}
				require.ErrorIs(t, refuser, ErrRefused)
				require.ErrorIs(t, refuser, errCopies)
				require.ErrorContains(t, refuser, c.refused)
				require.ErrorIs(t, refused, ErrRefused)
				var remote *RemoteError
				require.ErrorAs(t, refused, &remote)
				require.Equal(t, errCopies.Error(), remote.Text)
				requireClosed(t, near)
				requireClosed(t, far)
			})
		})
	}
}

func TestHandshakeCutsALongRefusal(t *testing.T) {
	text := errorText(errors.New(strings.Repeat("ä", 2*maxText)))
	require.Len(t, text, maxText)
	text = errorText(errors.New("x" + strings.Repeat("ä", 2*maxText)))
	require.Len(t, text, maxText-1, "no half letter at the end")
}

func TestHandshakeWithASilentPeerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		start := time.Now()
		err := Accept(t.Context(), far, Config{Self: self("server")}, handlerFunc(echo))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		requireClosed(t, far)

		near2, far2 := net.Pipe()
		defer far2.Close()
		_, err = Connect(t.Context(), near2, Config{Self: self("client"), HandshakeTimeout: time.Minute})
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second+time.Minute, time.Since(start))
		requireClosed(t, near2)
	})
}

// The timeout is for the whole handshake, so a peer cannot stretch it by
// sending a byte now and then.
func TestHandshakeWithASlowPeerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		s := serve(far, Config{Self: self("server")}, echo)
		hello, err := appendHello(nil, self("slow")(), Identity{})
		require.NoError(t, err)
		for _, b := range appendFrame(nil, typeHello, 0, hello) {
			if _, err := near.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(300 * time.Millisecond)
		}
		require.ErrorIs(t, s.wait(), os.ErrDeadlineExceeded)
	})
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errStop := errors.New("node stops")
		near, far := net.Pipe()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(errStop) })
		start := time.Now()
		_, err := Connect(ctx, near, Config{Self: self("client")})
		require.ErrorIs(t, err, errStop)
		require.ErrorIs(t, Accept(ctx, far, Config{Self: self("server")}, handlerFunc(echo)), errStop)
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		requireClosed(t, near)
		requireClosed(t, far)
	})
}

// A side that ends while it is greeted does not say who it is: its other
// connections may have ended before, and it would be taken for alive.
func TestEndingSideDoesNotGreet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		ctx, end := context.WithCancel(t.Context())
		late := &closesLate{Conn: far, may: make(chan struct{})}
		accepted := make(chan error, 1)
		go func() {
			ends := func(Identity, net.Addr) error { end(); return nil }
			accepted <- Accept(ctx, late, Config{Self: self("server"), Admit: ends}, handlerFunc(echo))
		}()
		time.AfterFunc(100*time.Millisecond, func() { near.Close() })
		l, err := Connect(t.Context(), near, Config{Self: self("client")})
		if err == nil {
			defer l.Close()
		}
		close(late.may)
		require.ErrorIs(t, <-accepted, context.Canceled)
		require.Error(t, err)
		require.Zero(t, late.written.Load())
	})
}

// closesLate is a connection that takes its time to close.
type closesLate struct {
	net.Conn
	may     chan struct{}
	written atomic.Int64
}

func (c *closesLate) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

func (c *closesLate) Close() error {
	<-c.may
	return c.Conn.Close()
}

func TestAcceptTurnsStrangersAway(t *testing.T) {
	hello, err := appendHello(nil, self("x")(), Identity{})
	require.NoError(t, err)
	for name, opening := range map[string][]byte{
		"HTTP":            []byte("GET /v1/sessions/alice HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":             {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0x00, 0x00},
		"RESP":            []byte("*2\r\n$3\r\nGET\r\n$5\r\nalice\r\n"),
		"zeros":           make([]byte, 64),
		"a request":       appendFrame(nil, 1, 1, []byte("no HELLO before")),
		"a reply":         appendFrame(nil, typeReply, 1, nil),
		"another magic":   appendFrame(nil, typeHello, 0, append([]byte("HOLDSLOW"), hello[len(magic):]...)),
		"short HELLO":     appendFrame(nil, typeHello, 0, hello[:len(hello)-7]),
		"empty HELLO":     appendFrame(nil, typeHello, 0, nil),
		"huge HELLO":      appendFrame(nil, typeHello, 0, append(hello[:len(hello):len(hello)], make([]byte, maxHello)...)),
		"huge refusal":    appendFrame(nil, typeRefuse, 0, make([]byte, maxText+1)),
		"oversized frame": {0xff, 0xff, 0xff, 0xff, typeHello, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				s := serve(far, Config{Self: self("server")}, func(*Request) { t.Error("request served") })
				_, _ = near.Write(opening)
				require.ErrorIs(t, s.wait(), ErrMalformed)
				answer, err := io.ReadAll(near)
				require.NoError(t, err)
				require.Empty(t, answer, "a stranger is told nothing")
			})
		})
	}
}

// A caller that may be a stranger is told that it is refused, and nothing else;
// a member is told what of it differs.
func TestStrangersAreToldNothing(t *testing.T) {
	errStranger := errors.New("no member: copies is 2 here")
	for name, c := range map[string]struct {
		from string
		told string
	}{
		"a stranger": {"stranger", "not admitted"},
		"a member":   {"member", "copies is 2 here"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				s := serve(far, Config{
					Self: self("server"),
					Admit: func(who Identity, from net.Addr) error {
						require.Equal(t, far.RemoteAddr(), from)
						if who.Name != "member" {
							return errStranger
						}
						return nil
					},
					Check: func(Identity) error { return errors.New("copies is 2 here") },
				}, echo)
				_, err := Connect(t.Context(), near, Config{Self: self(c.from)})
				var remote *RemoteError
				require.ErrorAs(t, err, &remote)
				require.Equal(t, c.told, remote.Text)
				require.ErrorIs(t, err, ErrRefused)
				require.ErrorIs(t, s.wait(), ErrRefused)
			})
		})
	}
}

// A restarted process says so to any caller that wants the process before it,
// even before it knows who the caller is: a crash is found by that.
func TestHandshakeWithAnotherProcessThanTheOneCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wanted := range []Identity{{Name: "server", Boot: "an earlier boot"}, {Name: "another", Boot: "server-boot"}} {
			near, far := net.Pipe()
			s := serve(far, Config{Self: self("server"), Admit: func(Identity, net.Addr) error { return errors.New("no member") }}, echo)
			_, err := Connect(t.Context(), near, Config{Self: self("client"), Wanted: wanted})
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorIs(t, err, ErrOther)
			require.NotContains(t, err.Error(), "server-boot", "nor does it say who it is")
			require.ErrorIs(t, s.wait(), ErrOther)
		}
		near, far := net.Pipe()
		s := serve(far, Config{Self: self("server")}, echo)
		l, err := Connect(t.Context(), near, Config{Self: self("client"), Wanted: self("server")()})
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.Error(t, s.wait())
	})
}

// FuzzAccept writes any bytes after a good HELLO: no panic, no goroutine left,
// and Accept returns when the client is gone.
func FuzzAccept(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("garbage, and more of it than a header"))
	f.Add(appendFrame(appendFrame(nil, 1, 1, []byte("one")), 2, 1, nil))
	f.Add(appendFrame(nil, typeRefuse, 0, []byte("changed my mind")))
	f.Add(appendFrame(nil, typeHello, 0, nil))
	f.Fuzz(func(t *testing.T, stream []byte) {
		synctest.Test(t, func(t *testing.T) {
			raw, s := rawClient(t, Config{MaxFrame: 1 << 10, MaxQueued: 1 << 10, Window: 2}, echo)
			go io.Copy(io.Discard, raw)
			_, _ = raw.Write(stream)
			raw.Close()
			require.Error(t, s.wait())
		})
	})
}

func TestHelloComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(-1, -1, maxText)
		id := Identity{Cluster: text.Draw(t, "cluster"), Name: text.Draw(t, "name"), Boot: text.Draw(t, "boot"), Role: text.Draw(t, "role"),
			Wire: rapid.IntRange(0, maxWire).Draw(t, "wire"), Params: text.Draw(t, "params")}
		id.OldestWire = rapid.IntRange(0, id.Wire).Draw(t, "oldest wire")
		wanted := Identity{Name: text.Draw(t, "wanted name"), Boot: text.Draw(t, "wanted boot")}
		hello, err := appendHello(nil, id, wanted)
		require.NoError(t, err)
		got, called, err := parseHello(append(hello, "and what a later version adds"...))
		require.NoError(t, err)
		require.Equal(t, id, got)
		require.Equal(t, wanted, called)
		// Where it ended before it said which is its oldest version, and before
		// that who is called.
		newer := len(hello) - 2
		old := newer - len(wanted.Name) - len(wanted.Boot) - 4
		cut := rapid.IntRange(old, len(hello)-1).Draw(t, "cut late")
		got, called, err = parseHello(hello[:cut])
		require.NoError(t, err)
		if cut >= newer {
			require.Equal(t, wanted, called)
		} else {
			require.Zero(t, called)
		}
		id.OldestWire = id.Wire
		require.Equal(t, id, got)
		_, _, err = parseHello(hello[:rapid.IntRange(0, old-1).Draw(t, "cut")])
		require.ErrorIs(t, err, ErrMalformed)
	})
}

func FuzzHello(f *testing.F) {
	hello, err := appendHello(nil, self("x")(), Identity{})
	require.NoError(f, err)
	f.Add(hello)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, wanted, err := parseHello(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		again, err := appendHello(nil, id, wanted)
		if err != nil {
			require.Greater(t, id.OldestWire, id.Wire)
			return
		}
		again = again[:len(again)-2] // the oldest version, which may be missing
		if wanted == (Identity{}) {
			again = again[:len(again)-4]
		}
		require.True(t, bytes.HasPrefix(b, again))
	})
}

func TestIdentityThatCannotBeSent(t *testing.T) {
	for want, id := range map[string]Identity{
		"wire version is -1":                    {Wire: -1},
		"wire version is 65536":                 {Wire: maxWire + 1},
		"oldest wire version is 2, want 0 to 1": {Wire: 1, OldestWire: 2},
		"has 1025 bytes":                        {Params: strings.Repeat("p", maxText+1)},
	} {
		near, far := net.Pipe()
		_, err := Connect(t.Context(), near, Config{Self: func() Identity { return id }})
		require.ErrorContains(t, err, want)
		requireClosed(t, near)
		far.Close()
	}
}

func TestConfigErrorsNameFieldAndValue(t *testing.T) {
	who := self("x")
	for want, cfg := range map[string]Config{
		"Self is nil":             {},
		"MaxFrame is -1":          {Self: who, MaxFrame: -1},
		"MaxFrame is 1073741825":  {Self: who, MaxFrame: maxMaxFrame + 1},
		"MaxQueued is -2":         {Self: who, MaxQueued: -2},
		"Window is -3":            {Self: who, Window: -3},
		"HandshakeTimeout is -1s": {Self: who, HandshakeTimeout: -time.Second},
		"WriteTimeout is -1s":     {Self: who, WriteTimeout: -time.Second},
	} {
		near, far := net.Pipe()
		_, err := Connect(t.Context(), near, cfg)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, Accept(t.Context(), far, cfg, handlerFunc(echo)), want)
		requireClosed(t, near)
		requireClosed(t, far)
	}
}

// requireClosed tells that this side of a pipe was closed by its owner.
func requireClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

package peer

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// forgetful is a connection that a firewall may forget: what is written to it
// then gets lost, without an error.
type forgetful struct {
	net.Conn
	forgot atomic.Bool
}

func (f *forgetful) Write(b []byte) (int, error) {
	if f.forgot.Load() {
		return len(b), nil
	}
	return f.Conn.Write(b)
}

const stall = 5 * time.Second

// between is a link with a StallTimeout, and both sides of its connection.
func between(t *testing.T, h handlerFunc) (l *Link, there, back *forgetful) {
	t.Helper()
	near, far := net.Pipe()
	there, back = &forgetful{Conn: near}, &forgetful{Conn: far}
	s := serve(back, Config{Self: self("server")}, h)
	l, err := Connect(t.Context(), there, Config{Self: self("client"), StallTimeout: stall})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		s.stop(nil)
		require.Error(t, s.wait())
	})
	return l, there, back
}

// A connection that passes nothing more, one way or the other, ends with its
// calls when nothing was heard for long; also where callers have left before.
func TestSilentConnectionEnds(t *testing.T) {
	for name, forget := range map[string]func(there, back *forgetful){
		"requests": func(there, _ *forgetful) { there.forgot.Store(true) },
		"answers":  func(_, back *forgetful) { back.forgot.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, there, back := between(t, echo)
				_, err := l.Call(t.Context(), 1, []byte("x"))
				require.NoError(t, err)
				time.Sleep(time.Hour)
				require.NoError(t, l.Err(), "nothing is owed")
				forget(there, back)
				begin := time.Now()
				_, err = l.Call(t.Context(), 1, []byte("x"))
				require.ErrorIs(t, err, ErrStalled)
				require.ErrorIs(t, err, ErrClosed)
				require.NotErrorIs(t, err, ErrNotSent)
				require.InDelta(t, stall, time.Since(begin), float64(stall)/4)
			})
			synctest.Test(t, func(t *testing.T) {
				l, there, back := between(t, echo)
				forget(there, back)
				begin := time.Now()
				for l.Err() == nil {
					require.Less(t, time.Since(begin), 2*stall)
					ctx, cancel := contextWithin(t, time.Second)
					_, err := l.Call(ctx, 1, []byte("x"))
					cancel()
					require.Error(t, err)
				}
				require.ErrorIs(t, l.Err(), ErrStalled, "those who ask have no patience, and ask again")
			})
		})
	}
}

// A peer that answers some requests is not silent, however long another one
// takes; and a long request has the time that a slow line takes for it.
func TestSlowConnectionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := between(t, func(r *Request) {
			if r.Type == 2 {
				time.AfterFunc(3*stall, func() { r.Reply(nil) })
				return
			}
			r.Reply(nil)
		})
		done := make(chan error, 1)
		go func() {
			_, err := l.Call(t.Context(), 2, nil)
			done <- err
		}()
		for range 12 {
			time.Sleep(stall / 4)
			_, err := l.Call(t.Context(), 1, nil)
			require.NoError(t, err)
		}
		require.NoError(t, <-done)
	})
	synctest.Test(t, func(t *testing.T) {
		const seconds = 8
		l, _, _ := between(t, func(r *Request) {
			time.AfterFunc(stall+(seconds-1)*time.Second, func() { r.Reply(nil) })
		})
		_, err := l.Call(t.Context(), 1, make([]byte, seconds*slowest))
		require.NoError(t, err)
	})
}

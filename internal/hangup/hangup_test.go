package hangup

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGone(t *testing.T) {
	for name, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		for how, leave := range map[string]func(net.Conn) error{
			"close":      net.Conn.Close,
			"half close": func(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() },
			"close behind unread bytes": func(c net.Conn) error {
				if _, err := c.Write([]byte("unread")); err != nil {
					return err
				}
				return c.Close()
			},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				l, err := net.Listen(name, address)
				require.NoError(t, err)
				defer l.Close()
				client, err := net.Dial(name, l.Addr().String())
				require.NoError(t, err)
				defer client.Close()
				server, err := l.Accept()
				require.NoError(t, err)
				defer server.Close()
				d := New(wrapped{server})
				require.False(t, d.Gone())
				_, err = client.Write([]byte("hi"))
				require.NoError(t, err)
				require.False(t, d.Gone(), "bytes to read are no end")
				require.NoError(t, leave(client))
				require.Eventually(t, d.Gone, 10*time.Second, time.Millisecond)
				b := make([]byte, 2)
				n, err := server.Read(b)
				require.NoError(t, err)
				require.Equal(t, "hi", string(b[:n]), "nothing was taken")
				require.NoError(t, server.Close())
				require.True(t, d.Gone(), "closed here")
			})
		}
	}
}

// wrapped is a connection as TLS wraps one.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestWhatIsNoSocketIsOpen(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	require.NoError(t, b.Close())
	require.False(t, New(a).Gone())
}

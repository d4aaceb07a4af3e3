package steady

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the other end has not read shows, and goes away as it reads.
func TestQueued(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	reader, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer reader.Close()
	plain, err := l.Accept()
	require.NoError(t, err)
	writer := &conn{Conn: plain}
	defer writer.Close()
	require.Zero(t, queued(writer))
	require.NoError(t, plain.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	sent := 0
	for err = nil; err == nil; { // until no buffer takes more
		var n int
		n, err = plain.Write(make([]byte, 64<<10))
		sent += n
	}
	full := queued(writer)
	require.Positive(t, full)
	_, err = io.CopyN(io.Discard, reader, int64(sent))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return queued(writer) == 0 }, 20*time.Second, time.Millisecond)
	here, there := net.Pipe()
	require.Zero(t, queued(here), "where it cannot be told")
	here.Close()
	there.Close()
}

//go:build unix

package socket

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The umask of whoever starts a member must not decide who may use its sockets.
// The test is not parallel: the umask is the process's.
func TestSocketModeIsWhateverTheUmask(t *testing.T) {
	dir := t.TempDir()
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		path := filepath.Join(dir, "door")
		before := syscall.Umask(mask)
		l, err := Listen(t.Context(), path)
		syscall.Umask(before)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o660)|fs.ModeSocket, info.Mode(), "umask %04o", mask)
		conn, err := net.Dial("unix", path)
		require.NoError(t, err, "the owner gets in")
		conn.Close()
		require.NoError(t, l.Close())
	}
}

func TestAbstractSocketIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Listen(t.Context(), "@door")
	require.Equal(t, ErrAbstract, err)
}

// Before it has its mode a socket is not open to more than that.
func TestSocketIsNarrowBeforeItIsBound(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	narrow(uintptr(fd))
	path := filepath.Join(t.TempDir(), "door")
	before := syscall.Umask(0)
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	syscall.Umask(before)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007, "%v", info.Mode())
}

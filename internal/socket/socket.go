// Package socket listens on Unix sockets that the operator has named by a path.
// What decides who gets in is the socket's mode, and not the umask of whoever
// has started the process.
package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// mode lets the socket's owner and group connect, whatever the umask: a loose
// one would open it to everybody on this host, a strict one would close it to
// the application's user.
const mode = 0o660

// Errors about the path itself. Others are those of the system.
var (
	ErrAbstract = errors.New("an abstract socket is open to everybody on this host; give the path of a file")
	ErrFile     = errors.New("it is a file and no socket; give a path that is free")
)

// Listen opens the socket at a path. A socket that a killed process has left
// behind is taken over. One on which somebody answers is not, and neither is
// anything else that is there: a file refuses connections as well.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if path[0] == '@' {
		return nil, ErrAbstract
	}
	l, err := listen(ctx, path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if info, statErr := os.Lstat(path); statErr == nil && info.Mode().Type() != os.ModeSocket {
		return nil, ErrFile
	}
	conn, dialErr := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if dialErr == nil {
		conn.Close()
	} else if errors.Is(dialErr, syscall.ECONNREFUSED) && os.Remove(path) == nil {
		return listen(ctx, path)
	}
	return nil, err
}

// listen opens a socket with its mode. That what is bound is never open to more
// than that needs the mode before there is a path (Linux masks it with the
// umask then, and other systems ignore it); that it is open to all of those,
// after.
func listen(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(narrow)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

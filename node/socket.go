package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// socketMode lets the socket's owner and group connect, whatever the umask: a
// loose one would open it to everybody on this host, a strict one would close it
// to the application's user.
const socketMode = 0o660

// listenUnix opens a Unix socket, which the named flag has asked for, or none
// where path is empty. A socket that a killed process has left behind is taken
// over; one on which somebody answers is not, and neither is anything else that
// is there: a file refuses connections as well.
func (n *Node) listenUnix(ctx context.Context, flag, path string) ([]net.Listener, error) {
	if path == "" {
		return nil, nil
	}
	if path[0] == '@' {
		return nil, fmt.Errorf("-%s %s: an abstract socket is open to everybody on this host; give the path of a file", flag, path)
	}
	l, err := listenSocket(ctx, path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if info, statErr := os.Lstat(path); statErr == nil && info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("-%s %s: it is a file and no socket; give a path that is free", flag, path)
		}
		conn, dialErr := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if dialErr == nil {
			conn.Close()
		} else if errors.Is(dialErr, syscall.ECONNREFUSED) && os.Remove(path) == nil {
			l, err = listenSocket(ctx, path)
		}
	}
	if err != nil {
		return nil, cannotListen("unix", flag, path, err)
	}
	n.listeners = append(n.listeners, l)
	return []net.Listener{l}, nil
}

// listenSocket opens a socket with socketMode. That what is bound is never open
// to more than that needs the mode before there is a path (Linux masks it with
// the umask then, and other systems ignore it); that it is open to all of those,
// after.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(narrowSocket)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

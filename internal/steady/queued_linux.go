package steady

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// queued returns how many written bytes the other end has not acknowledged. The
// kernel wakes a writer only when a good part of its buffer, of megabytes, is
// free again; a reader that is slow and steady would look as if it stood still.
func queued(conn net.Conn) (n int) {
	for {
		if sc, ok := conn.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			if err != nil {
				return 0
			}
			_ = raw.Control(func(fd uintptr) {
				n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) // 0 where it cannot be told
			})
			return n
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return 0
		}
		conn = wrapper.NetConn()
	}
}

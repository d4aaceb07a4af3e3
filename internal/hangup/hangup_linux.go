package hangup

import "golang.org/x/sys/unix"

// goneAt also sees an end behind bytes that nobody has read yet.
func goneAt(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

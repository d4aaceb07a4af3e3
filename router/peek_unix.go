//go:build unix

package router

import "syscall"

func peekAt(fd uintptr) sight {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN, err == syscall.EINTR:
		return quiet
	case err == nil && n > 0:
		return talking
	}
	return ended
}

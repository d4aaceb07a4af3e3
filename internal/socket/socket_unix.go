//go:build unix

package socket

import "syscall"

// narrow sets the mode of a socket that is not bound yet.
func narrow(fd uintptr) {
	_ = syscall.Fchmod(int(fd), mode) // some systems refuse; the mode after binding is what counts
}

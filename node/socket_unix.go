//go:build unix

package node

import "syscall"

// narrowSocket sets the mode of a socket that is not bound yet.
func narrowSocket(fd uintptr) {
	_ = syscall.Fchmod(int(fd), socketMode) // some systems refuse; the mode after binding is what counts
}

//go:build unix

package node

import "golang.org/x/sys/unix"

// narrowSocket sets the mode of a socket that is not bound yet.
func narrowSocket(fd uintptr) {
	_ = unix.Fchmod(int(fd), socketMode) // some systems refuse; the mode after binding is what counts
}

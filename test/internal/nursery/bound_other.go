//go:build unix && !linux

package nursery

import "syscall"

// bound keeps a child from the signals of this process's terminal. It does not
// end with this process: see Nursery.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

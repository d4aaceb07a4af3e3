package nursery

import "syscall"

// bound has a child killed when this process ends, whichever way, and keeps it
// from the signals of this one's terminal.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

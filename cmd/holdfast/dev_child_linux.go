package main

import "syscall"

// childAttributes has the kernel kill the child when the thread that started it
// ends, and keeps Ctrl-C at the terminal from it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

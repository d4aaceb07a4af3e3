package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent has Linux end a process when this one is killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

//go:build unix && !linux

package main

import "syscall"

// childAttributes keeps Ctrl-C at the terminal from the child.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

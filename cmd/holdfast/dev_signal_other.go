//go:build !unix

package main

import (
	"os"
	"syscall"
)

// There are no such signals here; sending one reports that.
const (
	pauseSignal  = syscall.Signal(-1)
	resumeSignal = syscall.Signal(-1)
)

func endSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

func childAttributes() *syscall.SysProcAttr { return nil }

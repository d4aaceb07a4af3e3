//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

const (
	pauseSignal  = syscall.SIGSTOP
	resumeSignal = syscall.SIGCONT
)

// endSignals returns the signals that end dev. A closed terminal sends SIGHUP;
// under nohup that is ignored, and stays so. Reading the terminal from the
// background would stop dev (SIGTTIN); ignored, the read fails instead, which
// counts as the end of its input.
func endSignals() []os.Signal {
	signal.Ignore(syscall.SIGTTIN)
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

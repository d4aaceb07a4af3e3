package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// What a process has is what its container allows, or else what the machine
// has. Of that, sessions get 60 % where -memory does not say otherwise. The
// collector is told to keep all of the process below one and a half times the
// sessions' limit: that has room for tombstones and copies over the limit (15 %
// of it), for buffers of connections, and for garbage, without which it would
// run all the time.
const (
	sessionsPercent = 60
	mostPercent     = 90 // of what there is, for all of the process
	// leastBeside is what a process needs beside its sessions, however few.
	leastBeside = 128 << 20
)

// machineMemory returns how many bytes this process may take and what says so;
// 0 if that is not known. Tests replace it.
var machineMemory = func() (bytes int64, source string) {
	total, err := memlimit.FromSystem()
	if err != nil {
		total = 0
	}
	limit, err := memlimit.FromCgroup()
	if err == nil && limit > 0 && (total == 0 || limit < total) {
		return bounded(limit), "container"
	}
	return bounded(total), "machine"
}

func bounded(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// defaultMemory is the default of -memory, in the form that the flag takes.
func defaultMemory() string {
	total, _ := machineMemory()
	if total == 0 {
		return string(noMemoryLimit)
	}
	return memoryText(max(total/100*sessionsPercent, 1<<20))
}

// memoryText writes a limit as the flag takes it, in whole MiB where it has
// any.
func memoryText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%dMiB", n>>20)
}

// collectorLimit is how much memory the process may take in all where sessions
// may take limit and there is total; 0 stands for none, and for not known.
func collectorLimit(limit, total int64) int64 {
	if limit == 0 {
		if total == 0 {
			return math.MaxInt64
		}
		return total / 100 * mostPercent
	}
	want := max(limit+limit/2, limit+leastBeside)
	if total > 0 {
		want = min(want, total/100*mostPercent)
	}
	// Below what is live, the collector would only be in the way.
	return max(want, limit+limit/5)
}

// limitMemory sets the collector's limit, unless the user has (GOMEMLIMIT).
func limitMemory(limit int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		total, _ := machineMemory()
		debug.SetMemoryLimit(collectorLimit(limit, total))
	}
}

// logMemory says what holds of memory.
func logMemory(limit int64, log *slog.Logger) {
	total, source := machineMemory()
	sessions, process := "none", "none"
	if limit > 0 {
		sessions = byteText(limit)
	}
	if now := debug.SetMemoryLimit(-1); now < math.MaxInt64 { // a negative one asks
		process = byteText(now)
	}
	log.Info("memory", "sessions", sessions, "process", process, "available", byteText(total), "of", source)
	if total > 0 && limit > total/100*mostPercent {
		log.Warn("-memory is nearly all that there is, or more: the process may be killed before it refuses anything",
			"memory", sessions, "available", byteText(total), "of", source)
	}
}

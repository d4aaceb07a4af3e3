//go:build testclock

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// clockFileEnv names a file that says how far the clock of the host is off, as
// a duration: 5s, -1h. It is read at each look at the clock, so writing it sets
// the clock. The builds that users run know nothing of it.
const clockFileEnv = "HOLDFAST_TEST_CLOCK_FILE"

// hostClock is the clock of the host as the file has it. It panics where there
// is no sense in the file: a test that set no clock must not pass.
func hostClock() func() time.Time {
	path := os.Getenv(clockFileEnv)
	if path == "" {
		return nil
	}
	return func() time.Time {
		b, err := os.ReadFile(path)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", clockFileEnv, err))
		}
		off, err := time.ParseDuration(strings.TrimSpace(string(b)))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", clockFileEnv, err))
		}
		return time.Now().Add(off)
	}
}

//go:build race

package simulation

import "runtime"

const raceEnabled = true

// All timers of a bubble share one context of the race detector. Two
// processors that fire two of them at one moment corrupt it: the process dies
// of "ThreadSanitizer: CHECK failed", or of a fault inside the runtime (Go
// 1.26, golang/go#78156). On one processor that cannot happen, and races are
// found all the same, by what happens before what.
func init() { runtime.GOMAXPROCS(1) }

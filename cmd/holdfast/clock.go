//go:build !testclock

package main

import "time"

// hostClock is the clock of the host, nil for time.Now. A build with the tag
// testclock has one that tests can set.
func hostClock() func() time.Time { return nil }

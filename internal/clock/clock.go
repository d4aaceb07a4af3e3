// Package clock has the two clocks that a member reads. The wall clock is for
// what other members and clients are told, such as stamps and ends of sessions;
// it may be set, and jump. The monotonic one is for how long something took, or
// may take; it never jumps, and means nothing in another process.
package clock

import "time"

// Clock is both clocks of one process. It is a value: whatever needs the time
// has a copy. Only [New] makes one that can be read.
type Clock struct {
	wall    func() time.Time
	started time.Time // with its monotonic reading
}

// New returns the clocks of a process that starts now. wall tells the time of
// day.
func New(wall func() time.Time) Clock { return Clock{wall: wall, started: time.Now()} }

// Now is the time of day by the wall clock.
func (c Clock) Now() time.Time { return c.wall() }

// Since is the time since the start of the process, by the monotonic clock.
func (c Clock) Since() time.Duration { return time.Since(c.started) }

// Started is when the process started, by the host's own clock.
func (c Clock) Started() time.Time { return c.started }

// Older returns the clocks of a process that has run for d longer, so that
// tests need not wait. The time of day is the same.
func (c Clock) Older(d time.Duration) Clock {
	c.started = c.started.Add(-d)
	return c
}

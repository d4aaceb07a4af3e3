// Package metric names what a member counts. A counter's name and help text
// stand where it is made, and nowhere else: all that shows counters, such as
// /admin/stats and /metrics, goes through the member's [Set].
package metric

import (
	"sync"
	"sync/atomic"
)

// Counter counts since it was made. Its zero value counts too, but is in no
// Set.
type Counter struct{ n atomic.Int64 }

// Add counts n more. It costs one atomic addition.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Load returns the count.
func (c *Counter) Load() int64 { return c.n.Load() }

// Put is told of one counter: its name in lower case with underscores, such as
// copies_sent, one sentence about what it counts, and its value now.
type Put func(name, help string, value int64)

// Set lists counters. Its zero value is empty. A name belongs to one counter of
// a set; that is for those to see to who make them.
type Set struct {
	mu      sync.Mutex // guards sources
	sources []func(Put)
}

// Counter makes a counter that is in the set.
func (s *Set) Counter(name, help string) *Counter {
	c := new(Counter)
	s.Func(func(put Put) { put(name, help, c.Load()) })
	return c
}

// Func adds counters that others count. Each time that the set is listed read
// puts those that there are, so that what has to be read at once can be. They
// must never fall.
func (s *Set) Func(read func(put Put)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(s.sources, read)
}

// Each puts every counter, in the order in which they came into the set.
func (s *Set) Each(put Put) {
	s.mu.Lock()
	sources := s.sources // only ever appended to
	s.mu.Unlock()
	for _, read := range sources {
		read(put)
	}
}

// Total adds up what is counted by reason.
func Total(byReason map[string]int64) (n int64) {
	for _, count := range byReason {
		n += count
	}
	return n
}

// Values returns the count of every counter by its name.
func (s *Set) Values() map[string]int64 {
	values := make(map[string]int64)
	s.Each(func(name, _ string, value int64) { values[name] = value })
	return values
}

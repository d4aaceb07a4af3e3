// Package alloctest counts what a function allocates, in a way that holds under
// the race detector too.
package alloctest

import "testing"

// Fewest returns the fewest allocations on the heap that one run of f made, of
// a hundred runs that each followed another.
//
// testing.AllocsPerRun returns the mean. Under the race detector that counts
// what f does not do: there sync.Pool drops one object in four at random, so
// the mean of a function that takes from two pools lies near one too many, and
// is now above it and now below.
func Fewest(f func()) float64 {
	fewest := testing.AllocsPerRun(1, f)
	for range 99 {
		fewest = min(fewest, testing.AllocsPerRun(1, f))
	}
	return fewest
}

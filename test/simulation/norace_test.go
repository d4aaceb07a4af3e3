//go:build !race

package simulation

// raceEnabled says whether this test was built with the race detector.
const raceEnabled = false

//go:build !race

package nodetest

// raceEnabled says whether this test was built with the race detector.
const raceEnabled = false

// Package costtest holds the cost of an operation per field, or per key, flat
// as what it works on grows. A cost that grows with the square of the size is
// how one client stops everybody: a request of 770 kB that takes a minute.
package costtest

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"
)

// Sizes are the numbers of fields that costs are measured at, up to All.
var Sizes = []int{100, 1_000, 10_000, All}

// All is the largest size.
const All = 100_000

const (
	// maxGrowth is by how much the cost of one field may grow from 100 fields
	// to 100,000: caches are left behind, and what sorts or seeks in an index
	// has a factor of log m, 17 instead of 7. A cost that grows with the square
	// grows a thousandfold.
	maxGrowth = 25
	// least is a time, for all fields, that is flat whatever it grew from: what
	// costs next to nothing at 100 fields may cost that at 100,000.
	least = 2 * time.Millisecond

	runs = 5
)

// Flat measures an operation at each size. make makes a fresh one on n fields
// or keys, which is run once, and timed. The benchmark's metrics are the ns of
// one field at each size up to most, each the least of five runs; it fails if
// the last is more than 25 times the first.
func Flat(b *testing.B, most int, make func(n int) (run func())) {
	b.Helper()
	perField := map[int]float64{}
	sizes := slices.DeleteFunc(slices.Clone(Sizes), func(n int) bool { return n > most })
	for _, n := range sizes {
		best := time.Duration(math.MaxInt64)
		for range runs {
			run := make(n)
			runtime.GC()
			began := time.Now()
			run()
			best = min(best, time.Since(began))
		}
		perField[n] = float64(best.Nanoseconds()) / float64(n)
		b.ReportMetric(perField[n], fmt.Sprintf("ns/field-%d", n))
	}
	b.ReportMetric(0, "ns/op")
	first, last := sizes[0], sizes[len(sizes)-1]
	if grown(perField[first], perField[last], last) {
		b.Errorf("one field costs %.1f ns of %d, and %.1f ns of %d", perField[first], first, perField[last], last)
	}
}

// grown reports whether a cost per field, ns, is not flat.
func grown(first, last float64, n int) bool {
	return last > maxGrowth*first && last*float64(n) > float64(least.Nanoseconds())
}

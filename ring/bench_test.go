package ring_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

// The keys of the benchmarks: a short name, a tag, and a session id of 128
// bits as base64.
var benchKeys = []string{"alice", "{alice}:laptop", "x4gZr0qTn3bKcVY8mPfL2w"}

func BenchmarkPartition(b *testing.B) {
	for _, key := range benchKeys {
		b.Run(key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ring.Partition(key)
			}
		})
	}
}

func BenchmarkOwner(b *testing.B) {
	table := build(b, ring.Params{}, nodes(10)...)
	for _, key := range benchKeys {
		b.Run(key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Owner(ring.Partition(key))
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, copies := range []int{2, 3} {
		for _, n := range []int{3, 10, 50, 100} {
			b.Run(fmt.Sprintf("copies=%d/members=%d", copies, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					build(b, ring.Params{Copies: copies}, nodes(n)...)
				}
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10, 100} {
		var members []ring.Member
		for i, name := range nodes(n) {
			members = append(members, ring.Member{Name: name, Weight: 50 * (1 + i%4), Zone: fmt.Sprint("zone-", i%3)})
		}
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := ring.Build(members, ring.Params{})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkLibrary does what BenchmarkNew does for two copies, by the library.
func BenchmarkLibrary(b *testing.B) {
	for _, n := range []int{3, 10, 50, 100} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			params := build(b, ring.Params{}).Params()
			for b.Loop() {
				newLibrary(params, nodes(n)...).successors()
			}
		})
	}
}

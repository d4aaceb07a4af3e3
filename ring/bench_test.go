package ring_test

import (
	"fmt"
	"testing"

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
		for _, n := range []int{3, 10, 50} {
			b.Run(fmt.Sprintf("copies=%d/members=%d", copies, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					build(b, ring.Params{Copies: copies}, nodes(n)...)
				}
			})
		}
	}
}

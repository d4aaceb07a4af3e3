package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets of which sixteen halve a power of two
// of nanoseconds, so a quantile is at most a sixteenth too large.
type histogram struct {
	counts [64 * 16]int
	count  int
	max    time.Duration
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 5 // leaves 16 to 31
	return (shift+1)*16 + int(v>>shift) - 16
}

// ceiling is the largest duration of a bucket.
func ceiling(bucket int) time.Duration {
	if bucket < 16 {
		return time.Duration(bucket)
	}
	shift := bucket/16 - 1
	return time.Duration(uint64(16+bucket%16+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.count++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.count += o.count
	h.max = max(h.max, o.max)
}

// quantile is a duration that this part of all are not longer than, 0 if there
// are none.
func (h *histogram) quantile(part float64) time.Duration {
	rank := int(part * float64(h.count))
	for i, n := range h.counts {
		if rank -= n; rank < 0 {
			return min(ceiling(i), h.max)
		}
	}
	return h.max
}

package node

import (
	"cmp"

	"github.com/seed-95a32959/holdfast/internal/buffers"
)

// Of the memory limit the store gets what the member does not need for itself:
// a 16th is for the records that are on their way, in the queues of links and
// of senders, and where that is little, an eighth, of which 8 MiB are enough:
// the tables of 1,024 partitions and the rest of a member without sessions.
const (
	workShare  = 16
	bareShare  = 8
	bareMember = 8 << 20
)

// storeLimit is how many bytes of sessions the store of a member may hold, with
// this limit for the member; 0 is none.
func storeLimit(limit int64) int64 {
	return limit - max(limit/workShare, min(bareMember, limit/bareShare))
}

// bufferShare is which part of -memory the buffers of Redis connections may
// take beside it, and leastBuffers what they may take in any case, in bytes.
const (
	bufferShare  = 8
	leastBuffers = 32 << 20
)

// redisBuffers bounds the buffers of all Redis connections. Without a limit for
// sessions they have 512 MiB.
func redisBuffers(memoryLimit int64) *buffers.Budget {
	return buffers.New(max(leastBuffers, cmp.Or(memoryLimit, 4<<30)/bufferShare))
}

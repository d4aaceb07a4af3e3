package redis

import (
	"context"
	"errors"
	"time"

	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/ring"
)

// Cluster is what the endpoint needs of the node that it belongs to. It is safe
// for concurrent use. Errors are those of package session, the context's, or
// wrap [ErrClusterDown].
type Cluster interface {
	// Do runs a batch where the owner of its key is, and appends the answer to
	// dst. The batch and all in it may be used again when Do has returned. On
	// an error dst is returned as it was given.
	Do(ctx context.Context, b *command.Batch, dst []byte) ([]byte, error)
	// Prefetch says that these keys, or some of them, are about to be asked
	// for.
	Prefetch(keys []string)
	// Watch returns the key with the version that it has at its owner.
	Watch(ctx context.Context, key string) (command.Watch, error)
	// Scan looks at about r.Count keys from r.From on.
	Scan(ctx context.Context, r ScanRequest) (ScanResult, error)
	// Count counts the keys of the cluster, or those that this node owns.
	Count(ctx context.Context, local bool) (int, error)
	// Flush deletes all keys of the cluster, or those that this node owns.
	Flush(ctx context.Context, local bool) error
	// Wait waits until everything written to the partitions before has got to
	// so many copies of each, or until ctx ends, and returns the least number
	// that any of them has got to.
	Wait(ctx context.Context, partitions []int, copies int) int
	// Publish has every node deliver a message to its subscribers, and returns
	// to how many it was.
	Publish(ctx context.Context, channel, payload []byte) (receivers int, err error)
	// Listening has every node know that this one has subscribers, and returns
	// when those that can be reached do.
	Listening(ctx context.Context)
	// Confirm waits, for a bounded time, until every other node of the topology
	// has been heard of since the call, or is out of it.
	Confirm(ctx context.Context)
	// Topology is cheap: with redirects it is asked for each command.
	Topology() Topology
	Info() Info
}

// ErrClusterDown says that a node does not serve a key because it cannot reach
// a majority of the members.
var ErrClusterDown = errors.New("a majority of the members is out of reach")

// Cursor is a place in the order of all keys: by partition, and within one by a
// position below 2^43 that a key has whatever is written.
type Cursor struct {
	Partition int // [ring.Partitions] is the end
	Position  uint64
}

// ScanRequest says which keys to look at, and which to return.
type ScanRequest struct {
	From  Cursor
	Count int
	Match string // a pattern of package glob; "" fits all
	Type  string // as TYPE says it; "" fits all
	Local bool   // pass over partitions that other nodes own
	Until int    // the partition that ends the scan; 0 is none
}

// ScanResult is what one scan has found.
type ScanResult struct {
	Keys []string
	Seen int // keys looked at
	Next Cursor
}

// Topology is the cluster as one node sees it.
type Topology struct {
	Table   *ring.Table
	Self    string   // this node's name on the ring
	Members []Member // that are on the ring, by name
}

// Member is one node of a [Topology].
type Member struct {
	Name string
	RESP string // host:port that clients are told; "" if it does not speak Redis
}

// Info is what a node says of itself.
type Info struct {
	Version       string
	Uptime        time.Duration
	Memory        int64 // bytes of sessions
	MemoryLimit   int64 // 0 = none
	Keys, Expires int   // that this node owns, and those of them that end
}

// member returns the one of that name, or one without an address.
func (t *Topology) member(name string) Member {
	for _, m := range t.Members {
		if m.Name == name {
			return m
		}
	}
	return Member{Name: name}
}

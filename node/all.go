package node

import (
	"context"
	"iter"
	"strconv"
	"sync"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// All yields every live session of the cluster, partition after partition, each
// from its owner. Sessions that are created or end meanwhile may be among them
// or not. After an error there is nothing more: what was yielded before is not
// everything.
//
// It reads the whole cluster, a page at a time: it is for the operator's and the
// administrator's page, not for a request of a user.
func (s *Sessions) All(ctx context.Context) iter.Seq2[*session.Record, error] {
	return func(yield func(*session.Record, error) bool) {
		for _, key := range partitionKeys() {
			for after := ""; ; {
				reply, err := s.Do(ctx, &session.Op{Kind: session.Scan, Key: key, NewKey: after}, session.AckDefault)
				if err != nil {
					yield(nil, err)
					return
				}
				for _, rec := range reply.Records {
					if !yield(rec, nil) {
						return
					}
					after = rec.Key()
				}
				if len(reply.Records) == 0 {
					break
				}
			}
		}
	}
}

// partitionKeys has a key of each partition, by which an operation on the whole
// partition finds its owner.
var partitionKeys = sync.OnceValue(func() *[ring.Partitions]string {
	keys := new([ring.Partitions]string)
	for i, missing := 0, ring.Partitions; missing > 0; i++ {
		key := strconv.Itoa(i)
		if p := &keys[ring.Partition(key)]; *p == "" {
			*p = key
			missing--
		}
	}
	return keys
})

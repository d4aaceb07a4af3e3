package node

import (
	"math"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// mostSession is the largest -max-session, which members need not have in
	// common.
	mostSession = 16 << 20
	// leastRecord is less than any record has in bytes.
	leastRecord = 8
)

// frameLimits says how long a request of a type may be, and its answer.
func frameLimits(typ byte) (request, answer int) {
	const (
		all     = math.MaxInt // as much as any frame
		names   = 256 * 256   // a list of members, each behind its length
		records = 1<<20 + 2*mostSession
		page    = 1 << 20
	)
	switch typ {
	case mesh.TypeBeat:
		return mesh.MaxQuestion, mesh.MaxQuestion + names + 9*ring.Partitions
	case mesh.TypeRequest: // commands of a client, and what they read
		return all, all
	case mesh.TypeClaim:
		return 512 + names + 2*ring.Partitions, ring.Partitions * ownership.MaxAnswer
	case mesh.TypeHolds:
		return session.MaxKey, 17
	case mesh.TypePublish:
		return records, 4
	case mesh.TypeWait:
		return 2 + 2*ring.Partitions, 2
	case mesh.TypeStats, mesh.TypeEvents:
		return 8, page
	case replication.TypeRecords:
		return records, 4 * records / leastRecord // a position of each
	case replication.TypeDigests:
		return 2 * ring.Partitions, 8 * ring.Partitions
	case replication.TypeList:
		return 10, all
	case replication.TypePull:
		return 64 << 10, records
	default:
		return 0, 0
	}
}

// Of the memory limit the store gets what the member does not need for itself:
// a 16th is for the records that are on their way, in the queues of links and of
// senders, and where that is little, an eighth, of which 8 MiB are enough: the
// tables of 1,024 partitions and the rest of a member without sessions.
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

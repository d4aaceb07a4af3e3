package inbound

import (
	"math"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/replication"
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

// Limits says how long a request of a type may be, and its answer, in bytes: 0
// for what nobody sends.
func Limits(typ byte) (request, answer int) {
	const (
		all     = math.MaxInt // as much as any frame
		names   = 256 * 256   // a list of members, each behind its length
		records = 1<<20 + 2*mostSession
		page    = 1 << 20
	)
	switch typ {
	case mesh.TypeBeat:
		return mesh.MaxQuestion, mesh.MaxQuestion + 4*names + 9*ring.Partitions
	case mesh.TypeRequest, // commands of a client, and what they read
		mesh.TypeRelay, mesh.TypeRelayed: // the target looks at what is in it
		return all, all
	case mesh.TypeClaim:
		return 512 + names + 2*ring.Partitions, ring.Partitions * ownership.MaxAnswer
	case mesh.TypePropose:
		return 512 + names, 1024 + names
	case mesh.TypeGivenUp:
		return 8 + 2*ring.Partitions, 0
	case mesh.TypeHolds:
		return session.MaxKey, 17
	case mesh.TypePublish:
		return records, 4
	case mesh.TypeWait:
		return 2 + 2*ring.Partitions, 2
	case mesh.TypeStats, mesh.TypeEvents:
		return 8, page
	case mesh.TypeForget:
		return 64, 5
	case replication.TypeRecords:
		return records, 4 * records / leastRecord // a position of each
	case replication.TypeDigests:
		return 2 * ring.Partitions, 8 * ring.Partitions
	case replication.TypeList:
		return 10, all
	case replication.TypeListPage:
		return 18, all // a page, and all that is of one key hash
	case replication.TypePull:
		return 64 << 10, records
	default:
		return 0, 0
	}
}

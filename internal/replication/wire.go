package replication

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/seed-95a32959/holdfast/session"
)

// Frame types of the peer link that this package sends and answers. All
// integers are big endian.
const (
	// TypeRecords carries records one after another, as session.Record.Append
	// writes them, or AppendMoved to a Reader of that, as answers to TypePull
	// do; the answer lists the positions that were refused, u32 each,
	// in rising order, with the highest bit set where there is no room.
	TypeRecords byte = 0x10 + iota
	// TypeDigests carries partitions, u16 each; the answer has the digest of
	// each, u64, in the same order.
	TypeDigests
	// TypeList carries one partition, u16, and its floor, u64, which is taken
	// over; the answer has the floor of the other side, u64, and a pair of u64,
	// key hash and content hash, for everything held in it. About four million
	// are as many as a frame can carry.
	TypeList
	// TypePull carries one partition, u16, and up to 4,096 key hashes, u64
	// each; the answer says how many of them it covers, u32, and has their
	// records.
	TypePull
	// TypeListPage is TypeList a page at a time: the request has also the lowest
	// key hash, u64, of the page, and the answer, behind the floor, the hash
	// from which the next page goes on, u64, 0 if there is none. The pairs are
	// all that is held from the one to below the other. See Peer.ListsPages.
	TypeListPage
)

func malformed(what string, n int) error {
	return fmt.Errorf("%s of %d bytes: %w", what, n, session.ErrMalformed)
}

func appendPartitions(b []byte, parts []int) []byte {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(p))
	}
	return b
}

// decodePartitions reads partitions below limit, and no more than there are.
func decodePartitions(b []byte, limit int) ([]int, error) {
	if len(b)%2 != 0 || len(b)/2 > limit {
		return nil, malformed("partition list", len(b))
	}
	parts := make([]int, 0, len(b)/2)
	for ; len(b) > 0; b = b[2:] {
		p := int(binary.BigEndian.Uint16(b))
		if p >= limit {
			return nil, fmt.Errorf("partition %d: not below %d: %w", p, limit, session.ErrMalformed)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func appendHashes(b []byte, hashes []uint64) []byte {
	for _, h := range hashes {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

func decodeHashes(b []byte, limit int) ([]uint64, error) {
	if len(b)%8 != 0 || len(b)/8 > limit {
		return nil, malformed("hash list", len(b))
	}
	hashes := make([]uint64, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		hashes = append(hashes, binary.BigEndian.Uint64(b))
	}
	return hashes, nil
}

func appendEntries(b []byte, entries []session.Entry) []byte {
	b = slices.Grow(b, 16*len(entries))
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, e.KeyHash)
		b = binary.BigEndian.AppendUint64(b, e.Hash)
	}
	return b
}

func decodeEntries(b []byte) ([]session.Entry, error) {
	if len(b)%16 != 0 {
		return nil, malformed("entry list", len(b))
	}
	entries := make([]session.Entry, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		entries = append(entries, session.Entry{
			KeyHash: binary.BigEndian.Uint64(b),
			Hash:    binary.BigEndian.Uint64(b[8:]),
		})
	}
	return entries, nil
}

// noRoom marks the position of a record that was refused for want of memory.
const noRoom = 1 << 31

// decodeRefused reads the positions, in rising order, of refused ones among so
// many records, and how many were refused for want of memory.
func decodeRefused(b []byte, records int) (refused []int, full int, err error) {
	if len(b)%4 != 0 {
		return nil, 0, malformed("refusal list", len(b))
	}
	refused = make([]int, 0, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		i := binary.BigEndian.Uint32(b)
		if i&noRoom != 0 {
			i &^= noRoom
			full++
		}
		if int64(i) >= int64(records) || len(refused) > 0 && int(i) <= refused[len(refused)-1] {
			return nil, 0, fmt.Errorf("refused record %d of %d, or out of order: %w", i, records, session.ErrMalformed)
		}
		refused = append(refused, int(i))
	}
	return refused, full, nil
}

func decodeFloor(b []byte) (floor int64, err error) {
	if len(b) < 8 {
		return 0, malformed("floor", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

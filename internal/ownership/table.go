package ownership

import (
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

// Table has, for each partition, the claim in force as far as one member knows.
//
// Members exchange tables when a heartbeat shows that theirs differ, and each
// keeps the newer claim of each partition, so all tables become equal. That is
// how a member that was cut off or frozen learns that it has been succeeded.
type Table [ring.Partitions]Claim

// nobody stands for no claim in an encoded table.
const nobody = 255

// Encode writes a table:
//
//	u8 number of claimants | u8 length, claimant … |
//	per partition u8 claimant, 255 for none, and u64 epoch
func (t *Table) Encode() []byte {
	index := make(map[member.ID]byte)
	var ids []member.ID
	body := make([]byte, 0, 9*ring.Partitions)
	for _, c := range t {
		i, known := index[c.By]
		switch {
		case c.Epoch == 0, !known && len(ids) == nobody: // with 255 members or more it is merely not told of
			i = nobody
		case !known:
			i = byte(len(ids))
			index[c.By] = i
			ids = append(ids, c.By)
		}
		body = order.AppendUint64(append(body, i), c.Epoch)
	}
	return append(appendIDs(nil, ids), body...)
}

// DecodeTable reads what Table.Encode has written.
func DecodeTable(b []byte) (*Table, error) {
	ids, b, err := decodeIDs(b)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if len(b) != 9*ring.Partitions {
		return nil, fmt.Errorf("claims of %d bytes: %w", len(b), ErrMalformed)
	}
	t := new(Table)
	for p := range t {
		i, epoch := b[9*p], order.Uint64(b[9*p+1:])
		if i == nobody {
			continue
		}
		if int(i) >= len(ids) || epoch == 0 {
			return nil, fmt.Errorf("claim of partition %d: %w", p, ErrMalformed)
		}
		t[p] = Claim{epoch, ids[i]}
	}
	return t, nil
}

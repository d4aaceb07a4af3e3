package ownership

import (
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Doubts says which partitions this member serves and may not have all of, as a
// bit for each, partition 0 the lowest of the first byte; nil if there are none.
// Heartbeats tell the others: should this member end, who follows it is no surer
// than it was, though the ring on this side of a cut has long stood.
func (c *Core) Doubts() (bits []byte) {
	if c.unsures == 0 {
		return nil
	}
	for p := range c.parts {
		if part := &c.parts[p]; part.serving() && part.unsure.any() {
			if bits == nil {
				bits = make([]byte, (len(c.parts)+7)/8)
			}
			bits[p/8] |= 1 << (p % 8)
		}
	}
	return bits
}

// HearDoubts takes in the Doubts of another member, nil for none.
func (c *Core) HearDoubts(from member.ID, bits []byte) error {
	if bits != nil && len(bits) != (len(c.parts)+7)/8 {
		return fmt.Errorf("%d bytes of doubts, none or %d are accepted", len(bits), (len(c.parts)+7)/8)
	}
	if bits == nil && c.doubts == 0 {
		return nil
	}
	c.doubts = 0
	for p := range c.parts {
		part := &c.parts[p]
		switch {
		case bits != nil && bits[p/8]&(1<<(p%8)) != 0 && part.holder.By == from:
			part.doubted = part.holder
		case part.doubted.By == from:
			part.doubted = Claim{}
		}
		if part.doubted != (Claim{}) {
			c.doubts++
		}
	}
	return nil
}

// isDoubted says whether the owner by the claim in force was not sure to have all
// of a partition when it was last heard.
func (p *partition) isDoubted() bool { return p.doubted != (Claim{}) && p.doubted == p.holder }

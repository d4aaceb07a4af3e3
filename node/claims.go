package node

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// claimRef is one claim: who made it, and the epoch that orders it among all
// claims of the same partition.
type claimRef struct {
	epoch uint64
	by    ID
}

// newer says whether c goes before d: by epoch, and among equal ones by name.
func (c claimRef) newer(d claimRef) bool {
	if planted.Is(planted.NoEpoch) {
		return false
	}
	if c.epoch != d.epoch {
		return c.epoch > d.epoch
	}
	return c.by.Compare(d.by) > 0
}

// hash is what partition p adds to the digest of a claims table.
func (c claimRef) hash(p int) uint64 {
	if c.epoch == 0 {
		return 0
	}
	b := order.AppendUint16(make([]byte, 0, 64), uint16(p))
	b = order.AppendUint64(b, c.epoch)
	return xxhash.Sum64(append(b, c.by.String()...))
}

// setHolderLocked records a claim that is in force.
func (o *ownership) setHolderLocked(p int, c claimRef) {
	part := &o.parts[p]
	o.claimsHash.Store(o.claimsHash.Load() ^ part.holder.hash(p) ^ c.hash(p))
	part.holder = c
	if c.newer(part.promised) {
		part.promised = c
	}
	o.maxEpoch = max(o.maxEpoch, c.epoch)
}

// epochStep is how far above the highest known epoch one may be that is heard
// of. An honest one is one above it, or, where this member has just started or
// was cut off, as far as the cluster has come: a claim every millisecond for 49
// days. Without a bound a single frame could name the last epoch there is, and
// no claim could go above it.
const epochStep = 1 << 32

// heardOfLocked takes in that somebody knows of an epoch. It returns false for
// one that is too far above all that this member knows, which must not count
// yet. Members that have drifted apart find together in steps.
func (o *ownership) heardOfLocked(epoch uint64) (near bool) {
	if limit := o.maxEpoch + epochStep; epoch > limit {
		o.maxEpoch = limit
		o.node.stats.farEpochs.Add(1)
		return false
	}
	o.maxEpoch = max(o.maxEpoch, epoch)
	return true
}

// encodeClaims writes the claims in force:
//
//	u8 number of claimants | u8 length, claimant … | per partition u8 claimant, 255 for none, and u64 epoch
//
// Members exchange the table when a heartbeat shows that theirs differ; each
// keeps the newer claim of each partition, so all tables become equal. It is
// how a member that was cut off or frozen learns that it has been succeeded.
func (o *ownership) encodeClaims() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	index := make(map[ID]byte)
	var ids []ID
	body := make([]byte, 0, 9*ring.Partitions)
	for p := range o.parts {
		c := o.parts[p].holder
		i, ok := index[c.by]
		switch {
		case c.epoch == 0:
			i = 255
		case !ok && len(ids) == 255:
			i = 255 // cannot happen with fewer than 255 members; the partition is merely not told of
		case !ok:
			i = byte(len(ids))
			index[c.by] = i
			ids = append(ids, c.by)
		}
		body = order.AppendUint64(append(body, i), c.epoch)
	}
	b := []byte{byte(len(ids))}
	for _, id := range ids {
		s := id.String()
		b = append(append(b, byte(len(s))), s...)
	}
	return append(b, body...)
}

func decodeClaims(b []byte) (table [ring.Partitions]claimRef, err error) {
	if len(b) == 0 {
		return table, fmt.Errorf("claims of no bytes: %w", errClaim)
	}
	ids := make([]ID, b[0])
	b = b[1:]
	for i := range ids {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return table, fmt.Errorf("claims cut short: %w", errClaim)
		}
		if ids[i], err = member.ParseID(string(b[1 : 1+int(b[0])])); err != nil {
			return table, fmt.Errorf("claimant: %w: %w", errClaim, err)
		}
		b = b[1+int(b[0]):]
	}
	if len(b) != 9*ring.Partitions {
		return table, fmt.Errorf("claims of %d bytes: %w", len(b), errClaim)
	}
	for p := range table {
		i, epoch := b[9*p], binary.BigEndian.Uint64(b[9*p+1:])
		if i == 255 {
			continue
		}
		if int(i) >= len(ids) || epoch == 0 {
			return table, fmt.Errorf("claim of partition %d: %w", p, errClaim)
		}
		table[p] = claimRef{epoch, ids[i]}
	}
	return table, nil
}

// mergeClaims takes in another member's table. A partition that this node
// serves and that somebody has claimed since is given up at once: requests are
// forwarded from here on, and what was written here meanwhile is handed over.
func (o *ownership) mergeClaims(from string, table *[ring.Partitions]claimRef) {
	yielded := 0
	o.mu.Lock()
	highest := uint64(0)
	for _, c := range table {
		highest = max(highest, c.epoch)
	}
	limit := o.maxEpoch + epochStep
	o.heardOfLocked(highest)
	for p, c := range table {
		part := &o.parts[p]
		if c.epoch == 0 || c.epoch > limit || !c.newer(part.holder) {
			continue
		}
		o.setHolderLocked(p, c)
		if serving := part.phase == warm || part.phase == fetching; serving && c.by != o.node.id {
			o.node.store.Shut(p)
			o.setPhaseLocked(p, away)
			yielded++
		}
	}
	o.mu.Unlock()
	if yielded > 0 {
		o.node.log.Warn("succeeded by others while out of touch", "partitions", yielded, "told_by", from)
		o.node.events.Add("succeeded", "partitions", yielded, "told_by", from)
		o.node.stats.succeeded.Add(int64(yielded))
		o.kick()
		o.node.keeper.kick()
	}
	o.node.members.broadcast()
}

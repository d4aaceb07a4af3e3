package replication

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/seed-95a32959/holdfast/session"
)

const (
	// chunkBytes is where a frame of records sent by a comparison ends.
	chunkBytes = 256 << 10
	// pullKeys is how many key hashes one pull asks for.
	pullKeys = 4096
)

// Digests asks p for its digests of parts and returns those partitions in
// which it holds something else than this node.
func (r *Replicator) Digests(ctx context.Context, p Peer, parts []int) (differ []int, err error) {
	if len(parts) == 0 {
		return nil, nil
	}
	answer, err := p.Call(ctx, TypeDigests, appendPartitions(nil, parts))
	if err != nil {
		return nil, fmt.Errorf("compare %d partitions: %w", len(parts), err)
	}
	if len(answer) != 8*len(parts) {
		return nil, malformed("digest answer", len(answer))
	}
	for i, part := range parts {
		if binary.BigEndian.Uint64(answer[8*i:]) != r.cfg.Store.Digest(part) {
			differ = append(differ, part)
		}
	}
	return differ, nil
}

// Sync makes the copies of one partition here and at p equal: it fetches what
// differs there, merges it, and sends what differs here. When it returns nil
// each side has had everything that the other held when it was asked; writes
// since then travel by the dirty sets.
func (r *Replicator) Sync(ctx context.Context, p Peer, part int) error {
	here, there, err := r.differences(ctx, p, part)
	if err != nil || len(here)+len(there) == 0 {
		return err
	}
	if err := r.pull(ctx, p, part, there); err != nil {
		return err
	}
	if err := r.push(ctx, p, part, here); err != nil {
		return err
	}
	r.Stats.Mended.Add(1)
	return nil
}

// Offer sends p what it lacks of one partition, and takes nothing. When it
// returns nil, p has everything that this node holds of it.
func (r *Replicator) Offer(ctx context.Context, p Peer, part int) error {
	here, _, err := r.differences(ctx, p, part)
	if err != nil {
		return err
	}
	return r.push(ctx, p, part, here)
}

// Fetch merges everything that p holds of part and this node does not.
func (r *Replicator) Fetch(ctx context.Context, p Peer, part int) error {
	_, there, err := r.differences(ctx, p, part)
	if err != nil {
		return err
	}
	return r.pull(ctx, p, part, there)
}

// differences asks p for its list of one partition and returns the hashes of
// the keys that this node holds and p has not or otherwise, and the other way
// round.
func (r *Replicator) differences(ctx context.Context, p Peer, part int) (here, there []uint64, err error) {
	theirs, err := r.list(ctx, p, part)
	if err != nil {
		return nil, nil, err
	}
	rest := make(map[uint64]uint64, len(theirs))
	for _, e := range theirs {
		rest[e.KeyHash] = e.Hash
	}
	for _, e := range r.cfg.Store.List(part) {
		if hash, ok := rest[e.KeyHash]; !ok || hash != e.Hash {
			here = append(here, e.KeyHash)
		} else {
			delete(rest, e.KeyHash) // equal
		}
	}
	for keyHash := range rest {
		there = append(there, keyHash)
	}
	return here, there, nil
}

// FetchKey merges what p holds of one key.
func (r *Replicator) FetchKey(ctx context.Context, p Peer, part int, key string) error {
	return r.pull(ctx, p, part, []uint64{session.KeyHash(key)})
}

func (r *Replicator) list(ctx context.Context, p Peer, part int) ([]session.Entry, error) {
	answer, err := p.Call(ctx, TypeList, appendPartitions(nil, []int{part}))
	if err != nil {
		return nil, fmt.Errorf("list partition %d: %w", part, err)
	}
	return decodeEntries(answer)
}

func (r *Replicator) pull(ctx context.Context, p Peer, part int, hashes []uint64) error {
	for len(hashes) > 0 {
		ask := hashes[:min(pullKeys, len(hashes))]
		answer, err := p.Call(ctx, TypePull, appendHashes(appendPartitions(nil, []int{part}), ask))
		if err != nil {
			return fmt.Errorf("fetch %d keys of partition %d: %w", len(ask), part, err)
		}
		if len(answer) < 4 {
			return malformed("pull answer", len(answer))
		}
		consumed := int(binary.BigEndian.Uint32(answer))
		if consumed < 1 || consumed > len(ask) {
			return fmt.Errorf("fetch %d keys of partition %d: the peer dealt with %d: %w", len(ask), part, consumed, session.ErrMalformed)
		}
		for answer = answer[4:]; len(answer) > 0; {
			rec, n, err := session.DecodeRecord(answer)
			if err != nil {
				return fmt.Errorf("fetch partition %d: %w", part, err)
			}
			answer = answer[n:]
			if r.merge(rec) == nil { // a refused record is counted there
				r.Stats.Pulled.Add(1)
			}
		}
		hashes = hashes[consumed:]
	}
	return nil
}

// push sends the records of the given key hashes in chunks. A record that the
// peer refuses fails the push: its copy there is not equal, and whoever hands
// a partition over must not forget it.
func (r *Replicator) push(ctx context.Context, p Peer, part int, hashes []uint64) error {
	var chunk []byte
	count, refusals := 0, 0
	flush := func() error {
		if count == 0 {
			return nil
		}
		if err := r.bulk.WaitN(ctx, min(len(chunk), r.bulk.Burst())); err != nil {
			return fmt.Errorf("send partition %d: %w", part, err)
		}
		answer, err := p.Call(ctx, TypeRecords, chunk)
		if err != nil {
			return fmt.Errorf("send %d records of partition %d: %w", count, part, err)
		}
		refused, err := decodeRefused(answer, count)
		if err != nil {
			return err
		}
		r.Stats.Pushed.Add(int64(count - len(refused)))
		r.Stats.Quarantined.Add(int64(len(refused)))
		refusals += len(refused)
		chunk, count = nil, 0
		return nil
	}
	const step = 64
	for len(hashes) > 0 {
		n := min(step, len(hashes))
		for _, rec := range r.cfg.Store.Select(part, hashes[:n]) {
			chunk = rec.Append(chunk)
			count++
			if len(chunk) >= chunkBytes {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		hashes = hashes[n:]
	}
	if err := flush(); err != nil {
		return err
	}
	if refusals > 0 {
		return fmt.Errorf("send partition %d: %d records were refused; clocks may differ by more than 2s", part, refusals)
	}
	return nil
}

package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/seed-95a32959/holdfast/session"
)

const (
	// chunkBytes is where a frame of records sent by a comparison ends: at the
	// first record that reaches it.
	chunkBytes = 256 << 10
	// pullKeys is how many key hashes one pull may ask for.
	pullKeys = 4096
)

// Digests asks p for its digests of parts and returns those partitions, in the
// same order, in which it holds something else than this node, or in which an
// operation that runs here may change what there is.
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
		sum, ok := r.cfg.Store.TrySum(part)
		if !ok || binary.BigEndian.Uint64(answer[8*i:]) != sum.Digest {
			differ = append(differ, part)
		}
	}
	return differ, nil
}

// Sync makes the copies of one partition here and at p equal: it fetches what
// differs there, merges it, and sends what differs here. When it returns nil
// each side has had everything that the other held when it was asked; writes
// since then travel by the dirty sets. A record that one side refuses makes
// Sync fail, but only after all the others have been exchanged.
func (r *Replicator) Sync(ctx context.Context, p Peer, part int) error {
	if err := r.notHeld("sync", part); err != nil {
		return err
	}
	theirs, err := r.list(ctx, p, part)
	if err != nil {
		return err
	}
	there := lacking(theirs, r.cfg.Store.List(part))
	refusedHere, err := r.pull(ctx, p, part, there)
	if err != nil {
		return err
	}
	// Looked up after the merge: what is now as it is at p need not go back.
	here := lacking(r.cfg.Store.List(part), theirs)
	refusedThere, err := r.push(ctx, p, part, here)
	if err != nil {
		return err
	}
	if err := refusal("sync", part, refusedHere+refusedThere); err != nil {
		return err
	}
	if len(there)+len(here) > 0 {
		r.Stats.Mended.Add(1)
	}
	return nil
}

// Offer sends p what it lacks of one partition, and takes nothing. When it
// returns nil, p has everything that this node held of it when it was asked. A
// record that p refuses makes it fail: whoever hands a partition over must not
// forget it.
func (r *Replicator) Offer(ctx context.Context, p Peer, part int) error {
	if err := r.notHeld("offer", part); err != nil {
		return err
	}
	theirs, err := r.list(ctx, p, part)
	if err != nil {
		return err
	}
	refused, err := r.push(ctx, p, part, lacking(r.cfg.Store.List(part), theirs))
	if err != nil {
		return err
	}
	return refusal("offer", part, refused)
}

// Fetch merges everything that p holds of one partition and this node does not,
// and sends nothing of it. A record that is refused here makes it fail: what it
// says of its key must not be taken for what is known.
func (r *Replicator) Fetch(ctx context.Context, p Peer, part int) error {
	if err := r.notHeld("fetch", part); err != nil {
		return err
	}
	theirs, err := r.list(ctx, p, part)
	if err != nil {
		return err
	}
	refused, err := r.pull(ctx, p, part, lacking(theirs, r.cfg.Store.List(part)))
	if err != nil {
		return err
	}
	return refusal("fetch", part, refused)
}

// FetchKey merges what p holds of one key. It does not count as bulk.
func (r *Replicator) FetchKey(ctx context.Context, p Peer, part int, key string) error {
	_, _, refused, err := r.ask(ctx, p, part, []uint64{session.KeyHash(key)})
	if err != nil {
		return err
	}
	return refusal("fetch a key", part, refused)
}

// errHeld says that an operation holds a partition at this moment.
var errHeld = errors.New("an operation holds it")

// notHeld keeps a comparison, which goes from partition to partition, from
// waiting for one while others need it.
func (r *Replicator) notHeld(what string, part int) error {
	if !r.cfg.Store.Free(part, false) {
		return fmt.Errorf("%s of partition %d: %w", what, part, errHeld)
	}
	return nil
}

func refusal(what string, part, refused int) error {
	if refused == 0 {
		return nil
	}
	return fmt.Errorf("%s of partition %d: %d records were refused: %w; clocks must agree within %v",
		what, part, refused, session.ErrFuture, session.MaxAhead)
}

// lacking returns the key hashes of the entries that are in a and not in b.
func lacking(a, b []session.Entry) (keyHashes []uint64) {
	known := make(map[session.Entry]struct{}, len(b))
	for _, e := range b {
		known[e] = struct{}{}
	}
	for _, e := range a {
		if _, ok := known[e]; !ok {
			keyHashes = append(keyHashes, e.KeyHash)
		}
	}
	return keyHashes
}

func (r *Replicator) list(ctx context.Context, p Peer, part int) ([]session.Entry, error) {
	answer, err := p.Call(ctx, TypeList, appendPartitions(nil, []int{part}))
	if err != nil {
		return nil, fmt.Errorf("list partition %d: %w", part, err)
	}
	return decodeEntries(answer)
}

// pull merges p's records of the given key hashes and returns how many of them
// were refused here.
func (r *Replicator) pull(ctx context.Context, p Peer, part int, hashes []uint64) (refused int, err error) {
	for len(hashes) > 0 {
		consumed, bytes, bad, err := r.ask(ctx, p, part, hashes[:min(pullKeys, len(hashes))])
		refused += bad
		if err != nil {
			return refused, err
		}
		hashes = hashes[consumed:]
		if err := r.pace(ctx, bytes); err != nil {
			return refused, fmt.Errorf("fetch partition %d: %w", part, err)
		}
	}
	return refused, nil
}

// ask makes one pull. It returns how many of the hashes p has dealt with, at
// least one, the bytes of the answer, and how many records were refused here.
func (r *Replicator) ask(ctx context.Context, p Peer, part int, hashes []uint64) (consumed, bytes, refused int, err error) {
	answer, err := p.Call(ctx, TypePull, appendHashes(appendPartitions(nil, []int{part}), hashes))
	if err != nil {
		return 0, 0, 0, fmt.Errorf("fetch %d keys of partition %d: %w", len(hashes), part, err)
	}
	bytes = len(answer)
	if bytes < 4 {
		return 0, 0, 0, malformed("pull answer", bytes)
	}
	dealt := binary.BigEndian.Uint32(answer)
	if dealt < 1 || int64(dealt) > int64(len(hashes)) {
		return 0, 0, 0, fmt.Errorf("fetch %d keys of partition %d: the peer dealt with %d: %w", len(hashes), part, dealt, session.ErrMalformed)
	}
	for answer = answer[4:]; len(answer) > 0; {
		rec, n, err := session.DecodeRecord(answer)
		if err != nil {
			return 0, 0, refused, fmt.Errorf("fetch partition %d: %w", part, err)
		}
		answer = answer[n:]
		if r.merge(rec) != nil {
			refused++
		} else {
			r.Stats.Pulled.Add(1)
		}
	}
	return int(dealt), bytes, refused, nil
}

// push sends the records of the given key hashes in chunks and returns how many
// of them p refused.
func (r *Replicator) push(ctx context.Context, p Peer, part int, hashes []uint64) (refused int, err error) {
	if len(hashes) == 0 {
		return 0, nil
	}
	var chunk []byte
	for records := r.cfg.Store.Select(part, hashes); len(records) > 0; {
		chunk = chunk[:0]
		n := 0
		for n < len(records) && len(chunk) < chunkBytes {
			chunk = records[n].Append(chunk)
			n++
		}
		if err := r.pace(ctx, len(chunk)); err != nil {
			return refused, fmt.Errorf("send partition %d: %w", part, err)
		}
		bad, err := sendRecords(ctx, p, chunk, n)
		if err != nil {
			return refused, fmt.Errorf("send %d records of partition %d: %w", n, part, err)
		}
		r.Stats.Pushed.Add(int64(n - len(bad)))
		r.Stats.Quarantined.Add(int64(len(bad)))
		refused += len(bad)
		records = records[n:]
	}
	return refused, nil
}

// pace waits until so many bytes may be moved.
func (r *Replicator) pace(ctx context.Context, bytes int) error {
	return r.bulk.WaitN(ctx, min(bytes, r.bulk.Burst()))
}

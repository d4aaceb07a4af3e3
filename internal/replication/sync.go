package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seed-95a32959/holdfast/session"
)

const (
	// chunkBytes is where a frame of records sent by a comparison ends: at the
	// first record that reaches it.
	chunkBytes = 256 << 10
	// pullKeys is how many key hashes one pull may ask for.
	pullKeys = 4096
	// pageEntries is how many entries a page of a list has: 8 MiB. Each page
	// costs both sides a look at the whole partition.
	pageEntries = 512 << 10
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
	var refused refusals
	mended := false
	err := r.pages(ctx, p, part, func(theirs []session.Entry, ours func() []session.Entry) error {
		there := lacking(theirs, ours())
		refusedHere, err := r.pull(ctx, p, part, there)
		if err != nil {
			return err
		}
		// Looked up after the merge: a record that is now as it is at p need
		// not go back.
		here := lacking(ours(), theirs)
		refusedThere, err := r.push(ctx, p, part, here)
		refused = refused.plus(refusedHere).plus(refusedThere)
		mended = mended || len(there)+len(here) > 0
		return err
	})
	if err == nil {
		err = refused.err("sync", part)
	}
	if err == nil && mended {
		r.Stats.Mended.Add(1)
	}
	return err
}

// Offer sends p what it lacks of one partition, and takes nothing. When it
// returns nil, p has everything that this node held of it when it was asked. A
// record that p refuses makes it fail: an owner that hands a partition over
// must not forget that record.
func (r *Replicator) Offer(ctx context.Context, p Peer, part int) error {
	if err := r.notHeld("offer", part); err != nil {
		return err
	}
	var refused refusals
	err := r.pages(ctx, p, part, func(theirs []session.Entry, ours func() []session.Entry) error {
		some, err := r.push(ctx, p, part, lacking(ours(), theirs))
		refused = refused.plus(some)
		return err
	})
	if err != nil {
		return err
	}
	return refused.err("offer", part)
}

// Fetch merges everything that p holds of one partition and this node does not,
// and sends nothing of it. A record that is refused here makes it fail: what it
// says of its key must not be taken for what is known.
func (r *Replicator) Fetch(ctx context.Context, p Peer, part int) error {
	if err := r.notHeld("fetch", part); err != nil {
		return err
	}
	var refused refusals
	err := r.pages(ctx, p, part, func(theirs []session.Entry, ours func() []session.Entry) error {
		some, err := r.pull(ctx, p, part, lacking(theirs, ours()))
		refused = refused.plus(some)
		return err
	})
	if err != nil {
		return err
	}
	return refused.err("fetch", part)
}

// FetchKeys merges what p holds of some keys of one partition. It does not
// count as bulk.
func (r *Replicator) FetchKeys(ctx context.Context, p Peer, part int, keys ...string) error {
	hashes := make([]uint64, len(keys))
	for i, key := range keys {
		hashes[i] = session.KeyHash(key)
	}
	var refused refusals
	for len(hashes) > 0 {
		consumed, _, bad, err := r.ask(ctx, p, part, hashes[:min(pullKeys, len(hashes))])
		if err != nil {
			return err
		}
		hashes, refused = hashes[consumed:], refused.plus(bad)
	}
	return refused.err("fetch keys", part)
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

// ErrClocks says that records were refused because they lie in the future or
// have ended by the clock of the member that should take them.
var ErrClocks = errors.New("clocks do not agree")

// refusals counts records that one side has not taken.
type refusals struct {
	all  int
	full int // of these, those for which there was no memory
}

func (r refusals) plus(s refusals) refusals { return refusals{r.all + s.all, r.full + s.full} }

// err is nil if there was no refusal. It wraps session.ErrFull where nothing
// else stood in the way: another try is of no use before memory is free.
func (r refusals) err(what string, part int) error {
	switch {
	case r.all == 0:
		return nil
	case r.all == r.full:
		return fmt.Errorf("%s of partition %d: %d records were refused: %w", what, part, r.all, session.ErrFull)
	default:
		return fmt.Errorf("%s of partition %d: %d records were refused by their time, so the clocks of members differ: %w",
			what, part, r.all-r.full, ErrClocks)
	}
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

// pages calls f with what p lists of one partition, a page at a time, and with
// a function that lists here what belongs on that page. A member of an older
// version has one page.
func (r *Replicator) pages(ctx context.Context, p Peer, part int, f func(theirs []session.Entry, ours func() []session.Entry) error) error {
	for from := uint64(0); ; {
		theirs, next, err := r.list(ctx, p, part, from)
		if err != nil {
			return fmt.Errorf("list partition %d: %w", part, err)
		}
		ours := func() []session.Entry { return r.cfg.Store.ListRange(part, from, next) }
		if err := f(theirs, ours); err != nil || next == 0 {
			return err
		}
		from = next
	}
}

// list asks for the page that begins with a key hash, and returns where the
// next one does, 0 for nowhere.
func (r *Replicator) list(ctx context.Context, p Peer, part int, from uint64) (entries []session.Entry, next uint64, err error) {
	typ, head := TypeList, 8
	request := binary.BigEndian.AppendUint64(appendPartitions(nil, []int{part}), uint64(r.cfg.Store.Floor(part)))
	if p.ListsPages() {
		typ, head = TypeListPage, 16
		request = binary.BigEndian.AppendUint64(request, from)
	}
	answer, err := p.Call(ctx, typ, request)
	if err != nil {
		return nil, 0, err
	}
	if len(answer) < head {
		return nil, 0, malformed("list", len(answer))
	}
	if err := r.takeFloor(part, answer); err != nil {
		return nil, 0, err
	}
	if typ == TypeListPage {
		if next = binary.BigEndian.Uint64(answer[8:]); next != 0 && next <= from {
			return nil, 0, fmt.Errorf("page from %#x goes on from %#x, a higher one is accepted: %w", from, next, session.ErrMalformed)
		}
	}
	entries, err = decodeEntries(answer[head:])
	return entries, next, err
}

// pull merges p's records of the given key hashes and returns how many of them
// were refused here.
func (r *Replicator) pull(ctx context.Context, p Peer, part int, hashes []uint64) (refused refusals, err error) {
	for len(hashes) > 0 {
		consumed, bytes, bad, err := r.ask(ctx, p, part, hashes[:min(pullKeys, len(hashes))])
		refused = refused.plus(bad)
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
func (r *Replicator) ask(ctx context.Context, p Peer, part int, hashes []uint64) (consumed, bytes int, refused refusals, err error) {
	answer, err := p.Call(ctx, TypePull, appendHashes(appendPartitions(nil, []int{part}), hashes))
	if err != nil {
		return 0, 0, refused, fmt.Errorf("fetch %d keys of partition %d: %w", len(hashes), part, err)
	}
	bytes = len(answer)
	if bytes < 4 {
		return 0, 0, refused, malformed("pull answer", bytes)
	}
	dealt := binary.BigEndian.Uint32(answer)
	if dealt < 1 || int64(dealt) > int64(len(hashes)) {
		return 0, 0, refused, fmt.Errorf("fetch %d keys of partition %d: the peer dealt with %d: %w", len(hashes), part, dealt, session.ErrMalformed)
	}
	for answer = answer[4:]; len(answer) > 0; {
		rec, n, err := session.DecodeRecord(answer)
		if err != nil {
			return 0, 0, refused, fmt.Errorf("fetch partition %d: %w", part, err)
		}
		answer = answer[n:]
		switch err := r.merge(rec); {
		case err == nil:
			r.Stats.Pulled.Add(1)
		case errors.Is(err, session.ErrPast): // nobody here is told that it is held
		case errors.Is(err, session.ErrFull):
			refused = refused.plus(refusals{1, 1})
		default:
			refused.all++
		}
	}
	return int(dealt), bytes, refused, nil
}

// push sends the records of the given key hashes in chunks and returns how many
// of them p refused. Ends come first, for which there is always room. Where p
// has no room for a session, it is not sent the rest, which it would refuse
// too: these count as refused. Which sessions come first is left to chance, so
// that a session for which there is room gets there at some time.
func (r *Replicator) push(ctx context.Context, p Peer, part int, hashes []uint64) (refused refusals, err error) {
	if len(hashes) == 0 {
		return refused, nil
	}
	records := slices.DeleteFunc(r.cfg.Store.Select(part, hashes), r.cfg.Store.Ended)
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b *session.Record) int {
		switch {
		case a.Dead() == b.Dead():
			return 0
		case a.Dead():
			return -1
		}
		return 1
	})
	var chunk []byte
	for len(records) > 0 {
		chunk = chunk[:0]
		n := 0
		for n < len(records) && len(chunk) < chunkBytes {
			chunk = appendRecord(chunk, records[n], p)
			n++
		}
		if err := r.pace(ctx, len(chunk)); err != nil {
			return refused, fmt.Errorf("send partition %d: %w", part, err)
		}
		bad, full, err := sendRecords(ctx, p, chunk, n)
		if err != nil {
			return refused, fmt.Errorf("send %d records of partition %d: %w", n, part, err)
		}
		r.Stats.Pushed.Add(int64(n - len(bad)))
		r.Stats.Quarantined.Add(int64(len(bad)))
		refused = refused.plus(refusals{len(bad), full})
		records = records[n:]
		if full > 0 && len(records) > 0 && !records[0].Dead() {
			return refused.plus(refusals{len(records), len(records)}), nil
		}
	}
	return refused, nil
}

// pace waits until so many bytes may be moved.
func (r *Replicator) pace(ctx context.Context, bytes int) error {
	return r.bulk.WaitN(ctx, min(bytes, r.bulk.Burst()))
}

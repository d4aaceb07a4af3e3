package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/session"
)

// Config says what a [Replicator] works on.
type Config struct {
	Store      *session.Store
	Partitions int // of the store, 1 to 65,536
	// Now gives the age of dirty keys; its monotonic reading counts. Default
	// time.Now.
	Now func() time.Time
	// Merged is told, outside every lock, that a record from a peer changed
	// the copy here. An owner passes the change on to its own successors.
	Merged func(key string)
	// Refused is told, outside every lock, that the member id has refused the
	// record of key, which it does not hold as it is here.
	Refused func(id, key string)
	// BulkBytesPerSecond bounds what comparisons send and fetch, so that a
	// hand-over does not crowd out requests. Default 64 MiB/s.
	BulkBytesPerSecond int
}

// Replicator keeps the copies that other members hold of this node's writes.
type Replicator struct {
	cfg   Config
	bulk  *rate.Limiter
	Stats Stats

	running sync.WaitGroup // the senders' goroutines

	mu      sync.RWMutex // guards what follows; taken before a sender's own
	senders map[string]*sender
	closed  bool

	pageEntries int // of an answer to TypeListPage
}

// New returns a Replicator without peers. It panics if Config names no store
// or a number of partitions that the wire cannot carry.
func New(cfg Config) *Replicator {
	if cfg.Store == nil || cfg.Partitions < 1 || cfg.Partitions > 1<<16 {
		panic(fmt.Sprintf("replication: Config needs a Store and 1 to 65536 Partitions, has %d", cfg.Partitions))
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Refused == nil {
		cfg.Refused = func(string, string) {}
	}
	if cfg.BulkBytesPerSecond <= 0 {
		cfg.BulkBytesPerSecond = 64 << 20
	}
	// A burst holds one chunk, which ends at the first record over chunkBytes.
	burst := max(cfg.BulkBytesPerSecond, 32<<20)
	return &Replicator{
		cfg:     cfg,
		bulk:    rate.NewLimiter(rate.Limit(cfg.BulkBytesPerSecond), burst),
		senders: make(map[string]*sender),

		pageEntries: pageEntries,
	}
}

// Attach starts shipping to the member id over p. Attaching an id again does
// nothing, and so does Attach after [Replicator.Close]. [Replicator.Detach]
// ends it, and so does ctx.
func (r *Replicator) Attach(ctx context.Context, id string, p Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.senders[id]; r.closed || s != nil && s.ctx.Err() == nil {
		return
	}
	s := newSender(ctx, p, r.cfg.Store, r.cfg.Now, &r.Stats, func(key string) { r.cfg.Refused(id, key) })
	r.senders[id] = s
	r.running.Go(s.run)
}

// Detach stops shipping to id, waits until its sender has ended and forgets
// what was dirty: the member is gone, and the holder that takes its place gets
// everything by comparison.
func (r *Replicator) Detach(id string) {
	s := r.sender(id)
	if s == nil {
		return
	}
	s.stop()
	<-s.stopped
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.senders[id] == s { // not attached anew meanwhile
		delete(r.senders, id)
	}
}

// Retry tells the sender to id not to wait out its pause after a failure: the
// member can be reached again.
func (r *Replicator) Retry(id string) {
	if s := r.sender(id); s != nil {
		signal(s.retry)
	}
}

// Close detaches every member, for good, and waits until all senders have
// ended.
func (r *Replicator) Close() {
	r.mu.Lock()
	r.closed = true
	for _, s := range r.senders {
		s.stop()
	}
	clear(r.senders)
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Replicator) sender(id string) *sender {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.senders[id]
}

// Mark says that the copies of key at the members ids are behind. It does not
// block. A member that is not attached is passed over.
func (r *Replicator) Mark(ids []string, key string) {
	for _, id := range ids {
		if s := r.sender(id); s != nil {
			s.mark(key, nil)
		}
	}
}

// Behind says whether one of the members ids does not have key as it was when
// it was last marked for it, or is not attached.
func (r *Replicator) Behind(ids []string, key string) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		s := r.sender(id)
		return s == nil || s.behind(key)
	})
}

// Wait marks key at the members ids and waits until want of them have it as it
// is now, or until none is left that could confirm, or until ctx ends. It
// returns how many confirmed.
func (r *Replicator) Wait(ctx context.Context, ids []string, key string, want int) (confirmed int) {
	type ticket struct {
		sender *sender
		seq    uint64
	}
	tickets := make([]ticket, 0, len(ids))
	done := make(chan bool, len(ids))
	for _, id := range ids {
		if s := r.sender(id); s != nil {
			if seq := s.mark(key, done); seq > 0 {
				tickets = append(tickets, ticket{s, seq})
			}
		}
	}
	// The rest is not waited for: a silent peer must not gather waiters.
	defer func() {
		for _, t := range tickets {
			t.sender.forget(key, t.seq)
		}
	}()
	for open := len(tickets); open > 0 && confirmed < want; open-- {
		select {
		case ok := <-done:
			if ok {
				confirmed++
			}
		case <-ctx.Done():
			return confirmed
		}
	}
	return confirmed
}

// Lag returns the number of keys that some member does not have as they are
// here, and the age of the oldest of them.
func (r *Replicator) Lag() (dirty int, age time.Duration) {
	now := r.cfg.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.senders {
		n, since := s.state()
		dirty += n
		if !since.IsZero() {
			age = max(age, now.Sub(since))
		}
	}
	return dirty, age
}

// CaughtUp returns how many of the members ids have everything that was marked
// for them before a moment, by Config.Now. It has the senders to the others
// hurry.
func (r *Replicator) CaughtUp(ids []string, before time.Time) (n int) {
	for _, id := range ids {
		if s := r.sender(id); s != nil {
			if _, oldest := s.state(); oldest.IsZero() || oldest.After(before) {
				n++
			} else {
				signal(s.hurry)
			}
		}
	}
	return n
}

// LagOf is Lag for one member.
func (r *Replicator) LagOf(id string) (dirty int, age time.Duration) {
	s := r.sender(id)
	if s == nil {
		return 0, 0
	}
	dirty, since := s.state()
	if !since.IsZero() {
		age = r.cfg.Now().Sub(since)
	}
	return dirty, age
}

// Serve answers a frame of one of this package's types, which from has sent. It
// waits for operations that hold a partition which the frame is about.
func (r *Replicator) Serve(from Reader, typ byte, payload []byte) ([]byte, error) {
	answer, rest, err := r.ServeNow(from, typ, payload)
	if rest != nil {
		return rest()
	}
	return answer, err
}

// ServeNow is Serve for a goroutine that must not wait. Where it would have to,
// it returns rest instead, which does what is left and answers.
func (r *Replicator) ServeNow(from Reader, typ byte, payload []byte) (answer []byte, rest func() ([]byte, error), err error) {
	switch typ {
	case TypeRecords:
		batch := incoming{from: r, payload: payload}
		answer, err := batch.take(false)
		if err != nil || len(batch.payload) == 0 {
			return answer, nil, err
		}
		return nil, func() ([]byte, error) { return batch.take(true) }, nil
	case TypeDigests:
		return r.serveDigests(payload)
	case TypeList, TypeListPage:
		return r.serveList(typ, payload)
	case TypePull:
		return r.servePull(from, payload)
	default:
		return nil, nil, fmt.Errorf("frame type %#x: not one of replication: %w", typ, session.ErrMalformed)
	}
}

// incoming is a batch of records on its way into the store.
type incoming struct {
	from    *Replicator
	payload []byte // those that have not been merged
	n       int    // how many have been
	refused []byte // the positions of those that were refused
}

// take merges the records, all of them if it may wait, otherwise those before
// the first whose partition an operation holds. It returns the positions of
// those that were refused, so far.
func (in *incoming) take(mayWait bool) (refused []byte, err error) {
	store := in.from.cfg.Store
	for ; len(in.payload) > 0; in.n++ {
		rec, size, err := session.DecodeRecord(in.payload)
		if err != nil {
			return nil, fmt.Errorf("record %d of a batch: %w", in.n, err)
		}
		if !mayWait && !store.Free(store.PartitionOf(rec.Key()), true) {
			break
		}
		in.payload = in.payload[size:]
		if planted.Is(planted.AckBeforeApply) {
			time.AfterFunc(time.Second, func() { in.from.merge(rec) })
			continue
		}
		if err := in.from.merge(rec); err != nil {
			at := uint32(in.n)
			if errors.Is(err, session.ErrFull) {
				at |= noRoom
			}
			in.refused = binary.BigEndian.AppendUint32(in.refused, at)
		}
	}
	return in.refused, nil
}

func (r *Replicator) merge(rec *session.Record) error {
	changed, err := r.cfg.Store.Merge(rec)
	if err != nil {
		r.Stats.Refused.Add(1)
	}
	if changed {
		r.Stats.Merged.Add(1)
		if r.cfg.Merged != nil {
			r.cfg.Merged(rec.Key())
		}
	}
	return err
}

func (r *Replicator) serveDigests(payload []byte) (answer []byte, rest func() ([]byte, error), err error) {
	parts, err := decodePartitions(payload, r.cfg.Partitions)
	if err != nil {
		return nil, nil, err
	}
	digests := make([]byte, 0, 8*len(parts))
	for i, p := range parts {
		sum, ok := r.cfg.Store.TrySum(p)
		if !ok {
			return nil, func() ([]byte, error) { return r.appendDigests(digests, parts[i:]), nil }, nil
		}
		digests = binary.BigEndian.AppendUint64(digests, sum.Digest)
	}
	return digests, nil, nil
}

func (r *Replicator) appendDigests(b []byte, parts []int) []byte {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, r.cfg.Store.Digest(p))
	}
	return b
}

func (r *Replicator) serveList(typ byte, payload []byte) (answer []byte, rest func() ([]byte, error), err error) {
	if want := map[byte]int{TypeList: 10, TypeListPage: 18}[typ]; len(payload) != want {
		return nil, nil, malformed("list request", len(payload))
	}
	parts, err := decodePartitions(payload[:2], r.cfg.Partitions)
	if err != nil {
		return nil, nil, err
	}
	floor, err := decodeFloor(payload[2:])
	if err != nil {
		return nil, nil, err
	}
	list := func() ([]byte, error) {
		if err := r.cfg.Store.RaiseFloor(parts[0], floor); err != nil {
			return nil, err
		}
		floor := uint64(r.cfg.Store.Floor(parts[0]))
		if typ == TypeList {
			return appendEntries(appendHashes(nil, []uint64{floor}), r.cfg.Store.List(parts[0])), nil
		}
		entries, next := r.cfg.Store.ListPage(parts[0], binary.BigEndian.Uint64(payload[10:]), r.pageEntries)
		return appendEntries(appendHashes(nil, []uint64{floor, next}), entries), nil
	}
	return r.unlessHeld(parts[0], list)
}

// unlessHeld runs f, which looks at partition p, unless that has to wait.
func (r *Replicator) unlessHeld(p int, f func() ([]byte, error)) (answer []byte, rest func() ([]byte, error), err error) {
	if !r.cfg.Store.Free(p, false) {
		return nil, f, nil
	}
	answer, err = f()
	return answer, nil, err
}

// takeFloor takes over what the other side has forgotten for want of room.
func (r *Replicator) takeFloor(part int, b []byte) error {
	floor, err := decodeFloor(b)
	if err != nil {
		return err
	}
	return r.cfg.Store.RaiseFloor(part, floor)
}

// servePull answers how many of the asked hashes it has dealt with, u32, and
// their records: it stops when the answer is large enough, and the peer asks
// on.
func (r *Replicator) servePull(from Reader, payload []byte) (answer []byte, rest func() ([]byte, error), err error) {
	if len(payload) < 2 {
		return nil, nil, malformed("pull request", len(payload))
	}
	parts, err := decodePartitions(payload[:2], r.cfg.Partitions)
	if err != nil {
		return nil, nil, err
	}
	hashes, err := decodeHashes(payload[2:], pullKeys)
	if err != nil {
		return nil, nil, err
	}
	return r.unlessHeld(parts[0], func() ([]byte, error) { return r.pulled(from, parts[0], hashes), nil })
}

func (r *Replicator) pulled(from Reader, part int, hashes []uint64) []byte {
	held := make(map[uint64][]*session.Record, len(hashes))
	for _, rec := range r.cfg.Store.Select(part, hashes) {
		hash := session.KeyHash(rec.Key())
		held[hash] = append(held[hash], rec)
	}
	answer := make([]byte, 4)
	consumed := 0
	for consumed < len(hashes) && len(answer) < chunkBytes {
		for _, rec := range held[hashes[consumed]] {
			answer = appendRecord(answer, rec, from)
		}
		consumed++
	}
	binary.BigEndian.PutUint32(answer, uint32(consumed))
	return answer
}

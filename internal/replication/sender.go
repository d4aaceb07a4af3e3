package replication

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/session"
)

// Peer is a link to one member. Call sends one frame and returns its answer.
// It fails at once while there is no connection, returns when ctx ends, after a
// while also without that, and keeps nothing of payload.
type Peer interface {
	Reader
	// ListsPages says whether the member knows TypeListPage.
	ListsPages() bool
	Call(ctx context.Context, typ byte, payload []byte) ([]byte, error)
}

// Reader is a member that reads records. ReadsMoved says whether it reads them
// as session.Record.AppendMoved writes them.
type Reader interface {
	ReadsMoved() bool
}

// appendRecord appends a record as a member can read it.
func appendRecord(b []byte, rec *session.Record, to Reader) []byte {
	if rec.Leads() && to.ReadsMoved() {
		return rec.AppendMoved(b)
	}
	return rec.Append(b)
}

const (
	// A batch ends at batchKeys or at the first record that reaches
	// batchBytes, so that a frame stays small beside the link's limit and a
	// heartbeat behind it waits a few milliseconds at most.
	batchKeys  = 4096
	batchBytes = 1 << 20

	// callTimeout gives up on a peer that took a batch and stays silent; the
	// keys go back into the dirty set.
	callTimeout = 10 * time.Second

	retryMin = 10 * time.Millisecond
	retryMax = 500 * time.Millisecond

	// pace is the least time from one batch to the next, unless a writer waits
	// for it or gatherKeys have gathered. A batch costs both sides the same few
	// wake-ups and system calls whatever is in it, so records sent one by one
	// would cost more than the writes did; see docs/PERFORMANCE.md for figures.
	// A key that is marked after a quiet while is sent at once.
	pace       = 2 * time.Millisecond
	gatherKeys = 512

	// heldPause is how soon keys are looked at again whose partitions were
	// held by operations.
	heldPause = 2 * time.Millisecond
)

// waiter is a writer that waits until its mark of a key is confirmed.
type waiter struct {
	seq  uint64
	done chan<- bool // buffered for every answer it can get
}

// sender ships what one peer lacks. Its goroutine is run; everything else only
// touches the dirty set.
type sender struct {
	peer    Peer
	store   *session.Store
	now     func() time.Time
	stats   *Stats
	refused func(key string) // called outside every lock
	wake    chan struct{}    // one slot: there is something to do
	hurry   chan struct{}    // one slot: do not wait for more to gather
	retry   chan struct{}    // one slot: the peer can be reached again
	ctx     context.Context  // ends when the sender is to end
	stop    context.CancelFunc
	stopped chan struct{}

	// Only run uses these.
	begun   time.Time // when the last batch was taken
	limit   int       // keys of the next batch
	payload []byte    // of the last frame, to be used again
	carried []*entry  // the keys of the records in it
	held    []*entry  // the keys that it would have, but for operations
	dealt   []*entry  // the keys that it has, and those of which nothing is held

	mu      sync.Mutex // guards what follows
	dirty   *dirtySet
	waiters map[string][]waiter // by key, in order of seq; none without a dirty key
	closed  bool
}

// Stats counts what replication has done since the start.
type Stats struct {
	Batches     atomic.Int64 // frames of records that were answered
	Sent        atomic.Int64 // records in them that were confirmed
	Failed      atomic.Int64 // batches that came back
	Quarantined atomic.Int64 // records that a peer refused
	NoRoom      atomic.Int64 // of these, those for which it had no memory
	Merged      atomic.Int64 // records from peers that changed something here
	Refused     atomic.Int64 // records from peers that were refused here
	Pushed      atomic.Int64 // records sent because a comparison found them different
	Pulled      atomic.Int64 // records fetched because a comparison found them different
	Mended      atomic.Int64 // partitions that a comparison found different and made equal
}

func newSender(ctx context.Context, p Peer, store *session.Store, now func() time.Time, stats *Stats, refused func(key string)) *sender {
	s := &sender{
		peer: p, store: store, now: now, stats: stats, refused: refused,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), retry: make(chan struct{}, 1), stopped: make(chan struct{}),
		limit: batchKeys, dirty: newDirtySet(), waiters: make(map[string][]waiter),
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s
}

// mark says that the peer's copy of key is behind. If done is not nil it gets
// one answer: true when the peer has confirmed a record that was read after
// this mark, false when it refused it or will not confirm any more. mark
// returns the number of the mark; 0 if the sender has ended, and then done gets
// nothing.
func (s *sender) mark(key string, done chan<- bool) (seq uint64) {
	s.mu.Lock()
	if !s.closed {
		seq = s.dirty.add(key, s.now())
		if done != nil {
			s.waiters[key] = append(s.waiters[key], waiter{seq, done})
		}
	}
	enough := s.dirty.len() >= gatherKeys
	s.mu.Unlock()
	if seq > 0 {
		signal(s.wake)
	}
	if done != nil || enough {
		signal(s.hurry)
	}
	return seq
}

// forget takes back the waiter of a mark, if it has not had its answer.
func (s *sender) forget(key string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.waiters[key]
	i, found := slices.BinarySearchFunc(waiting, seq, func(w waiter, seq uint64) int { return cmp.Compare(w.seq, seq) })
	if found {
		s.setWaitersLocked(key, slices.Delete(waiting, i, i+1))
	}
}

func (s *sender) setWaitersLocked(key string, waiting []waiter) {
	if len(waiting) == 0 {
		delete(s.waiters, key)
	} else {
		s.waiters[key] = waiting
	}
}

// signal fills a channel of one slot.
func signal(slot chan<- struct{}) {
	select {
	case slot <- struct{}{}:
	default: // it is pending already
	}
}

func (s *sender) run() {
	defer close(s.stopped)
	defer s.shut()
	pause := retryMin
	for {
		s.gather()
		more, err := s.flush()
		wake, retry := s.wake, (<-chan time.Time)(nil)
		switch {
		case err != nil:
			s.stats.Failed.Add(1)
			wake, retry = nil, time.After(pause)
			pause = min(2*pause, retryMax)
		case more:
			pause = retryMin
			continue
		}
		select {
		case <-s.ctx.Done():
			return
		case <-wake:
		case <-retry:
		case <-s.retry:
			pause = retryMin
		}
	}
}

// gather keeps the next batch back until pace has passed since the last one, or
// there is a reason not to.
func (s *sender) gather() {
	s.mu.Lock()
	n, awaited := s.dirty.len(), len(s.waiters) > 0
	s.mu.Unlock()
	rest := pace - time.Since(s.begun)
	if n == 0 || n >= gatherKeys || awaited || rest <= 0 {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.hurry:
	case <-s.ctx.Done():
	}
}

// flush ships one batch and reports whether another may be waiting.
func (s *sender) flush() (more bool, err error) {
	s.mu.Lock()
	batch := s.dirty.take(s.limit)
	s.mu.Unlock()
	if len(batch) == 0 {
		return false, nil
	}
	s.begun = time.Now()
	n, held := s.encode(batch)
	if n == 0 && held > 0 { // nothing else is to be sent
		s.settle(batch[:0], nil)
		s.begun = time.Time{}
		s.rest(heldPause)
		return true, nil
	}
	refused, err := s.ship()
	if planted.Is(planted.ClearedOnSend) {
		err = nil
	}
	if err != nil {
		s.settle(batch[:0], nil)
		s.begun = time.Time{} // a failure has its own pauses
		s.limit = batchKeys
		if turnedDown(err) {
			s.limit = max(1, len(s.carried)/2)
		}
		return true, err
	}
	if n < len(batch) {
		s.begun = time.Time{} // the frame was full
	}
	s.settle(batch[:n], refused)
	s.limit = min(2*s.limit, batchKeys)
	return true, nil
}

// encode reads the current records of a batch until the frame is full, and
// returns how many keys that deals with: it puts them in front of the others. A
// key that has ended, or is gone without a tombstone, has expired everywhere
// alike, or has been handed over, and needs no copy. Keys whose partition an operation holds
// are passed over, so that writers of other partitions do not wait for it; it
// also returns how many these are.
func (s *sender) encode(batch []*entry) (n, held int) {
	if cap(s.payload) > 2*batchBytes {
		s.payload = nil // let go of what one large record has grown
	}
	s.payload, s.carried, s.held = s.payload[:0], s.carried[:0], s.held[:0]
	s.dealt = s.dealt[:0]
	for n+len(s.held) < len(batch) && len(s.payload) < batchBytes {
		e := batch[n+len(s.held)]
		rec, ok := s.store.TryPeek(e.key)
		if !ok {
			s.held = append(s.held, e)
			continue
		}
		if rec != nil && !s.store.Ended(rec) {
			s.payload = appendRecord(s.payload, rec, s.peer)
			s.carried = append(s.carried, e)
		}
		s.dealt = append(s.dealt, e)
		n++
	}
	if len(s.held) > 0 {
		s.mu.Lock() // Lag reads batch
		copy(batch[copy(batch, s.dealt):], s.held)
		s.mu.Unlock()
	}
	return n, len(s.held)
}

// rest waits a moment, unless the sender ends.
func (s *sender) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// ship sends the frame and returns the positions of the records that the peer
// refused. A frame that is turned down whole holds a record that the peer
// cannot read or that no frame can carry: the next batch is smaller, until that
// record is alone and can be refused by itself.
func (s *sender) ship() (refused []int, err error) {
	if len(s.carried) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	refused, full, err := sendRecords(ctx, s.peer, s.payload, len(s.carried))
	switch {
	case err != nil && turnedDown(err) && len(s.carried) == 1:
		refused, err = []int{0}, nil
	case err != nil:
		return nil, err
	}
	s.stats.Batches.Add(1)
	s.stats.Sent.Add(int64(len(s.carried) - len(refused)))
	s.stats.Quarantined.Add(int64(len(refused)))
	s.stats.NoRoom.Add(int64(full))
	return refused, nil
}

// sendRecords sends n encoded records and returns the positions of those that
// the peer refused, and how many of them for want of memory.
func sendRecords(ctx context.Context, p Peer, payload []byte, n int) (refused []int, full int, err error) {
	answer, err := p.Call(ctx, TypeRecords, payload)
	if err != nil {
		return nil, 0, err
	}
	return decodeRefused(answer, n)
}

// turnedDown says whether a call failed because of what it carried, so that the
// same frame would fail again.
func turnedDown(err error) bool {
	var answer *peer.RemoteError
	return errors.As(err, &answer) || errors.Is(err, peer.ErrTooLarge)
}

// settle answers the writers of the keys that the peer has dealt with and puts
// the rest of the batch back. A refused record is not sent again: it would be
// refused again, and the others behind it would wait. Config.Refused is told,
// and the comparison of copies sends it until it is taken.
func (s *sender) settle(done []*entry, refused []int) {
	bad := make(map[*entry]bool, len(refused))
	for _, i := range refused {
		bad[s.carried[i]] = true
	}
	var confirmed, unconfirmed []waiter
	s.mu.Lock()
	for _, e := range done {
		if len(s.waiters) == 0 {
			break
		}
		waiting := s.waiters[e.key]
		n := 0
		for n < len(waiting) && waiting[n].seq <= e.taken {
			n++
		}
		if bad[e] {
			unconfirmed = append(unconfirmed, waiting[:n]...)
		} else {
			confirmed = append(confirmed, waiting[:n]...)
		}
		s.setWaitersLocked(e.key, waiting[n:])
	}
	s.dirty.settle(len(done))
	s.mu.Unlock()
	tell(confirmed, true)
	tell(unconfirmed, false)
	for e := range bad {
		s.refused(e.key)
	}
}

func tell(waiting []waiter, ok bool) {
	for _, w := range waiting {
		w.done <- ok
	}
}

// shut refuses further marks and tells every waiter that this peer will not
// confirm.
func (s *sender) shut() {
	s.mu.Lock()
	s.closed = true
	waiting := s.waiters
	s.waiters, s.dirty = nil, newDirtySet()
	s.mu.Unlock()
	for _, list := range waiting {
		tell(list, false)
	}
}

func (s *sender) behind(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.dirty.entries[key] != nil
}

func (s *sender) state() (n int, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty.len(), s.dirty.oldest()
}

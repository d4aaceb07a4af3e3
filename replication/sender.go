package replication

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// Peer is a link to one member. Call sends one frame and returns its answer;
// it fails at once while there is no connection.
type Peer interface {
	Call(ctx context.Context, typ byte, payload []byte) ([]byte, error)
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
)

// waiter is a writer that waits for one key to be confirmed.
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
	wake    chan struct{} // one slot: there is something to do
	stop    context.CancelFunc
	stopped chan struct{}

	mu      sync.Mutex // guards what follows
	dirty   *dirtySet
	waiters map[string][]waiter
	closed  bool
}

// Stats counts what replication has done since the start.
type Stats struct {
	Batches     atomic.Int64 // frames of records that were confirmed
	Sent        atomic.Int64 // records in them
	Failed      atomic.Int64 // batches that came back
	Quarantined atomic.Int64 // records that a peer refused
	Merged      atomic.Int64 // records from peers that changed something here
	Refused     atomic.Int64 // records from peers that were refused here
	Pushed      atomic.Int64 // records sent because a comparison found them different
	Pulled      atomic.Int64 // records fetched because a comparison found them different
	Mended      atomic.Int64 // partitions that a comparison found different and made equal
}

func (s *sender) mark(key string) bool {
	s.mu.Lock()
	open := !s.closed
	if open {
		s.dirty.add(key, s.now())
	}
	s.mu.Unlock()
	if open {
		s.kick()
	}
	return open
}

// markWait is mark for a writer that waits: done gets one answer.
func (s *sender) markWait(key string, done chan<- bool) bool {
	s.mu.Lock()
	open := !s.closed
	if open {
		seq := s.dirty.add(key, s.now())
		s.waiters[key] = append(s.waiters[key], waiter{seq, done})
	}
	s.mu.Unlock()
	if open {
		s.kick()
	}
	return open
}

func (s *sender) kick() {
	select {
	case s.wake <- struct{}{}:
	default: // a wake is pending already
	}
}

func (s *sender) run(ctx context.Context) {
	defer close(s.stopped)
	defer s.shut()
	pause := retryMin
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for {
			more, err := s.flush(ctx)
			if err != nil {
				s.stats.Failed.Add(1)
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
				pause = min(2*pause, retryMax)
				continue
			}
			pause = retryMin
			if !more {
				break
			}
		}
	}
}

// flush ships one batch and reports whether another may be waiting.
func (s *sender) flush(ctx context.Context) (more bool, err error) {
	s.mu.Lock()
	keys := s.dirty.take(batchKeys)
	s.mu.Unlock()
	if len(keys) == 0 {
		return false, nil
	}
	batch, payload := s.encode(keys)
	var refused []int
	if len(batch) > 0 {
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		answer, cerr := s.peer.Call(cctx, TypeRecords, payload)
		cancel()
		if err = cerr; err == nil {
			refused, err = decodeRefused(answer, len(batch))
		}
	}
	s.settle(keys, batch, refused, err)
	return true, err
}

// encode reads the current records of keys until the batch is full. batch maps
// each key that is in the payload to its position. A key that is gone without a
// tombstone has expired everywhere alike and needs no copy.
func (s *sender) encode(keys []string) (batch map[string]int, payload []byte) {
	batch = make(map[string]int, len(keys))
	for _, key := range keys {
		if len(payload) >= batchBytes {
			break
		}
		position := -1
		if rec := s.store.Peek(key); rec != nil {
			position = 0
			payload = rec.Append(payload)
		}
		batch[key] = position
	}
	i := 0
	for _, key := range keys {
		if position, ok := batch[key]; ok && position >= 0 {
			batch[key] = i
			i++
		}
	}
	return batch, payload
}

// settle puts back what was not sent or not confirmed and answers the writers
// of the rest. A refused record is not sent again: it would be refused again,
// and the others behind it would wait. The comparison of copies shows it.
func (s *sender) settle(keys []string, batch map[string]int, refused []int, err error) {
	bad := make(map[int]bool, len(refused))
	for _, i := range refused {
		bad[i] = true
	}
	type answer struct {
		done chan<- bool
		ok   bool
	}
	var answers []answer
	s.mu.Lock()
	done := s.dirty.settle(keys, func(key string) bool {
		_, sent := batch[key]
		return sent && err == nil
	})
	for key, seq := range done {
		waiting, ok := s.waiters[key]
		if !ok {
			continue
		}
		kept := waiting[:0]
		for _, w := range waiting {
			if w.seq <= seq {
				answers = append(answers, answer{w.done, !bad[batch[key]]})
			} else {
				kept = append(kept, w)
			}
		}
		if len(kept) == 0 {
			delete(s.waiters, key)
		} else {
			s.waiters[key] = kept
		}
	}
	s.mu.Unlock()
	for _, a := range answers {
		a.done <- a.ok
	}
	if err == nil {
		s.stats.Batches.Add(1)
		s.stats.Sent.Add(int64(len(done) - len(refused)))
		s.stats.Quarantined.Add(int64(len(refused)))
	}
}

// shut refuses further marks and tells every waiter that this peer will not
// confirm.
func (s *sender) shut() {
	s.mu.Lock()
	s.closed = true
	waiting := s.waiters
	s.waiters = nil
	s.dirty = newDirtySet()
	s.mu.Unlock()
	for _, list := range waiting {
		for _, w := range list {
			w.done <- false
		}
	}
}

func (s *sender) state() (n int, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty.len(), s.dirty.oldest()
}

package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keptEvents = 256 // what a page that opens now can still be told
	eventQueue = 64  // how far a subscriber may fall behind before it misses some
)

// event is one thing that happened to the cluster as this member saw it.
type event struct {
	ID   uint64         `json:"id"`
	Time time.Time      `json:"time"`
	Kind string         `json:"kind"`
	Data map[string]any `json:"data"`
}

// events keeps the newest events and passes each on to subscribers. add only
// appends and wakes; run does the sending, so that an event can be added under
// any lock.
type events struct {
	now  func() time.Time
	wake chan struct{}
	// missed counts events that a slow subscriber did not get.
	missed atomic.Int64

	mu   sync.Mutex // guards what follows
	last uint64
	kept []event
	sent uint64
	subs map[chan event]struct{}
}

func newEvents(now func() time.Time) *events {
	return &events{now: now, wake: make(chan struct{}, 1), subs: make(map[chan event]struct{})}
}

// add records an event; pairs are names and values in turn.
func (e *events) add(kind string, pairs ...any) {
	data := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		data[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	e.mu.Lock()
	e.last++
	e.kept = append(e.kept, event{ID: e.last, Time: e.now(), Kind: kind, Data: data})
	if len(e.kept) > keptEvents {
		e.kept = append(e.kept[:0], e.kept[len(e.kept)-keptEvents:]...)
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		fresh, subs := e.unsent()
		for _, ev := range fresh {
			for _, sub := range subs {
				select {
				case sub <- ev:
				default:
					e.missed.Add(1)
				}
			}
		}
	}
}

func (e *events) unsent() (fresh []event, subs []chan event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.kept {
		if ev.ID > e.sent {
			fresh = append(fresh, ev)
		}
	}
	e.sent = e.last
	for sub := range e.subs {
		subs = append(subs, sub)
	}
	return fresh, subs
}

// since returns the kept events after id.
func (e *events) since(id uint64) []event {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []event{}
	for _, ev := range e.kept {
		if ev.ID > id {
			list = append(list, ev)
		}
	}
	return list
}

// subscribe returns the kept events after id, and a channel with those to
// come. A subscriber that is slow misses events; their ids show the gap.
func (e *events) subscribe(after uint64) (past []event, ch chan event, cancel func()) {
	ch = make(chan event, eventQueue)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.kept {
		if ev.ID > after && ev.ID <= e.sent {
			past = append(past, ev)
		}
	}
	e.subs[ch] = struct{}{}
	return past, ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subs, ch)
	}
}

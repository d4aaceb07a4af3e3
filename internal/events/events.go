// Package events is the log of what has happened to the cluster as one member
// saw it.
//
// One event: [Log.Add] gives it the next id, keeps it among the newest, and
// wakes [Log.Run], which puts it into the queue of each subscriber. A queue
// that is full misses it, and the ids that its reader gets show the gap.
package events

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/wait"
)

const (
	keep  = 256 // what a page that opens now can still be told
	queue = 64  // how far a subscriber may fall behind before it misses some
)

// Event is one thing that happened, in the form in which pages read it.
type Event struct {
	// ID counts the events of one log from 1.
	ID   uint64         `json:"id"`
	Time time.Time      `json:"time"`
	Kind string         `json:"kind"`
	Data map[string]any `json:"data"`
}

// Log keeps the newest events and passes each on to subscribers.
type Log struct {
	now    func() time.Time
	wake   wait.Wake // one slot: there are events to be sent
	missed atomic.Int64

	mu   sync.Mutex // guards what follows
	last uint64
	kept []Event
	sent uint64 // id of the newest event that the subscribers have been sent
	subs map[chan Event]struct{}
}

// New returns an empty log. now tells the time of its events.
func New(now func() time.Time) *Log {
	return &Log{now: now, wake: wait.NewWake(), subs: make(map[chan Event]struct{})}
}

// Add records an event; pairs are names and values in turn. It only appends and
// wakes, for Run does the sending: so an event can be added under any lock.
func (l *Log) Add(kind string, pairs ...any) {
	data := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		data[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	l.mu.Lock()
	l.last++
	l.kept = append(l.kept, Event{ID: l.last, Time: l.now(), Kind: kind, Data: data})
	if len(l.kept) > keep {
		l.kept = append(l.kept[:0], l.kept[len(l.kept)-keep:]...)
	}
	l.mu.Unlock()
	l.wake.Kick()
}

// Run sends events to subscribers until ctx ends.
func (l *Log) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		fresh, subs := l.unsent()
		for _, ev := range fresh {
			for _, sub := range subs {
				select {
				case sub <- ev:
				default:
					l.missed.Add(1)
				}
			}
		}
	}
}

func (l *Log) unsent() (fresh []Event, subs []chan Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ev := range l.kept {
		if ev.ID > l.sent {
			fresh = append(fresh, ev)
		}
	}
	l.sent = l.last
	for sub := range l.subs {
		subs = append(subs, sub)
	}
	return fresh, subs
}

// Missed counts the events that slow subscribers did not get.
func (l *Log) Missed() int64 { return l.missed.Load() }

// Since returns the kept events after id; an empty list for none, which JSON
// does not show as null.
func (l *Log) Since(id uint64) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []Event{}
	for _, ev := range l.kept {
		if ev.ID > id {
			list = append(list, ev)
		}
	}
	return list
}

// Subscribe returns the kept events after an id, and a channel with those to
// come. A subscriber that is slow misses events; their ids show the gap. The
// channel is never closed; cancel ends what comes.
func (l *Log) Subscribe(after uint64) (past []Event, ch chan Event, cancel func()) {
	ch = make(chan Event, queue)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ev := range l.kept {
		if ev.ID > after && ev.ID <= l.sent {
			past = append(past, ev)
		}
	}
	l.subs[ch] = struct{}{}
	return past, ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subs, ch)
	}
}

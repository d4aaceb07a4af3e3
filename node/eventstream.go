package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/events"
)

const (
	aliveInterval = 15 * time.Second // between comments that keep a quiet stream open
	// gatherInterval is how often a stream of the whole cluster asks the other
	// nodes, and gatherTimeout how long it waits for one.
	gatherInterval = 500 * time.Millisecond
	gatherTimeout  = 300 * time.Millisecond
)

// toldEvent is an event and whose log it is from.
type toldEvent struct {
	events.Event
	At   string `json:"at"`
	Boot string `json:"boot"`
}

// adminEvents streams what happens, as server-sent events. A page that comes
// back says in Last-Event-ID what it has, and gets the rest.
//
// With ?scope=cluster it is what happens at every node, in the order in which
// it is heard of. Such a stream has no ids: one that is opened again tells all
// that is kept, and "at", "boot" and "id" say what was there before.
func (n *Node) adminEvents(w http.ResponseWriter, r *http.Request) {
	s := eventStream{node: n, w: w, whole: r.URL.Query().Get("scope") == "cluster"}
	after := uint64(0)
	if !s.whole {
		after, _ = strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // none, or not one of ours: all that is kept
	}
	past, ch, cancel := n.events.Subscribe(after)
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_ = s.run(r.Context(), past, ch) // fails only when the client has left
}

type eventStream struct {
	node  *Node
	w     http.ResponseWriter
	whole bool // of the cluster, not of this member alone
	heard map[ID]uint64
}

func (s *eventStream) run(ctx context.Context, past []events.Event, ch <-chan events.Event) error {
	n := s.node
	if err := s.send(n.told(past)); err != nil {
		return err
	}
	alive := time.NewTicker(aliveInterval)
	defer alive.Stop()
	var gather <-chan time.Time // never, unless others are asked
	if s.whole {
		s.heard = make(map[ID]uint64)
		if err := s.send(s.gather(ctx)); err != nil {
			return err
		}
		tick := time.NewTicker(gatherInterval)
		defer tick.Stop()
		gather = tick.C
	}
	out := http.NewResponseController(s.w)
	for {
		if err := out.Flush(); err != nil {
			return err
		}
		var err error
		select {
		case ev := <-ch:
			err = s.send(n.told([]events.Event{ev}))
		case <-gather:
			err = s.send(s.gather(ctx))
		case <-alive.C:
			_, err = fmt.Fprint(s.w, ": alive\n\n")
		case <-ctx.Done():
			return ctx.Err()
		case <-n.closing:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (n *Node) told(list []events.Event) []toldEvent {
	told := make([]toldEvent, len(list))
	for i, ev := range list {
		told[i] = toldEvent{ev, n.id.Name, n.id.Boot}
	}
	return told
}

func (s *eventStream) send(list []toldEvent) error {
	for _, ev := range list {
		data, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		id := ""
		if !s.whole {
			id = fmt.Sprintf("id: %d\n", ev.ID)
		}
		if _, err := fmt.Fprintf(s.w, "%sevent: %s\ndata: %s\n\n", id, ev.Kind, data); err != nil {
			return err
		}
	}
	return nil
}

// gather asks every node that answers heartbeats what has happened there since
// it was asked last. One that fails to answer is asked again next time.
func (s *eventStream) gather(ctx context.Context) []toldEvent {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	var mu sync.Mutex // guards fresh and heard
	var fresh []toldEvent
	var asking sync.WaitGroup
	for _, l := range s.node.mesh.Links() {
		if !l.HeardLately() {
			continue
		}
		mu.Lock()
		after := s.heard[l.ID()]
		mu.Unlock()
		asking.Go(func() {
			list, err := s.node.eventsAt(ctx, l, after)
			if err != nil || len(list) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s.heard[l.ID()] = list[len(list)-1].ID
			for _, ev := range list {
				fresh = append(fresh, toldEvent{ev, l.ID().Name, l.ID().Boot})
			}
		})
	}
	asking.Wait()
	slices.SortStableFunc(fresh, func(a, b toldEvent) int { return a.Time.Compare(b.Time) })
	return fresh
}

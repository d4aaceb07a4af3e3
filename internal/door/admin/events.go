package admin

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
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

const (
	// aliveInterval is between comments that keep a quiet stream open.
	aliveInterval = 15 * time.Second
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

func toldBy(id member.ID, list []events.Event) []toldEvent {
	told := make([]toldEvent, len(list))
	for i, ev := range list {
		told[i] = toldEvent{ev, id.Name, id.Boot}
	}
	return told
}

// ServeEvents answers with the events after one of this node's log, to an
// endpoint elsewhere that asks with mesh.TypeEvents.
func (e *Endpoint) ServeEvents(question []byte) ([]byte, error) {
	if len(question) != 8 {
		return nil, fmt.Errorf("question for events of %d bytes: 8 are accepted", len(question))
	}
	return json.Marshal(e.cfg.Events.Since(order.Uint64(question)))
}

// eventsAt returns what a node has in its event log after an event.
func (e *Endpoint) eventsAt(ctx context.Context, id member.ID, after uint64) (list []events.Event, err error) {
	err = e.askJSON(ctx, id, mesh.TypeEvents, order.AppendUint64(nil, after), &list)
	return list, err
}

// events streams what happens, as server-sent events. A page that comes back
// says in Last-Event-ID what it has, and gets the rest.
//
// With ?scope=cluster it is what happens at every node, in the order in which
// it is heard of. Such a stream has no ids: one that is opened again tells all
// that is kept, and "at", "boot" and "id" say what was there before.
func (e *Endpoint) events(w http.ResponseWriter, r *http.Request) {
	s := eventStream{endpoint: e, w: w, whole: r.URL.Query().Get("scope") == "cluster"}
	after := uint64(0)
	if !s.whole {
		after, _ = strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // none, or not one of ours: all that is kept
	}
	past, ch, cancel := e.cfg.Events.Subscribe(after)
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_ = s.run(r.Context(), past, ch) // fails only when the client has left
}

type eventStream struct {
	endpoint *Endpoint
	w        http.ResponseWriter
	whole    bool                 // of the cluster, not of this member alone
	heard    map[member.ID]uint64 // the newest event told of each node's log
}

func (s *eventStream) run(ctx context.Context, past []events.Event, ch <-chan events.Event) error {
	cfg := &s.endpoint.cfg
	if err := s.send(toldBy(cfg.Self, past)); err != nil {
		return err
	}
	alive := time.NewTicker(aliveInterval)
	defer alive.Stop()
	var gather <-chan time.Time // never, unless others are asked
	if s.whole {
		s.heard = make(map[member.ID]uint64)
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
			err = s.send(toldBy(cfg.Self, []events.Event{ev}))
		case <-gather:
			err = s.send(s.gather(ctx))
		case <-alive.C:
			_, err = fmt.Fprint(s.w, ": alive\n\n")
		case <-ctx.Done():
			return ctx.Err()
		case <-cfg.Closing:
			return nil
		}
		if err != nil {
			return err
		}
	}
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
	for _, id := range s.endpoint.cfg.Links.Heard() {
		mu.Lock()
		after := s.heard[id]
		mu.Unlock()
		asking.Go(func() {
			list, err := s.endpoint.eventsAt(ctx, id, after)
			if err != nil || len(list) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s.heard[id] = list[len(list)-1].ID
			fresh = append(fresh, toldBy(id, list)...)
		})
	}
	asking.Wait()
	slices.SortStableFunc(fresh, func(a, b toldEvent) int { return a.Time.Compare(b.Time) })
	return fresh
}

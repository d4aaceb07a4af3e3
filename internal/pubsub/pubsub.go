// Package pubsub brings messages to the subscribers of every member: what a
// client publishes, and what happens to keys.
//
// The life of a message. PubSub.Publish hands it to this member's subscribers
// and sends it to every other member, whose PubSub.Serve hands it to theirs;
// the client is answered when all have told theirs, or had the time to. A
// keyspace event is queued by PubSub.Event, and goes the same way, in batches,
// to members that have subscribers: their heartbeats say so (PubSub.Section).
package pubsub

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// publishTimeout bounds how long a PUBLISH waits for one member's
	// subscribers to be told.
	publishTimeout = 250 * time.Millisecond
	// maxEvents bounds the keyspace events that wait to be told to others.
	maxEvents = 4096
	// eventBatch is how many go in one frame at most.
	eventBatch = 256
	// MaxExpired bounds the events of sessions that ended within a second.
	MaxExpired = maxEvents
)

// Message is something published on a channel.
type Message struct{ Channel, Payload string }

// Subscribers are those of this member.
type Subscribers interface {
	Deliver(channel string, payload []byte) (receivers int)
	HasSubscribers() bool
}

// PubSub brings messages to the subscribers of every member. What a client
// publishes is brought to all members before it is answered. Keyspace events,
// which writes cause, wait in a bounded queue and go to members with
// subscribers only; without any, nothing is queued. Redis Cluster tells events
// to the subscribers of the key's owner alone, so that a client would have to
// subscribe at every node, and anew when one comes.
type PubSub struct {
	mesh       *mesh.Mesh // set by Section
	view       func() *member.View
	local      Subscribers // nil without a Redis endpoint
	events     chan Message
	interested atomic.Bool             // some other member has subscribers, written under mu
	mu         sync.Mutex              // guards at
	at         map[member.ID]time.Time // the other members that have subscribers, and when they last said so

	dropped, untold *metric.Counter
}

// New returns a PubSub of a member that sees the others by view. It needs a
// mesh before it is used: see Section.
func New(view func() *member.View, counters *metric.Set) *PubSub {
	return &PubSub{
		view: view, events: make(chan Message, maxEvents), at: make(map[member.ID]time.Time),
		dropped: counters.Counter("key_events_dropped", "Keyspace events for which the queue had no room."),
		untold:  counters.Counter("messages_untold", "Published messages that a member could not be told in time."),
	}
}

// SetLocal says who subscribes at this member. It is called before anything is
// published.
func (p *PubSub) SetLocal(local Subscribers) { p.local = local }

// Wanted says whether any member has a subscriber that events may be for.
func (p *PubSub) Wanted() bool { return p.interested.Load() || p.subscribed() }

// subscribed says whether this member has one.
func (p *PubSub) subscribed() bool { return p.local != nil && p.local.HasSubscribers() }

// Event queues what happened to a key. It does not block.
func (p *PubSub) Event(name, key string) {
	for _, m := range []Message{{"__keyspace@0__:" + key, name}, {"__keyevent@0__:" + name, key}} {
		select {
		case p.events <- m:
		default:
			p.dropped.Add(1)
		}
	}
}

// deliver hands messages to this member's subscribers.
func (p *PubSub) deliver(messages []Message) (receivers int) {
	if p.local == nil {
		return 0
	}
	for _, m := range messages {
		receivers += p.local.Deliver(m.Channel, []byte(m.Payload))
	}
	return receivers
}

// Publish brings a message to the subscribers of all members and returns how
// many they are.
func (p *PubSub) Publish(ctx context.Context, m Message) int {
	list := []Message{m}
	return p.deliver(list) + p.tell(ctx, list, func(member.ID) bool { return true })
}

// tell brings messages to those members that want them, all at once, and
// returns how many subscribers they had there. A member that does not answer in
// time may have told them or not.
func (p *PubSub) tell(ctx context.Context, messages []Message, want func(member.ID) bool) int {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var receivers atomic.Int64
	var wg sync.WaitGroup
	frame, view := encodeMessages(messages), p.view()
	for _, l := range p.mesh.Links() {
		if !view.Up(l.ID()) || !want(l.ID()) {
			continue
		}
		wg.Go(func() {
			answer, err := l.Call(ctx, mesh.TypePublish, frame)
			if err != nil || len(answer) != 4 {
				p.untold.Add(int64(len(messages)))
				return
			}
			receivers.Add(int64(binary.BigEndian.Uint32(answer)))
		})
	}
	wg.Wait()
	return int(receivers.Load())
}

// Announce tells all other members, by a heartbeat out of turn, that there are
// subscribers here. The next one in turn tells those that do not answer in
// time.
func (p *PubSub) Announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	p.mesh.BeatAll(ctx)
}

// Run tells events until ctx ends.
func (p *PubSub) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-p.events:
			batch := []Message{m}
			for more := true; more && len(batch) < eventBatch; {
				select {
				case m := <-p.events:
					batch = append(batch, m)
				default:
					more = false
				}
			}
			p.deliver(batch)
			p.tell(ctx, batch, p.Has)
		}
	}
}

// Serve takes messages from another member.
func (p *PubSub) Serve(frame []byte) ([]byte, error) {
	messages, err := decodeMessages(frame)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint32(nil, uint32(p.deliver(messages))), nil
}

// Section gives the messages their links, and returns their section of
// heartbeats, which tells members of each other's subscribers: u8 1 for some.
func (p *PubSub) Section(m *mesh.Mesh) mesh.Section {
	p.mesh = m
	say := func() []byte {
		if p.subscribed() {
			return []byte{1}
		}
		return []byte{0}
	}
	return mesh.Tell(mesh.SectionPubsub, say, func(from member.ID, said []byte) error {
		p.setSubscribed(from, len(said) > 0 && said[0] == 1)
		return nil
	})
}

// overtakes is how long what a member said a moment ago may still be on its way,
// behind what it says now over another connection: an answer to a heartbeat of
// ours, behind a heartbeat of its own.
const overtakes = time.Second

// setSubscribed notes whether another member has subscribers. One to which
// there is no link is not told anything: a last heartbeat may come behind
// SetView, and nothing would take back what it says. That there are none counts
// only some time after it was said that there are.
func (p *PubSub) setSubscribed(id member.ID, yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch linked := p.mesh.Link(id) != nil; {
	case yes && linked:
		p.at[id] = time.Now()
	case !linked || time.Since(p.at[id]) >= overtakes:
		delete(p.at, id)
	}
	p.interested.Store(len(p.at) > 0)
}

// Has says whether another member has subscribers.
func (p *PubSub) Has(id member.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, has := p.at[id]
	return has
}

// SetView forgets the subscribers of members to which there is no link.
func (p *PubSub) SetView() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.at {
		if p.mesh.Link(id) == nil {
			delete(p.at, id)
		}
	}
	p.interested.Store(len(p.at) > 0)
}

// Messages are written one after the other, channel and payload each behind
// their length as a varint.
func encodeMessages(messages []Message) (b []byte) {
	for _, m := range messages {
		for _, s := range []string{m.Channel, m.Payload} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	return b
}

func decodeMessages(b []byte) (messages []Message, err error) {
	for len(b) > 0 {
		var m Message
		for _, s := range []*string{&m.Channel, &m.Payload} {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return nil, fmt.Errorf("messages: %w", session.ErrMalformed)
			}
			*s, b = string(b[n:n+int(size)]), b[n+int(size):]
		}
		messages = append(messages, m)
	}
	return messages, nil
}

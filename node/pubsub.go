package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/mesh"
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
	// maxExpired bounds the events of sessions that ended within a second.
	maxExpired = maxEvents
)

// message is something published on a channel.
type message struct{ channel, payload string }

// subscribers are those of this member, at its Redis door.
type subscribers interface {
	Deliver(channel string, payload []byte) (receivers int)
	HasSubscribers() bool
}

// pubsub brings messages to the subscribers of every member. What a client
// publishes is brought to all members before it is answered. Keyspace events,
// which writes cause, wait in a bounded queue and go to members with
// subscribers only; without any, nothing is queued. Redis Cluster tells events
// to the subscribers of the key's owner alone, so that a client would have to
// subscribe at every node, and anew when one comes.
type pubsub struct {
	node       *Node
	local      subscribers // nil without a Redis door
	events     chan message
	interested atomic.Bool     // some other member has subscribers, written under mu
	mu         sync.Mutex      // guards at
	at         map[ID]struct{} // the other members that have subscribers

	dropped atomic.Int64 // events for which the queue had no room
	untold  atomic.Int64 // messages that a member could not be told in time
}

func newPubsub(n *Node) *pubsub {
	return &pubsub{node: n, events: make(chan message, maxEvents), at: make(map[ID]struct{})}
}

// Wanted says whether any member has a subscriber that events may be for.
func (p *pubsub) Wanted() bool { return p.interested.Load() || p.subscribed() }

// subscribed says whether this member has one.
func (p *pubsub) subscribed() bool { return p.local != nil && p.local.HasSubscribers() }

// Event queues what happened to a key. It does not block.
func (p *pubsub) Event(name, key string) {
	for _, m := range []message{{"__keyspace@0__:" + key, name}, {"__keyevent@0__:" + name, key}} {
		select {
		case p.events <- m:
		default:
			p.dropped.Add(1)
		}
	}
}

// deliver hands messages to this member's subscribers.
func (p *pubsub) deliver(messages []message) (receivers int) {
	if p.local == nil {
		return 0
	}
	for _, m := range messages {
		receivers += p.local.Deliver(m.channel, []byte(m.payload))
	}
	return receivers
}

// publish brings a message to the subscribers of all members and returns how
// many they are.
func (p *pubsub) publish(ctx context.Context, m message) int {
	list := []message{m}
	return p.deliver(list) + p.tell(ctx, list, func(ID) bool { return true })
}

// tell brings messages to those members that want them, all at once, and
// returns how many subscribers they had there. A member that does not answer in
// time may have told them or not.
func (p *pubsub) tell(ctx context.Context, messages []message, want func(ID) bool) int {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var receivers atomic.Int64
	var wg sync.WaitGroup
	frame := encodeMessages(messages)
	for _, l := range p.node.mesh.Links() {
		if !p.node.View().Up(l.ID()) || !want(l.ID()) {
			continue
		}
		wg.Go(func() {
			answer, err := l.Call(ctx, mesh.TypePublish, frame)
			if err != nil || len(answer) != 4 {
				p.untold.Add(int64(len(messages)))
				return
			}
			receivers.Add(int64(order.Uint32(answer)))
		})
	}
	wg.Wait()
	return int(receivers.Load())
}

// announce tells all other members, by a heartbeat out of turn, that there are
// subscribers here. The next one in turn tells those that do not answer in time.
func (p *pubsub) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	p.node.mesh.BeatAll(ctx)
}

// run tells events until ctx ends.
func (p *pubsub) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-p.events:
			batch := []message{m}
			for more := true; more && len(batch) < eventBatch; {
				select {
				case m := <-p.events:
					batch = append(batch, m)
				default:
					more = false
				}
			}
			p.deliver(batch)
			p.tell(ctx, batch, p.has)
		}
	}
}

// serve takes messages from another member.
func (p *pubsub) serve(frame []byte) ([]byte, error) {
	messages, err := decodeMessages(frame)
	if err != nil {
		return nil, err
	}
	return order.AppendUint32(nil, uint32(p.deliver(messages))), nil
}

// section tells members of each other's subscribers: u8 1 for some.
func (p *pubsub) section() mesh.Section {
	say := func() []byte {
		if p.subscribed() {
			return []byte{1}
		}
		return []byte{0}
	}
	return mesh.Tell(mesh.SectionPubsub, say, func(from ID, said []byte) error {
		p.setSubscribed(from, len(said) > 0 && said[0] == 1)
		return nil
	})
}

// setSubscribed notes whether another member has subscribers.
func (p *pubsub) setSubscribed(id ID, yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.at[id] = struct{}{}
	} else {
		delete(p.at, id)
	}
	p.interested.Store(len(p.at) > 0)
}

// has says whether another member has subscribers.
func (p *pubsub) has(id ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, has := p.at[id]
	return has
}

// viewChanged forgets the subscribers of members to which there is no link.
func (p *pubsub) viewChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.at {
		if p.node.mesh.Link(id) == nil {
			delete(p.at, id)
		}
	}
	p.interested.Store(len(p.at) > 0)
}

// Messages are written one after the other, channel and payload each behind
// their length as a varint.
func encodeMessages(messages []message) (b []byte) {
	for _, m := range messages {
		for _, s := range []string{m.channel, m.payload} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	return b
}

func decodeMessages(b []byte) (messages []message, err error) {
	for len(b) > 0 {
		var m message
		for _, s := range []*string{&m.channel, &m.payload} {
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

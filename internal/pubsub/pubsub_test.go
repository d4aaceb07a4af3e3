package pubsub

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// audience are the subscribers of a member: as many to each channel as it says,
// and what they were told.
type audience struct {
	mu    sync.Mutex // guards what follows
	to    map[string]int
	heard []Message
}

func (a *audience) Deliver(channel string, payload []byte) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, Message{channel, string(payload)})
	return a.to[channel]
}

func (a *audience) HasSubscribers() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.to) > 0
}

// subscribe makes n the subscribers of a channel.
func (a *audience) subscribe(channel string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to[channel] = n
}

// leave ends all subscriptions.
func (a *audience) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.to)
}

// told returns what they were told since it was last asked.
func (a *audience) told() []Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	heard := a.heard
	a.heard = nil
	return heard
}

// still is a PubSub whose links connect to nobody.
type still struct {
	*PubSub
	*audience
	members *meshtest.Members
	section mesh.Section
}

func begin(t testing.TB) *still {
	t.Helper()
	s := &still{members: meshtest.NewMembers(t, membertest.ID("a", 1), meshtest.Params), audience: &audience{to: make(map[string]int)}}
	s.PubSub = New(s.members.View, new(metric.Set))
	s.SetLocal(s.audience)
	meshtest.Idle(t, s.members, clock.New(time.Now), func(m *mesh.Mesh) []mesh.Section {
		s.section = s.Section(m)
		return []mesh.Section{s.section}
	})
	return s
}

// hear lets it hear from a member in a heartbeat.
func (s *still) hear(t testing.TB, from string, said []byte) {
	t.Helper()
	require.NoError(t, s.section.Answered(membertest.ID(from, 1), 0, said))
}

func TestMessagesRoundTrip(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(b []byte) string { return string(b) }))
	message := rapid.Custom(func(t *rapid.T) Message { return Message{text.Draw(t, "channel"), text.Draw(t, "payload")} })
	rapid.Check(t, func(t *rapid.T) {
		messages := rapid.SliceOfN(message, 1, 6).Draw(t, "messages")
		frame := encodeMessages(messages)
		got, err := decodeMessages(frame)
		require.NoError(t, err)
		require.Equal(t, messages, got)

		cut := rapid.IntRange(0, len(frame)-1).Draw(t, "cut")
		got, err = decodeMessages(frame[:cut])
		if err != nil {
			require.ErrorIs(t, err, session.ErrMalformed)
			require.Empty(t, got)
			return
		}
		require.Less(t, len(got), len(messages), "it was cut between two")
		require.Equal(t, messages[:len(got)], append([]Message{}, got...))
	})
}

func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{
		"a channel alone":                   {1, 'c'},
		"a channel that is cut off":         {2, 'c'},
		"a payload that is cut off":         {1, 'c', 2, 'p'},
		"a length that is cut off":          {1, 'c', 0x80},
		"a length beyond 64 bits":           {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2},
		"the greatest length":               binary.AppendUvarint(nil, 1<<64-1),
		"a length that is negative as int":  append(binary.AppendUvarint([]byte{0}, 1<<63), 'p'),
		"a good message before a bad one":   {1, 'c', 1, 'p', 1},
		"a length that is one more than is": {1, 'c', 1},
	} {
		messages, err := decodeMessages(frame)
		require.ErrorIs(t, err, session.ErrMalformed, name)
		require.Empty(t, messages, name)

		s := begin(t)
		answer, err := s.Serve(frame)
		require.ErrorIs(t, err, session.ErrMalformed, name)
		require.Nil(t, answer, name)
		require.Empty(t, s.told(), "%s: all of a frame, or nothing", name)
	}
}

func FuzzDecodeMessages(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0x80, 0, 0})
	f.Add([]byte{1, 'c', 0x80})
	f.Add(encodeMessages([]Message{{"news", "hello"}, {"__keyspace@0__:k", "del"}}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		messages, err := decodeMessages(frame)
		if err != nil {
			require.ErrorIs(t, err, session.ErrMalformed)
			require.Empty(t, messages)
			return
		}
		again := encodeMessages(messages)
		require.LessOrEqual(t, len(again), len(frame), "lengths may be written longer than they are")
		same, err := decodeMessages(again)
		require.NoError(t, err)
		require.Equal(t, messages, same)
	})
}

// A member answers with how many subscribers it has told.
func TestServe(t *testing.T) {
	t.Parallel()
	s := begin(t)
	s.subscribe("news", 3)
	s.subscribe("late", 70000)
	messages := []Message{{"news", "one"}, {"nobody's", "two"}, {"late", ""}, {"news", "four"}}
	answer, err := s.Serve(encodeMessages(messages))
	require.NoError(t, err)
	require.Equal(t, binary.BigEndian.AppendUint32(nil, 70006), answer)
	require.Equal(t, messages, s.told(), "in order")

	answer, err = s.Serve(nil)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 4), answer)

	s.SetLocal(nil)
	answer, err = s.Serve(encodeMessages(messages))
	require.NoError(t, err)
	require.Equal(t, make([]byte, 4), answer, "a member without a Redis endpoint has none")
	require.False(t, s.Wanted())
}

// Heartbeats say whether there are subscribers, in questions and in answers.
func TestHeartbeatsTellOfSubscribers(t *testing.T) {
	synctest.Test(t, heartbeatsTellOfSubscribers)
}

func heartbeatsTellOfSubscribers(t *testing.T) {
	s := begin(t)
	b, c := membertest.ID("b", 1), membertest.ID("c", 1)
	s.mesh.AddIdle(b, "b:83")
	s.mesh.AddIdle(c, "c:83")
	require.Equal(t, mesh.SectionPubsub, s.section.Type)
	require.Equal(t, []byte{0}, s.section.Ask())
	require.False(t, s.Wanted())

	answer, err := s.section.Asked(b, []byte{1})
	require.NoError(t, err)
	require.Equal(t, []byte{0}, answer, "of its own, not of others'")
	require.True(t, s.Wanted())
	require.True(t, s.Has(b))
	require.False(t, s.Has(c))

	s.hear(t, "c", []byte{1})
	s.hear(t, "c", []byte{1, 9})
	require.True(t, s.Has(c), "a newer version may say more")
	s.hear(t, "b", []byte{0})
	require.True(t, s.Has(b), "that may have been said before")
	time.Sleep(overtakes)
	s.hear(t, "b", []byte{0})
	require.False(t, s.Has(b))
	require.True(t, s.Wanted(), "c has some")
	for name, said := range map[string][]byte{"an earlier version": nil, "nothing": {}, "another number": {2}} {
		s.hear(t, "c", []byte{1})
		time.Sleep(overtakes)
		s.hear(t, "c", said)
		require.False(t, s.Has(c), name)
		require.False(t, s.Wanted(), name)
	}

	s.subscribe("news", 1)
	require.True(t, s.Wanted(), "its own count too")
	require.Equal(t, []byte{1}, s.section.Ask())
	s.hear(t, "b", []byte{0})
	require.True(t, s.Wanted())
	s.leave()
	require.False(t, s.Wanted())
}

// A member to which there is no link any more is told nothing.
func TestSetViewForgetsThoseWithoutALink(t *testing.T) {
	t.Parallel()
	s := begin(t)
	b, c := membertest.Up("b", 1), membertest.Up("c", 1)
	s.mesh.AddIdle(b.ID, b.Peer)
	s.mesh.AddIdle(membertest.ID("c", 2), c.Peer) // another boot of c
	s.members.See(t, b, c)
	s.hear(t, "b", []byte{1})
	s.at[c.ID] = time.Now() // there was a link to it when it said so
	s.SetView()
	require.True(t, s.Has(b.ID))
	require.False(t, s.Has(c.ID))
	require.True(t, s.Wanted())

	s.at[b.ID] = time.Now().Add(-overtakes)
	s.hear(t, "b", []byte{0})
	s.at[c.ID] = time.Now()
	s.interested.Store(true)
	s.SetView()
	require.False(t, s.Wanted(), "it was the last")
	s.hear(t, "c", []byte{1})
	require.False(t, s.Wanted(), "its last heartbeat came late")
}

// Events wait in a queue that has an end, and what it has no room for is
// counted.
func TestEventsBeyondTheQueueAreCounted(t *testing.T) {
	t.Parallel()
	s := begin(t)
	for i := range maxEvents / 2 {
		s.Event("set", fmt.Sprint("key-", i))
	}
	require.Len(t, s.events, maxEvents)
	require.Zero(t, s.dropped.Load())
	s.Event("del", "one")
	s.Event("del", "two")
	require.EqualValues(t, 4, s.dropped.Load(), "two messages each")
	require.Equal(t, Message{"__keyspace@0__:key-0", "set"}, <-s.events)
	s.Event("expired", "three")
	require.EqualValues(t, 5, s.dropped.Load(), "there was room for one of both")
	require.Equal(t, Message{"__keyevent@0__:set", "key-0"}, <-s.events)
	var last Message
	for len(s.events) > 0 {
		last = <-s.events
	}
	require.Equal(t, Message{"__keyspace@0__:three", "expired"}, last)
}

// Serve answers for a PubSub what others ask.
type handler struct {
	*PubSub
	// silent members take a frame and say nothing; odd ones answer something
	// else.
	silent, odd bool

	mu     sync.Mutex // guards frames
	frames [][]Message
}

func (h *handler) Serve(r *peer.Request) {
	messages, _ := decodeMessages(r.Payload) // Serve says what is wrong with it
	h.mu.Lock()
	h.frames = append(h.frames, messages)
	h.mu.Unlock()
	switch {
	case h.silent:
	case h.odd:
		r.Reply([]byte{1, 2, 3})
	default:
		mesh.Answer(r)(h.PubSub.Serve(r.Payload))
	}
}

// taken returns the frames that came since it was last asked.
func (h *handler) taken() [][]Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	frames := h.frames
	h.frames = nil
	return frames
}

// host is a PubSub with links to others.
type host struct {
	*PubSub
	*audience
	members *meshtest.Members
	handler *handler
}

// together returns members a, b, c and so on that are connected, in a bubble.
func together(t *testing.T, n int) (hosts []*host) {
	t.Helper()
	var network meshtest.Network
	for i := range n {
		h := &host{audience: &audience{to: make(map[string]int)}}
		h.members = meshtest.NewMembers(t, membertest.ID(string(rune('a'+i)), 1), meshtest.Params)
		h.PubSub = New(h.members.View, new(metric.Set))
		h.SetLocal(h.audience)
		h.handler = &handler{PubSub: h.PubSub}
		network.Live(t, h.members, clock.New(time.Now), func(m *mesh.Mesh) []mesh.Section { return []mesh.Section{h.Section(m)} }, h.handler)
		hosts = append(hosts, h)
	}
	for _, h := range hosts {
		h.see(t, hosts)
	}
	synctest.Wait()
	for _, h := range hosts {
		for _, l := range h.mesh.Links() {
			require.True(t, l.Connected())
		}
		h.handler.taken()
	}
	return hosts
}

// see makes the others its view.
func (h *host) see(t testing.TB, hosts []*host) {
	var others []*member.Member
	for _, other := range hosts {
		if other != h {
			others = append(others, membertest.Up(other.members.Self.Name, 1))
		}
	}
	h.mesh.Sync(h.members.See(t, others...))
	h.SetView()
}

// What is published is told everywhere before the publisher is answered, with
// the number of all who heard it.
func TestPublishReachesAllMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := together(t, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		a.subscribe("news", 2)
		c.subscribe("news", 5)
		news := Message{"news", "hello"}
		require.Equal(t, 7, a.Publish(t.Context(), news))
		require.Equal(t, 7, b.Publish(t.Context(), news), "nobody has heard yet in a heartbeat of c's subscribers")
		for _, h := range hosts {
			require.Equal(t, []Message{news, news}, h.told())
			require.Zero(t, h.untold.Load())
		}
		require.Zero(t, c.Publish(t.Context(), Message{"other", ""}))
		require.Len(t, a.told(), 1)
	})
}

// Who does not answer in time is not counted, and keeps nobody waiting long.
func TestPublishDoesNotWaitForTheSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := together(t, 4)
		a := hosts[0]
		for _, h := range hosts {
			h.subscribe("news", 1)
		}
		hosts[1].handler.silent, hosts[2].handler.odd = true, true
		begin := time.Now()
		require.Equal(t, 2, a.Publish(t.Context(), Message{"news", "hello"}))
		require.Equal(t, publishTimeout, time.Since(begin))
		require.EqualValues(t, 2, a.untold.Load())

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, 1, a.Publish(ctx, Message{"news", "hello"}), "its own have it in any case")
		require.Equal(t, publishTimeout, time.Since(begin), "the client has gone")
		require.EqualValues(t, 5, a.untold.Load())
	})
}

// Members that do not take part are passed over.
func TestPublishAsksWhoTakesPart(t *testing.T) {
	t.Parallel()
	s := begin(t)
	gone, lost := membertest.Up("b", 1), membertest.Up("c", 1)
	gone.Up = false
	s.mesh.AddIdle(gone.ID, gone.Peer)
	s.members.See(t, gone)
	require.Zero(t, s.Publish(t.Context(), Message{"news", "hello"}))
	require.Zero(t, s.untold.Load())
	s.mesh.AddIdle(lost.ID, lost.Peer)
	s.members.See(t, gone, lost)
	require.Zero(t, s.Publish(t.Context(), Message{"news", "hello"}))
	require.EqualValues(t, 1, s.untold.Load(), "it is there, and there is no connection to it")
}

// Events go to this member's subscribers and to members that have some, several
// in a frame, until the context ends.
func TestRunTellsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := together(t, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		require.False(t, a.Wanted())
		b.subscribe("__keyevent@0__:del", 1)
		b.Announce(t.Context())
		require.True(t, a.Wanted(), "it knows before the subscriber is answered")
		require.True(t, c.Has(b.members.Self))
		for i := range eventBatch {
			a.Event("del", fmt.Sprint("key-", i)) // two messages
		}
		a.Event("set", "last")
		var want []Message
		for i := range eventBatch {
			key := fmt.Sprint("key-", i)
			want = append(want, Message{"__keyspace@0__:" + key, "del"}, Message{"__keyevent@0__:del", key})
		}
		want = append(want, Message{"__keyspace@0__:last", "set"}, Message{"__keyevent@0__:set", "last"})

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.Run(ctx)
		}()
		synctest.Wait()
		frames := b.handler.taken()
		require.Len(t, frames, 3)
		for _, frame := range frames[:2] {
			require.Len(t, frame, eventBatch)
		}
		require.Equal(t, want, slices.Concat(frames...))
		require.Equal(t, want, b.told())
		require.Equal(t, want, a.told(), "those here, too")
		require.Empty(t, c.handler.taken(), "it has no subscribers")

		b.leave()
		time.Sleep(time.Second) // heartbeats go on
		synctest.Wait()
		require.False(t, a.Wanted())
		a.Event("set", "k")
		synctest.Wait()
		require.Empty(t, b.handler.taken())

		cancel()
		<-ended
		require.Zero(t, a.untold.Load()+a.dropped.Load())
	})
}

// A member that is taken off the view is forgotten, whatever it goes on to say
// on a connection that is still open.
func TestSubscribersOfAMemberThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := together(t, 2)
		a, b := hosts[0], hosts[1]
		b.subscribe("news", 1)
		b.Announce(t.Context())
		require.True(t, a.Wanted())
		a.see(t, hosts[:1])
		require.False(t, a.Has(b.members.Self))
		require.False(t, a.Wanted())
		b.Announce(t.Context())
		time.Sleep(time.Second) // heartbeats go on
		require.False(t, a.Wanted())
		require.Zero(t, a.Publish(t.Context(), Message{"news", "hello"}))
		require.Empty(t, b.handler.taken())
	})
}

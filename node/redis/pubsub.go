package redis

import (
	"maps"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/glob"
	"github.com/seed-95a32959/holdfast/resp"
)

const (
	// maxSubscriptions and maxChannel bound what one client subscribes to, and
	// the name of each in bytes.
	maxSubscriptions = 10_000
	maxChannel       = 4 << 10
)

var pubsubVerbs = []verb{
	{name: "subscribe", arity: -2, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.subscribe(channels, args) }},
	{name: "psubscribe", arity: -2, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.subscribe(patterns, args) }},
	{name: "unsubscribe", arity: -1, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.unsubscribe(channels, args) }},
	{name: "punsubscribe", arity: -1, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.unsubscribe(patterns, args) }},
	{name: "publish", arity: 3, flags: pubsub | loading | stale | fast, run: (*conn).publish},
	{name: "pubsub|channels", arity: -2, flags: pubsub | loading | stale, run: (*conn).pubsubChannels},
	{name: "pubsub|numsub", arity: -2, flags: pubsub | loading | stale, run: (*conn).pubsubNumSub},
	{name: "pubsub|numpat", arity: 2, flags: pubsub | loading | stale, run: func(c *conn, _ [][]byte) { c.out.Int(int64(c.server.hub.patternCount())) }},
}

// subscriptions are what one connection has subscribed to.
type subscriptions struct {
	names [2]map[string]struct{} // by topic
	queue *queue                 // nil until the first
}

func (s *subscriptions) count() int { return len(s.names[channels]) + len(s.names[patterns]) }

func (c *conn) subscribe(t topic, args [][]byte) {
	for _, name := range args[1:] {
		if len(name) > maxChannel || c.subs.count() >= maxSubscriptions {
			c.fail("ERR too many subscriptions, or the name of one is too long")
			return
		}
	}
	if c.subs.queue == nil && !c.openQueue() {
		return
	}
	c.listen()
	for _, name := range args[1:] {
		c.subscribeTo(t, string(name))
	}
	c.showSubscriptions()
}

// listen has all nodes know that there is a subscriber here before the first
// confirmation: what happens to a key from then on is told.
func (c *conn) listen() {
	if c.subscribed.Swap(true) {
		return
	}
	c.server.hub.subscribers.Add(1)
	c.server.cfg.Cluster.Listening(c.ctx)
}

// openQueue makes what is sent from now on go through a queue, in which answers
// and messages of others are in order.
func (c *conn) openQueue() bool {
	if c.flush() != nil { // by the connection's goroutine, for the last time
		c.closing = true
		return false
	}
	c.subs.names = [2]map[string]struct{}{{}, {}}
	c.subs.queue = newQueue(c)
	c.server.group.Go(c.subs.queue.run)
	return true
}

// subscribeTo confirms before anything can be delivered, and is in the hub
// before the client can know of it.
func (c *conn) subscribeTo(t topic, name string) {
	_, known := c.subs.names[t][name]
	if !known && c.subs.count() >= maxSubscriptions {
		c.fail("ERR too many subscriptions")
		return
	}
	c.subs.names[t][name] = struct{}{}
	c.confirm(topicVerbs[t].on, name, true)
	if known {
		return
	}
	q := c.subs.queue
	q.gate()
	c.server.hub.add(t, name, q)
	if c.flush() != nil {
		c.closing = true
	}
}

func (c *conn) unsubscribe(t topic, args [][]byte) {
	names := args[1:]
	if len(names) == 0 {
		for _, name := range slices.Sorted(maps.Keys(c.subs.names[t])) {
			names = append(names, []byte(name))
		}
	}
	if len(names) == 0 { // nothing to leave: that is said too
		c.confirm(topicVerbs[t].off, "", false)
		return
	}
	for _, name := range names {
		c.leave(t, string(name))
		c.confirm(topicVerbs[t].off, string(name), true)
	}
	c.showSubscriptions()
}

func (c *conn) leave(t topic, name string) {
	if _, known := c.subs.names[t][name]; !known {
		return
	}
	delete(c.subs.names[t], name)
	c.server.hub.remove(t, name, c.subs.queue)
}

func (c *conn) unsubscribeAll() {
	for t := range c.subs.names {
		for name := range c.subs.names[t] {
			c.leave(topic(t), name)
		}
	}
	c.showSubscriptions()
}

func (c *conn) confirm(word, name string, named bool) {
	c.out.Push(3)
	c.out.BulkString(word)
	if named {
		c.out.BulkString(name)
	} else {
		c.out.Null()
	}
	c.out.Int(int64(c.subs.count()))
}

func (c *conn) showSubscriptions() {
	if now := c.subs.count() > 0; now != c.subscribed.Load() {
		c.subscribed.Store(now)
		if now {
			c.server.hub.subscribers.Add(1)
		} else {
			c.server.hub.subscribers.Add(-1)
		}
	}
	c.show(func(p *public) { p.channels, p.patterns = len(c.subs.names[channels]), len(c.subs.names[patterns]) })
}

func (c *conn) publish(args [][]byte) {
	receivers, err := c.server.cfg.Cluster.Publish(c.ctx, args[1], args[2])
	if err != nil {
		c.fault(err)
		return
	}
	c.out.Int(int64(receivers))
}

func (c *conn) pubsubChannels(args [][]byte) {
	if len(args) > 3 {
		c.fail(wrongArity("pubsub|channels"))
		return
	}
	pattern := "*"
	if len(args) == 3 {
		pattern = string(args[2])
	}
	var names []string
	for _, name := range c.server.hub.channelNames() {
		if glob.Match(pattern, name) {
			names = append(names, name)
		}
	}
	c.out.Array(len(names))
	for _, name := range names {
		c.out.BulkString(name)
	}
}

func (c *conn) pubsubNumSub(args [][]byte) {
	c.out.Array(2 * (len(args) - 2))
	for _, name := range args[2:] {
		c.out.Bulk(name)
		c.out.Int(int64(len(c.server.hub.of(channels, string(name)))))
	}
}

// Deliver queues a message for this node's subscribers of a channel and of the
// patterns that fit it, and returns how many these are. It does not block. A
// node calls it for what is published anywhere in the cluster.
func (s *Server) Deliver(channel string, payload []byte) (receivers int) {
	for _, q := range s.hub.of(channels, channel) {
		receivers += q.message(channel, payload)
	}
	for _, p := range s.hub.fitting(channel) {
		for _, q := range p.queues {
			receivers += q.patternMessage(p.pattern, channel, payload)
		}
	}
	s.counters.messages.Add(int64(receivers))
	return receivers
}

// HasSubscribers reports whether any client here has subscribed to anything.
func (s *Server) HasSubscribers() bool { return s.hub.subscribers.Load() > 0 }

// Subscribed reports whether a message on the channel would reach a client here.
func (s *Server) Subscribed(channel string) bool {
	return s.HasSubscribers() && (len(s.hub.of(channels, channel)) > 0 || len(s.hub.fitting(channel)) > 0)
}

// message queues a message of a channel, and returns 1 if it did.
func (q *queue) message(channel string, payload []byte) int {
	return q.push(len(channel)+len(payload), func(r *resp.Reply) {
		r.Push(3)
		r.BulkString("message")
		r.BulkString(channel)
		r.Bulk(payload)
	})
}

func (q *queue) patternMessage(pattern, channel string, payload []byte) int {
	return q.push(len(pattern)+len(channel)+len(payload), func(r *resp.Reply) {
		r.Push(4)
		r.BulkString("pmessage")
		r.BulkString(pattern)
		r.BulkString(channel)
		r.Bulk(payload)
	})
}

package redis

import (
	"fmt"
	"maps"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/glob"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

const (
	// maxSubscriptions and maxPatterns bound what one client subscribes to, the
	// one with the patterns and the other these alone.
	maxSubscriptions = 10_000
	maxPatterns      = 1_000
	// maxChannel bounds the name of a channel, in bytes. Those of keyspace
	// events are as long as a key can be, and some more.
	maxChannel = 1 << 10
)

var pubsubVerbs = []verb{
	{name: "subscribe", arity: -2, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.subscribe(channels, args) }},
	{name: "psubscribe", arity: -2, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.subscribe(patterns, args) }},
	{name: "unsubscribe", arity: -1, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.unsubscribe(channels, args) }},
	{name: "punsubscribe", arity: -1, flags: pubsub | noScript | loading | stale | subscriber | noMulti, run: func(c *conn, args [][]byte) { c.unsubscribe(patterns, args) }},
	{name: "publish", arity: 3, flags: pubsub | loading | stale | fast, run: (*conn).publish},
	{name: "pubsub|channels", arity: -2, flags: pubsub | loading | stale, run: (*conn).pubsubChannels},
	{name: "pubsub|numsub", arity: -2, flags: pubsub | loading | stale, run: (*conn).pubsubNumSub},
	{name: "pubsub|numpat", arity: 2, flags: pubsub | loading | stale, run: func(c *conn, _ [][]byte) { c.out.Int(int64(c.server.hub.count(patterns))) }},
}

// subscriptions are what one connection has subscribed to.
type subscriptions struct {
	names [2]map[string]struct{} // by topic
	bytes int                    // that these take
	queue *queue                 // nil until the first
}

func (s *subscriptions) count() int { return len(s.names[channels]) + len(s.names[patterns]) }

func (c *conn) subscribe(t topic, args [][]byte) {
	for _, name := range args[1:] {
		if no := nameable(name); no != none {
			c.fail(no)
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

// nameable refuses a channel or pattern whose name is too long.
func nameable(name []byte) refusal {
	if len(name) <= maxChannel {
		return none
	}
	return refusal(fmt.Sprintf("ERR name of %d bytes is too long for a channel or a pattern, %d are taken", len(name), maxChannel))
}

// listen has all nodes know that there is a subscriber here before the first
// confirmation: what happens to a key from then on is told.
func (c *conn) listen() {
	if c.subscribed.Swap(true) {
		return
	}
	c.server.hub.subscribers.Add(1)
	c.server.announce.join(c.ctx, c.server.group.Go)
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
	c.mu.Lock()
	c.watched = c.subs.queue
	c.mu.Unlock()
	c.server.group.Go(c.subs.queue.run)
	return true
}

// subscribeTo is in the hub before the client can know of it, and what comes
// from there waits until the client has been told.
func (c *conn) subscribeTo(t topic, name string) {
	if _, known := c.subs.names[t][name]; known {
		c.confirm(topicVerbs[t].on, name, true)
		return
	}
	c.subs.queue.gate()
	if no := c.subscribeAnew(t, name); no != none {
		c.fail(no)
	} else {
		c.subs.names[t][name] = struct{}{}
		c.subs.bytes += cost(t, name)
		c.confirm(topicVerbs[t].on, name, true)
	}
	if !c.account() {
		c.overfull()
	}
	if c.flush() != nil {
		c.closing = true
	}
}

// cost is what a subscription takes, in bytes.
func cost(t topic, name string) int {
	bytes := 2*len(name) + subscriptionCost
	if t == patterns {
		bytes += patternCost * (len(name)/64 + 1)
	}
	return bytes
}

func (c *conn) subscribeAnew(t topic, name string) refusal {
	switch {
	case c.subs.count() >= maxSubscriptions:
		return refusal(fmt.Sprintf("ERR too many subscriptions: a connection may have %d", maxSubscriptions))
	case t == channels:
		return c.server.hub.add(t, name, nil, c.subs.queue)
	case len(c.subs.names[patterns]) >= maxPatterns:
		return refusal(fmt.Sprintf("ERR too many patterns: a connection may have %d", maxPatterns))
	}
	pattern, err := glob.Compile(name)
	if err != nil {
		return refusal("ERR " + err.Error())
	}
	return c.server.hub.add(t, name, pattern, c.subs.queue)
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
	c.subs.bytes -= cost(t, name)
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
	if no := nameable(args[1]); no != none {
		c.fail(no)
		return
	}
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
	text := "*"
	if len(args) == 3 {
		text = string(args[2])
	}
	pattern, err := glob.Compile(text)
	if err != nil {
		c.fault(err)
		return
	}
	if !c.server.lists.enter(c.ctx) {
		return
	}
	defer c.server.lists.leave()
	c.bulks(c.server.hub.channelNames(pattern))
}

func (c *conn) pubsubNumSub(args [][]byte) {
	c.out.Array(2 * (len(args) - 2))
	for _, name := range args[2:] {
		c.out.Bulk(name)
		c.out.Int(int64(len(c.server.hub.of(string(name)))))
	}
}

// Deliver queues a message for this node's subscribers of a channel and of the
// patterns that fit it, and returns how many these are. It does not block. A
// node calls it for what is published anywhere in the cluster.
func (s *Server) Deliver(channel string, payload []byte) (receivers int) {
	for _, q := range s.hub.of(channel) {
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

// Subscribed reports whether a message on the channel would reach a client
// here.
func (s *Server) Subscribed(channel string) bool {
	return s.HasSubscribers() && (len(s.hub.of(channel)) > 0 || len(s.hub.fitting(channel)) > 0)
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
